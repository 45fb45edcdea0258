"""The `fairlead-operator` command. Reads arguments, calls the rest, turns errors into a sentence and an exit code.

Exit codes: 0 done or stopped, 1 something failed, 2 something that was given is wrong.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead_operator.crd import as_yaml, custom_resource_definition
from fairlead_operator.errors import OperatorError
from fairlead_serve.errors import FairleadError
from fairlead_serve.internal import TOKEN_VARIABLE
from fairlead_serve.model import load

if TYPE_CHECKING:
    from fairlead_operator.renderer import Renderer

app = typer.Typer(
    name="fairlead-operator",
    help="Keep the Models of a cluster served.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def operator() -> None:
    """Keep the Models of a cluster served."""


@app.command()
def crd() -> None:
    """Print the CustomResourceDefinition of the Model, for `kubectl apply --server-side -f -`."""
    typer.echo(as_yaml(custom_resource_definition()), nl=False)


@app.command()
def run(
    *,
    namespace: Annotated[
        list[str] | None,
        typer.Option(help="Whose Models; may be given several times. Default: its own.", metavar="NAMESPACE"),
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", help="The Models of every namespace; takes a ClusterRole.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="A settings file (YAML).", metavar="FILE")] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="How to reach the cluster; default: as a pod of it.", metavar="FILE")
    ] = None,
) -> None:
    """Look after the Models of a cluster until told to stop. Its log goes to standard output.

    SIGINT and SIGTERM let the reconciles at hand end and give the lease back; a second one ends at once.
    """
    with _translated():
        from fairlead_operator.app import Installation, run_operator  # noqa: PLC0415 - --help needs none of it
        from fairlead_operator.logs import configure_logging  # noqa: PLC0415
        from fairlead_operator.settings import load_operator_settings, watching  # noqa: PLC0415
        from fairlead_serve.api_server import connect, home_namespace  # noqa: PLC0415

        settings = watching(
            load_operator_settings(config), namespaces=tuple(namespace or ()), all_namespaces=all_namespaces
        )
        configure_logging(sys.stdout)
        token = os.environ.get(TOKEN_VARIABLE, "")
        installation = Installation(connect(kubeconfig), home_namespace(kubeconfig), token)
        with _stopping_on_signals() as stopping, ThreadPoolExecutor(1, "manager") as threads:
            # Not in this thread: the handler of a signal sets what is waited for, and runs in this one.
            threads.submit(run_operator, settings, installation, stopping).result()


ModelFiles = Annotated[list[Path], typer.Argument(help="Model files.", metavar="FILE...")]
Config = Annotated[Path | None, typer.Option(help="A settings file (YAML).", metavar="FILE")]


@app.command()
def render(
    files: ModelFiles,
    *,
    namespace: Annotated[str, typer.Option(help="Of Models that name none.")] = "default",
    config: Config = None,
) -> None:
    """Print what would be made for Models that are new to a cluster. Asks no cluster and writes nothing.

    The objects have no owner. What is applied of them by hand is not the operator's: it leaves them alone, and a Model
    of that name has to wait until they are deleted.
    """
    with _translated():
        from fairlead_operator.preview import as_yaml as all_as_yaml  # noqa: PLC0415 - see run
        from fairlead_operator.preview import rendered  # noqa: PLC0415

        models = [model for file in files for model in load(file)]
        manifests = list(rendered(models, _renderer(config), namespace=namespace, now=datetime.now(UTC)))
        typer.echo(all_as_yaml(manifests), nl=False)


@app.command()
def diff(
    files: ModelFiles,
    *,
    namespace: Annotated[str, typer.Option(help="Of Models that name none; default: the kubeconfig's.")] = "",
    config: Config = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="How to reach the cluster; default: as a pod of it.", metavar="FILE")
    ] = None,
) -> None:
    """Print how the objects of Models would change, as the API server would store them. Writes nothing.

    Ends with 1 where something would change, as `kubectl diff` does, and with 2 where a Model cannot be had as it is.
    """
    with _translated():
        from fairlead_operator.app import create_reader  # noqa: PLC0415 - see run
        from fairlead_operator.preview import changes  # noqa: PLC0415
        from fairlead_serve.api_server import connect, home_namespace  # noqa: PLC0415

        models = [model for file in files for model in load(file)]
        outlooks = list(
            changes(
                models,
                _renderer(config),
                create_reader(connect(kubeconfig)),
                namespace=namespace or home_namespace(kubeconfig),
                now=datetime.now(UTC),
            )
        )
        for outlook in outlooks:
            for problem in outlook.problems:
                typer.echo(f"fairlead-operator: {outlook.model}: {problem.message}", err=True)
            for line in outlook.lines:
                typer.echo(line)
        if any(problem.blocks for outlook in outlooks for problem in outlook.problems):
            raise typer.Exit(2)
        if any(outlook.lines for outlook in outlooks):
            raise typer.Exit(1)


def _renderer(config: Path | None) -> "Renderer":
    from fairlead_operator.render import open_chart  # noqa: PLC0415 - see run
    from fairlead_operator.renderer import Renderer  # noqa: PLC0415
    from fairlead_operator.settings import load_operator_settings  # noqa: PLC0415

    settings = load_operator_settings(config)
    return Renderer(open_chart(settings.chart), settings)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperatorError, FairleadError) as error:
        typer.echo(f"fairlead-operator: {error}", err=True)
        raise typer.Exit(error.exit_code) from None


@contextlib.contextmanager
def _stopping_on_signals() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets. The second does what signals do."""
    stopping = threading.Event()

    def handle(number: int, _frame: object) -> None:
        stopping.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    yield stopping


def main() -> None:
    """Entry of the command."""
    app()


if __name__ == "__main__":
    main()
