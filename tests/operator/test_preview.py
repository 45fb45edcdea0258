"""`fairlead-operator render` and `diff`: what would be done, without doing it."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from fairlead_operator.__main__ import app
from fairlead_operator.settings import Access, Images, Monitoring
from tests.charts.workload import CHART
from tests.kube.resources import Manifest
from tests.kube.simulation.clock import ManualClock
from tests.kube.simulation.script import Crash
from tests.kube.simulation.simulation import node
from tests.operator import samples
from tests.operator.test_rollouts import crash, serving
from tests.operator.world import CPU, DEPLOYMENTS, World

MODEL = samples.model(**CPU)
# Of an operator whose settings are those of the file.
ALIKE: dict[str, Any] = {
    "images": Images(cpu="registry/engine:1-cpu"),
    "access": Access(),
    "monitoring": Monitoring(),
}


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


def test_what_is_printed_can_be_applied_and_is_nobodys_then(world: World, tmp_path: Path, settings: Path) -> None:
    done = run("render", model_file(tmp_path, MODEL), "--config", str(settings))
    assert "ControllerRevision" not in kinds(done.stdout)
    assert not [one for one in yaml.safe_load_all(done.stdout) if "ownerReferences" in one["metadata"]]
    namespace = world.cluster.namespace
    here = run("render", model_file(tmp_path, MODEL), "--config", str(settings), "--namespace", namespace).stdout
    for manifest in yaml.safe_load_all(here):
        world.cluster.apply(manifest)
    before = world.children()
    assert {kind for kind, _ in before} >= {"deployments", "services", "configmaps"}
    with world.operator(**ALIKE):
        world.model()
        world.wait_condition("SpecValid", "False", "NameConflict")
    assert world.children() == before


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


@pytest.fixture
def served(world: World) -> Iterator[World]:
    """A world whose operator has the settings of the file, and two engines of a Model in it."""
    with world.operator(**ALIKE):
        world.model(replicas=2)
        world.wait_started()
        yield world


def test_a_change_is_shown_as_lines_and_not_made(served: World, tmp_path: Path, settings: Path) -> None:
    before = served.cluster.get(DEPLOYMENTS, "m")
    done = diff(served, model_file(tmp_path, samples.model(**CPU, replicas=2, drainTimeoutSeconds=7)), settings)
    assert done.exit_code == 1, done.output
    assert "-      terminationGracePeriodSeconds: 185" in done.stdout
    assert "+      terminationGracePeriodSeconds: 72" in done.stdout
    assert served.cluster.get(DEPLOYMENTS, "m") == before


def test_where_nothing_would_change_nothing_is_said(served: World, tmp_path: Path, settings: Path) -> None:
    done = diff(served, model_file(tmp_path, samples.model(**CPU, replicas=2)), settings)
    assert (done.exit_code, done.output) == (0, "")


def test_what_would_be_deleted_is_shown(served: World, tmp_path: Path, settings: Path) -> None:
    smaller = diff(served, model_file(tmp_path, MODEL), settings)
    assert "--- PodDisruptionBudget/m (now)" in smaller.stdout
    assert "-kind: PodDisruptionBudget" in smaller.stdout
    moved = diff(served, model_file(tmp_path, samples.model(**CPU, replicas=2, cluster="KubeRay")), settings)
    assert {"-kind: Deployment", "+kind: RayService"} <= set(moved.stdout.splitlines())
    elsewhere = diff(served, model_file(tmp_path, samples.upstream()), settings)
    assert elsewhere.exit_code == 1
    assert {"-kind: Deployment", "-kind: Service", "-kind: ConfigMap"} <= set(elsewhere.stdout.splitlines())
    assert served.cluster.get(DEPLOYMENTS, "m")


def test_the_number_of_a_model_that_is_to_be_scaled_is_shown_within_its_bounds(
    served: World, tmp_path: Path, settings: Path
) -> None:
    kept = diff(served, model_file(tmp_path, samples.model(**CPU, scaling={"maxReplicas": 4})), settings)
    assert not {"-  replicas: 2", "+  replicas: 1"} & set(kept.stdout.splitlines())
    served.model(scaling={"maxReplicas": 4})
    served.wait_condition("ScalingReady", "False", "NotAutoscaled")
    fewer = diff(served, model_file(tmp_path, samples.model(**CPU, scaling={"maxReplicas": 1})), settings)
    assert {"-  replicas: 2", "+  replicas: 1"} <= set(fewer.stdout.splitlines())


@pytest.mark.parametrize("kind", ["Service", "Deployment"])
def test_an_object_of_somebody_else_is_named_and_not_shown_as_overwritten(
    world: World, tmp_path: Path, settings: Path, kind: str
) -> None:
    rendered = run("render", model_file(tmp_path, MODEL), "--config", str(settings)).stdout
    (foreign,) = [one for one in yaml.safe_load_all(rendered) if one["kind"] == kind]
    del foreign["metadata"]["labels"], foreign["metadata"]["namespace"]
    world.cluster.create(foreign)
    done = diff(world, model_file(tmp_path, MODEL), settings)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"fairlead-operator: m: the {kind} m is there already and belongs to somebody else; " in done.stderr


def test_a_model_that_cannot_be_had_keeps_no_other_from_being_shown(
    world: World, tmp_path: Path, settings: Path
) -> None:
    done = diff(world, model_file(tmp_path, samples.model("x", resourceProfile="x"), MODEL), settings)
    assert done.exit_code == 2
    assert "fairlead-operator: x: spec.resourceProfile: there is no profile x" in done.stderr
    assert "+++ Deployment/m (then)" in done.stdout


@pytest.mark.usefixtures("standin")
def test_without_kuberay_a_model_that_needs_it_is_a_sentence(world: World, tmp_path: Path, settings: Path) -> None:
    world.cluster.delete("apiextensions.k8s.io/v1/customresourcedefinitions", "rayservices.ray.io")
    world.cluster.wait_gone("apiextensions.k8s.io/v1/customresourcedefinitions", "rayservices.ray.io")
    done = diff(world, model_file(tmp_path, samples.model(**CPU, cluster="KubeRay")), settings)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "m: spec.cluster: KubeRay is not installed in this cluster" in done.stderr


@pytest.mark.usefixtures("standin")
def test_a_revision_that_was_rolled_back_is_not_shown_as_coming(world: World, tmp_path: Path, settings: Path) -> None:
    nodes, clock = [node("n1")], ManualClock(time.time())
    with world.simulated(nodes=nodes, clock=clock) as simulation, world.operator(**ALIKE):
        world.model()
        serving(world)
        simulation.script.play(Crash(), image="registry/engine:broken")
        broken = {"engine": {"device": "cpu", "image": "registry/engine:broken"}}
        world.model(**broken)
        crash(world, simulation)
        world.wait_condition("Progressing", "False", "RolledBack")
        world.wait_condition("WorkloadReady", "True")
        done = diff(world, model_file(tmp_path, samples.model(**broken)), settings)
    assert (done.exit_code, done.output) == (0, "")
