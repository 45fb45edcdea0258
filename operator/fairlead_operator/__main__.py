"""The `fairlead-operator` command. Reads arguments and calls the rest."""

import typer

from fairlead_operator.crd import as_yaml, custom_resource_definition

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


def main() -> None:
    """Entry of the command."""
    app()


if __name__ == "__main__":
    main()
