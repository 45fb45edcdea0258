"""`fairlead-operator render` and `diff`: what would be done, without doing it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from fairlead_operator.__main__ import app
from tests.charts.workload import CHART
from tests.kube.resources import Manifest
from tests.operator import samples
from tests.operator.world import CPU, World

MODEL = samples.model(**CPU)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """The settings of an installation, as a file."""
    file = tmp_path / "operator.yaml"
    file.write_text(yaml.safe_dump({"chart": str(CHART), "images": {"cpu": "registry/engine:1-cpu"}}), encoding="utf-8")
    return file


def model_file(directory: Path, *documents: Manifest) -> str:
    file = directory / "model.yaml"
    file.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    return str(file)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def kinds(text: str) -> Sequence[str]:
    return [one["kind"] for one in yaml.safe_load_all(text)]


def test_what_would_be_applied_is_printed_without_a_cluster(tmp_path: Path, settings: Path) -> None:
    done = run("render", model_file(tmp_path, MODEL, samples.model("other", **CPU)), "--config", str(settings))
    assert done.exit_code == 0, done.stderr
    found = list(yaml.safe_load_all(done.stdout))
    deployments = [one for one in found if one["kind"] == "Deployment"]
    assert [one["metadata"]["name"] for one in deployments] == ["m", "other"]
    assert deployments[0]["metadata"]["namespace"] == "default"
    assert deployments[0]["spec"]["template"]["spec"]["containers"][0]["image"] == "registry/engine:1-cpu"


def test_a_model_that_cannot_be_rendered_is_a_sentence(tmp_path: Path, settings: Path) -> None:
    done = run("render", model_file(tmp_path, samples.model(resourceProfile="x")), "--config", str(settings))
    assert done.exit_code == 2
    assert done.stderr == (
        "fairlead-operator: m: spec.resourceProfile: there is no profile x in the operator's settings (there: none)\n"
    )


def diff(world: World, file: str, settings: Path) -> Result:
    return run("diff", file, "--config", str(settings), "--kubeconfig", str(world.cluster.kubeconfig))


def test_for_a_new_model_everything_is_new_and_nothing_is_made(world: World, tmp_path: Path, settings: Path) -> None:
    done = diff(world, model_file(tmp_path, MODEL), settings)
    assert done.exit_code == 1, done.output
    assert "+++ Deployment/m (then)" in done.stdout
    assert "+    app.kubernetes.io/managed-by: fairlead" in done.stdout
    assert not world.children()


def test_a_change_is_shown_as_lines_and_not_made(world: World, tmp_path: Path, settings: Path) -> None:
    images = world.settings.images.model_copy(update={"cpu": "registry/engine:1-cpu", "pull_secrets": ()})
    with world.operator(images=images, monitoring=world.settings.monitoring.model_copy(update={"enabled": False})):
        world.model()
        world.wait_started()
        (before,) = [child for (kind, _), child in world.children().items() if kind == "deployments"]
        changed = samples.model(**CPU, drainTimeoutSeconds=7)
        done = diff(world, model_file(tmp_path, changed), settings)
        assert done.exit_code == 1, done.output
        assert "-      terminationGracePeriodSeconds: 185" in done.stdout
        assert "+      terminationGracePeriodSeconds: 72" in done.stdout
        (after,) = [child for (kind, _), child in world.children().items() if kind == "deployments"]
        assert after == before


def test_where_nothing_would_change_nothing_is_said(world: World, tmp_path: Path, settings: Path) -> None:
    images = world.settings.images.model_copy(update={"cpu": "registry/engine:1-cpu", "pull_secrets": ()})
    access = world.settings.access.model_copy(update={"prometheus": ()})
    with world.operator(images=images, access=access):
        world.model()
        world.wait_started()
        done = diff(world, model_file(tmp_path, MODEL), settings)
    assert (done.exit_code, done.stdout) == (0, "")
