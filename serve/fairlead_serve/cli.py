"""The `fairlead` command. Reads arguments, calls `app`, turns errors into a sentence and an exit code.

Exit codes: 0 done or drained, 1 something failed, 2 something that was given is wrong.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from fairlead_serve import __version__
from fairlead_serve.errors import FairleadError
from fairlead_serve.model import Model, load_all
from fairlead_serve.progress import BarReporter, LineReporter, Reporter
from fairlead_serve.stopping import Stopping

if TYPE_CHECKING:
    from fairlead_serve.engine.events import EventWriter

app = typer.Typer(
    name="fairlead",
    help="Serve language models: engines, the gateway in front of them, or both.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="Work with Model files.", no_args_is_help=True)
app.add_typer(models_app, name="models")
key_app = typer.Typer(help="Make, list and revoke API keys. A running gateway follows.", no_args_is_help=True)
app.add_typer(key_app, name="key")

ModelFiles = Annotated[
    list[Path], typer.Option("--model", "-f", help="A Model file; may be given several times.", metavar="FILE")
]
Dashboard = Annotated[bool, typer.Option("--dashboard", help="Start Ray's dashboard too.")]
ServedKeys = Annotated[
    Path | None,
    typer.Option("--key-file", help="The API keys to answer to, as `fairlead key create` makes them.", metavar="FILE"),
]
KeyName = Annotated[str, typer.Argument(help="What the key is called.", metavar="NAME")]
EditedKeys = Annotated[
    Path, typer.Option("--file", envvar="FAIRLEAD_KEY_FILE", help="The file of keys.", metavar="FILE")
]


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context, *, show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Serve language models: engines, the gateway in front of them, or both."""
    if show:
        typer.echo(__version__)
        raise typer.Exit
    del context


@app.command()
def serve(
    *,
    file: Annotated[
        list[Path], typer.Option("--file", "-f", help="A Model file; may be given several times.", metavar="FILE")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any free one.")] = 8000,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Serve without keys on an address other than loopback.")
    ] = False,
    key_file: ServedKeys = None,
    default_model: Annotated[
        str, typer.Option(help="The model of requests that name none; default: the only one, if there is only one.")
    ] = "",
    dashboard: Dashboard = False,
) -> None:
    """Serve Models on this machine: their engines, and one OpenAI-compatible endpoint for all of them.

    Ctrl-C drains: streams in flight finish, up to the Models' drainTimeoutSeconds. A second Ctrl-C ends at once.
    """
    with _translated(), _stopping_on_signals() as stopping:
        from fairlead_serve.app import Started, run_local  # noqa: PLC0415 - seconds; --help needs none of it
        from fairlead_serve.settings import load_gateway_settings  # noqa: PLC0415

        models = load_all(file)
        given = {"key_file": key_file, "default_model": default_model or None}
        more = {key: value for key, value in given.items() if value is not None}
        settings = load_gateway_settings(None, host=host, port=port, allow_anonymous=allow_anonymous, **more)

        def announce(started: Started) -> None:
            _say(f"\nReady: {started.url}/v1  ({', '.join(started.models)})")
            _say(f"Chat:  {started.url}/ in a browser, or: fairlead chat --url {started.url}/v1")
            _say(f"Try:   {_curl(started.url, models[0])}")
            _say(f"Log:   {started.log}")
            if started.engines is not None:
                _say(f"       {started.engines.logs} (Ray), metrics at {started.engines.metrics_url}")
            _say("Ctrl-C drains and stops; a second one stops at once.")

        with contextlib.ExitStack() as stack:
            run_local(
                file,
                models,
                settings,
                dashboard=dashboard,
                report=stack.enter_context(_reporting()),
                on_loaded=stack.close,
                stopping=stopping,
                on_started=announce,
            )


@app.command()
def engine(
    *,
    model: ModelFiles,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: a loopback address.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default: a free one.")] = None,
    dashboard: Dashboard = False,
    events_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the engines of Models alone, as a pod does. They answer only who brings FAIRLEAD_INTERNAL_TOKEN."""
    from fairlead_serve.engine.events import EngineAddress, EventWriter  # noqa: PLC0415 - see serve

    events = EventWriter(os.fdopen(events_fd, "w", encoding="utf-8")) if events_fd is not None else None

    def announce(address: EngineAddress) -> None:
        if events is not None:
            events.write(address)
        else:
            _say(f"Ready: {address.url}/engines/<model>, metrics at {address.metrics_url}, logs in {address.logs}")

    with _translated(events), _stopping_on_signals() as stopping, contextlib.ExitStack() as stack:
        from fairlead_serve.app import run_engines  # noqa: PLC0415
        from fairlead_serve.engine.verdict import recorded, secrets_of  # noqa: PLC0415
        from fairlead_serve.settings import SourceSettings, load_engine_settings  # noqa: PLC0415

        settings, sources = load_engine_settings(), SourceSettings()
        stack.enter_context(recorded(settings.termination_log, secrets=secrets_of(settings, sources)))
        if events is not None:
            events.end_with_reader(stopping)
        run_engines(
            load_all(model),
            settings,
            sources,
            host=host,
            port=port,
            dashboard=dashboard,
            report=events.write if events is not None else stack.enter_context(_reporting()),
            stopping=stopping,
            on_ready=announce,
        )


@app.command()
def gateway(
    *,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings, as configs/gateway.yaml.", metavar="FILE")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: the settings'.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default: the settings'.")] = None,
    allow_anonymous: Annotated[
        bool | None, typer.Option("--allow-anonymous", help="Serve without keys on an address other than loopback.")
    ] = None,
    key_file: ServedKeys = None,
    from_cluster: Annotated[
        bool, typer.Option("--from-cluster", help="Serve the Models of a Kubernetes cluster instead of backends.")
    ] = False,
    namespace: Annotated[
        list[str] | None,
        typer.Option(help="Whose Models; may be given several times. Default: its own.", metavar="NAMESPACE"),
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", help="The Models of every namespace; takes a ClusterRole.")
    ] = False,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(help="How to reach the cluster; default: as a pod of it.", metavar="FILE"),
    ] = None,
) -> None:
    """Run the gateway alone, over the backends of a settings file or over the Models of a cluster.

    Its log goes to standard output.
    """
    with _translated(), _stopping_on_signals() as stopping:
        from fairlead_serve.app import run_gateway  # noqa: PLC0415
        from fairlead_serve.logs import configure_logging  # noqa: PLC0415
        from fairlead_serve.settings import load_gateway_settings, with_cluster  # noqa: PLC0415

        given = {"host": host, "port": port, "allow_anonymous": allow_anonymous, "key_file": key_file}
        settings = load_gateway_settings(config, **{key: value for key, value in given.items() if value is not None})
        settings = with_cluster(
            settings,
            wanted=from_cluster,
            namespaces=tuple(namespace or ()),
            all_namespaces=all_namespaces,
            kubeconfig=kubeconfig,
        )
        configure_logging(sys.stdout)
        run_gateway(
            settings,
            access_log=sys.stdout.buffer,
            stopping=stopping,
            on_started=lambda url: _say(f"Gateway ready: {url}/v1"),
        )


@app.command()
def chat(
    question: Annotated[str, typer.Argument(help="Asked once, and the answer printed; default: a chat.")] = "",
    *,
    url: Annotated[
        str, typer.Option(envvar="OPENAI_BASE_URL", help="Where the server's routes begin.")
    ] = "http://127.0.0.1:8000/v1",
    model: Annotated[str, typer.Option(help="What to ask; default: the first model that the server lists.")] = "",
    system: Annotated[str, typer.Option(help="How the model is to answer.", metavar="TEXT")] = "",
    temperature: Annotated[
        float | None, typer.Option(min=0, help="How freely it chooses its words; default: the model's own.")
    ] = None,
    latest: Annotated[bool, typer.Option("--continue", help="Go on with the last conversation.")] = False,
    conversation: Annotated[str, typer.Option(help="Go on with this conversation.", metavar="ID")] = "",
) -> None:
    """Chat with a model in this terminal, or ask one question: fairlead chat "..." < notes.txt.

    The API key, where the server wants one, is taken from FAIRLEAD_API_KEY or OPENAI_API_KEY. A single question is not
    kept, unless it goes on with a conversation.
    """
    with _translated():
        from fairlead_serve.chat import Options, run  # noqa: PLC0415 - see serve
        from fairlead_serve.settings import ChatSettings  # noqa: PLC0415

        settings = ChatSettings()
        options = Options(
            url=url,
            key=settings.api_key.get_secret_value(),
            history=settings.state_home / "fairlead" / "chat_history",
            model=model,
            system=system,
            temperature=temperature,
            conversation=conversation,
            latest=latest,
        )
        run(options, question, stdin=sys.stdin, stdout=sys.stdout)


@models_app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(help="Model files.", metavar="FILE...")],
) -> None:
    """Check Model files without starting anything."""
    with _translated():
        for model in load_all(files):
            typer.echo(f"{model.name}: valid, served as {', '.join(model.served_names)}")


@key_app.command("create")
def create_key(
    name: KeyName,
    *,
    file: EditedKeys,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="A glob of models that it may use; may be given several times.", metavar="GLOB"),
    ] = None,
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Default: unlimited.", metavar="N")] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Of prompts and answers together. Default: unlimited.", metavar="N")
    ] = None,
    concurrent_requests: Annotated[int | None, typer.Option(min=1, help="Default: unlimited.", metavar="N")] = None,
) -> None:
    """Make an API key and print it, this once: KEY=$(fairlead key create laptop --file keys.yaml)."""
    with _translated():
        from fairlead_serve.keys import KeyFile  # noqa: PLC0415 - needs more than the other commands

        key, secret = KeyFile(file).create(
            name,
            models=model or ("*",),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            concurrent_requests=concurrent_requests,
        )
        typer.echo(secret)
        _say(f"The key {key.name} is in {file}, as a hash: what was printed is not shown again.")
        _say(f"Serve: fairlead serve -f model.yaml --key-file {file}")
        _say("Use:   curl -H 'authorization: Bearer <key>' http://127.0.0.1:8000/v1/models")


@key_app.command("list")
def list_keys(*, file: EditedKeys) -> None:
    """List the keys of a file with their limits."""
    with _translated():
        from fairlead_serve.keys import KeyFile  # noqa: PLC0415

        rows: list[tuple[str, ...]] = [
            ("NAME", "PREFIX", "CREATED", "MODELS", "REQUESTS/MIN", "TOKENS/MIN", "CONCURRENT", "ID")
        ]
        for key in KeyFile(file).load():
            limits = (key.requests_per_minute, key.tokens_per_minute, key.concurrent_requests)
            shown = ("-" if limit is None else str(limit) for limit in limits)
            rows.append((key.name, key.prefix, f"{key.created:%Y-%m-%d}", ",".join(key.models), *shown, key.id))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            typer.echo("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@key_app.command("revoke")
def revoke_key(name: KeyName, *, file: EditedKeys) -> None:
    """Take a key out of the file. A running gateway refuses it within a second."""
    with _translated():
        from fairlead_serve.keys import KeyFile  # noqa: PLC0415

        key = KeyFile(file).revoke(name)
        _say(f"The key {key.name} is revoked. What it owned stays stored, as {key.id}; a new key does not get it.")


@contextlib.contextmanager
def _translated(events: "EventWriter | None" = None) -> Iterator[None]:
    """The boundary at which our errors become a sentence and an exit code."""
    try:
        yield
    except FairleadError as error:
        if events is not None:
            events.fail(error)
        else:
            for line in str(error).splitlines():
                _say(f"fairlead: {line}")
        raise typer.Exit(error.exit_code) from None


@contextlib.contextmanager
def _stopping_on_signals() -> Iterator[Stopping]:
    stopping = Stopping()
    with stopping.on_signals():
        yield stopping


@contextlib.contextmanager
def _reporting() -> Iterator[Reporter]:
    """Progress on standard error: bars where a person looks on, lines elsewhere."""
    if not sys.stderr.isatty():
        yield LineReporter(sys.stderr)
        return
    with BarReporter(Console(stderr=True)) as reporter:
        yield reporter


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _curl(url: str, model: Model) -> str:
    name = model.served_names[0]
    if model.spec.model.uri.startswith("tiny://embed"):
        return f"curl {url}/v1/embeddings -H 'content-type: application/json' " + (
            f"""-d '{{"model": "{name}", "input": "Hello"}}'"""
        )
    return f"curl -N {url}/v1/chat/completions -H 'content-type: application/json' " + (
        f"""-d '{{"model": "{name}", "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'"""
    )


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
