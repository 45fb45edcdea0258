"""Models in Ray clusters: KubeRay, as far as the operator has to do with it, is simulated."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.kube.resources import Manifest
from tests.kube.server import KubeServer
from tests.kube.simulation.script import Starting
from tests.kube.simulation.simulation import Simulation, node
from tests.operator.world import World, condition

RAY: dict[str, Any] = {"cluster": "KubeRay", "engine": {"device": "cuda"}}
CLUSTERS = "ray.io/v1/rayclusters"


@pytest.fixture
def simulation(world: World, standin: KubeServer) -> Iterator[Simulation]:
    """KubeRay and controllers around the stand-in, and an operator at work."""
    del standin  # a real cluster has controllers of its own
    with world.simulated(nodes=[node("n1", gpus=4)]) as simulation, world.operator():
        yield simulation


def ray_cluster(world: World) -> Manifest:
    (found,) = [one for one in world.cluster.list(CLUSTERS) if not one["metadata"].get("deletionTimestamp")]
    return found


def settled(world: World, count: int = 1) -> Manifest:
    """The status once so many engines answer and nothing is on its way."""

    def holds(status: Manifest) -> bool:
        complete = condition(status, "Progressing")["reason"] == "RolloutComplete"
        return bool(complete and status["readyReplicas"] == count == status["desiredReplicas"])

    return world.wait(holds)


@pytest.mark.usefixtures("simulation")
def test_a_model_in_a_ray_cluster_becomes_ready(world: World) -> None:
    world.model(**RAY, replicas=2)
    status = settled(world, 2)
    assert (status["phase"], condition(status, "Ready")["status"]) == ("Serving", "True")
    assert status["currentRevision"] == status["updatedRevision"]


@pytest.mark.usefixtures("simulation")
def test_other_pods_replace_the_ray_cluster_without_a_gpu_more(world: World) -> None:
    world.model(**RAY, replicas=4)
    before = settled(world, 4)["currentRevision"]
    uid = ray_cluster(world)["metadata"]["uid"]
    world.model(**{**RAY, "engine": {"device": "cuda", "image": "registry/engine:2"}}, replicas=4)
    world.wait(lambda status: status.get("currentRevision") not in ("", before))
    assert settled(world, 4)["phase"] == "Serving"
    assert ray_cluster(world)["metadata"]["uid"] != uid


@pytest.mark.usefixtures("simulation")
def test_another_model_file_is_loaded_in_the_same_ray_cluster(world: World) -> None:
    world.model(**RAY)
    before = settled(world)["currentRevision"]
    uid = ray_cluster(world)["metadata"]["uid"]
    world.model(**{**RAY, "engine": {"device": "cuda", "maxModelLen": 1024}})
    world.wait(lambda status: status.get("currentRevision") not in ("", before))
    assert ray_cluster(world)["metadata"]["uid"] == uid


@pytest.mark.usefixtures("simulation")
def test_a_ray_cluster_of_fixed_size_follows_the_model(world: World) -> None:
    world.model(**RAY, replicas=1)
    settled(world)
    uid = ray_cluster(world)["metadata"]["uid"]
    world.model(**RAY, replicas=3)
    settled(world, 3)
    world.model(**RAY, replicas=2)
    settled(world, 2)
    assert ray_cluster(world)["metadata"]["uid"] == uid


@pytest.mark.usefixtures("simulation")
def test_an_autoscaled_model_wants_what_ray_has_asked_for(world: World) -> None:
    world.model(**RAY, scaling={"minReplicas": 1, "maxReplicas": 4})
    status = settled(world)
    assert condition(status, "ScalingReady")["reason"] == "Autoscaled"
    cluster = ray_cluster(world)
    group = {**cluster["spec"]["workerGroupSpecs"][0], "replicas": 3}
    world.cluster.patch(CLUSTERS, cluster["metadata"]["name"], {"spec": {"workerGroupSpecs": [group]}})
    assert settled(world, 3)["phase"] == "Serving"


@pytest.mark.usefixtures("simulation")
def test_suspending_ends_the_ray_cluster(world: World) -> None:
    world.model(**RAY)
    settled(world)
    world.model(**RAY, suspend=True)
    world.wait(lambda status: status["phase"] == "Suspended" and status["replicas"] == 0)
    world.model(**RAY)
    assert settled(world)["phase"] == "Serving"


def test_what_ray_says_of_an_application_is_said(world: World, simulation: Simulation) -> None:
    simulation.script.play(Starting(), labels={"app.kubernetes.io/component": "engine"})
    simulation.script.deploy("DEPLOY_FAILED", "spec.engine.args.max_lenght: vLLM knows no such argument", model="m")
    world.model(**RAY)
    found = world.wait(lambda status: "max_lenght" in condition(status, "WorkloadReady")["message"])
    assert condition(found, "WorkloadReady")["reason"] == "ContainerStartError"
    assert found["lastFailure"]["reason"] == "ContainerStartError"
