"""Rendering: in process, by the `helm` command, and what is said when it fails."""

import os
import shutil
import sys
from pathlib import Path

import helm_python
import pytest

from fairlead_operator.errors import RenderError
from fairlead_operator.render import ChartByCommand, LoadedChart, open_chart, render, revision
from fairlead_operator.settings import OperatorSettings
from fairlead_operator.values import chart_values
from fairlead_serve.model import Model, parse
from tests.operator import samples

CHART = Path(__file__).parents[2] / "charts/model"
SETTINGS = OperatorSettings.model_validate(
    {"images": {"cuda": "r/e:1", "cpu": "r/e:2"}, "resourceProfiles": {"nvidia-l4": {}, "nvidia-h100": {}}}
)
MODELS = [parse(document, source="test") for document in samples.files().values()]

# The helm command cannot be had everywhere; this one understands the one call that is made of it.
HELM = f"""#!{sys.executable}
import json, sys, helm_python
verb, name, chart, _, namespace, _, source = sys.argv[1:]
assert (verb, source) == ("template", "-"), sys.argv
try:
    rendered = helm_python.Chart.load(chart).render(json.load(sys.stdin), name=name, namespace=namespace)
except helm_python.HelmError as error:
    sys.exit(f"Error: {{error}}")
for path, text in rendered.items():
    if path.endswith(".yaml") and text.strip():
        print(f"---\\n# Source: {{path}}\\n{{text}}")
"""


@pytest.fixture
def helm(tmp_path: Path) -> Path:
    command = tmp_path / "helm"
    command.write_text(HELM, encoding="utf-8")
    command.chmod(0o755)
    return command


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_same_values_give_the_same_objects(model: Model) -> None:
    values = chart_values(model, SETTINGS)
    first, second = (render(LoadedChart(CHART), values, name=model.name, namespace="models") for _ in range(2))
    assert str(first) == str(second)
    assert revision(first) == revision(second)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_command_renders_the_same_objects(model: Model, helm: Path) -> None:
    values = chart_values(model, SETTINGS)
    in_process, by_command = (
        render(chart, values, name=model.name, namespace="models")
        for chart in (LoadedChart(CHART), ChartByCommand(CHART, str(helm)))
    )
    assert in_process == by_command


def test_a_refusal_of_the_chart_is_its_own_sentence(helm: Path) -> None:
    for chart in (LoadedChart(CHART), ChartByCommand(CHART, str(helm))):
        with pytest.raises(RenderError) as raised:
            render(chart, {}, name="m", namespace="models")
        assert str(raised.value) == "model: missing; give the Model file as text, as README.md shows"


def test_a_value_that_the_schema_refuses_is_named() -> None:
    with pytest.raises(RenderError, match="madeUp"):
        render(LoadedChart(CHART), {"madeUp": 1}, name="m", namespace="models")


def test_a_directory_without_a_chart_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="holds no chart"):
        open_chart(tmp_path)


def test_a_command_that_is_not_there_is_said_to_have_failed(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="the helm command did not render"):
        render(ChartByCommand(CHART, str(tmp_path / "helm")), {}, name="m", namespace="models")


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(path: Path) -> helm_python.Chart:
        raise helm_python.HelmLibraryError("no library for this platform")

    monkeypatch.setattr(helm_python.Chart, "load", load)


@pytest.mark.usefixtures("without_library")
def test_where_the_library_cannot_be_loaded_the_command_is_used(helm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{helm.parent}{os.pathsep}{os.environ['PATH']}")
    model = MODELS[0]
    assert render(open_chart(CHART), chart_values(model, SETTINGS), name=model.name, namespace="models")


@pytest.mark.usefixtures("without_library")
def test_without_library_and_command_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RenderError, match=r"no library for this platform.*install either"):
        open_chart(CHART)


def test_a_model_without_engines_has_a_revision_too() -> None:
    assert revision([]) == revision(render(LoadedChart(CHART), {"cluster": ""}, name="m", namespace="models"))
