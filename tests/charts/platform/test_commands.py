"""The commands of the pods are commands that there are."""

from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from fairlead_operator import __main__ as operator
from fairlead_serve import cli
from tests.charts.platform.release import ANONYMOUS, LARGE, merged, release

COMMANDS = {"gateway": ("fairlead", cli.app), "operator": ("fairlead-operator", operator.app)}
VALUES = [ANONYMOUS, LARGE, merged(ANONYMOUS, {"namespaces": ["a", "b"]})]


def parsed(component: str, values: dict[str, Any]) -> dict[str, Any]:
    """What the command of a component is told by its pod. Raises UsageError where it knows no such argument."""
    container = release(values).container(component)
    name, app = COMMANDS[component]
    words: list[str] = [*container["command"], *container["args"]]
    program, command, *more = words
    assert program == name
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    context = typer.Context(group, info_name=program)
    found = group.get_command(context, command)
    assert found is not None
    return dict(found.make_context(command, more, parent=context).params)


@pytest.mark.parametrize("component", COMMANDS)
@pytest.mark.parametrize("values", VALUES, ids=["small", "large", "namespaces"])
def test_a_pod_starts_with_arguments_that_its_command_knows(component: str, values: dict[str, Any]) -> None:
    told = parsed(component, values)
    assert told["all_namespaces"] is (values.get("scope") == "cluster")
    mounts = {mount["name"]: mount["mountPath"] for mount in release(values).container(component)["volumeMounts"]}
    assert str(told["config"]) == f"{mounts['config']}/{component}.yaml"


def test_the_gateway_serves_the_models_of_the_cluster_to_everybody_who_reaches_it() -> None:
    told = parsed("gateway", ANONYMOUS)
    assert (told["from_cluster"], told["host"], told["port"]) == (True, "0.0.0.0", 8000)
