"""Models in Ray clusters: KubeRay, as far as the operator has to do with it, is simulated."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.kube.resources import Manifest
from tests.kube.server import KubeServer
from tests.kube.simulation.engine import Engine
from tests.kube.simulation.script import Ready, Starting
from tests.kube.simulation.simulation import Simulation, node
from tests.operator.test_rollouts import Seen, quota
from tests.operator.waiting import until
from tests.operator.world import World, condition

RAY: dict[str, Any] = {"cluster": "KubeRay", "engine": {"device": "cuda"}}
CLUSTERS = "ray.io/v1/rayclusters"
ENGINE = {"app.kubernetes.io/component": "engine"}


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


ROOM: dict[str, Any] = {"rolloutStrategy": {"maxSurge": 1}}
ALONE: dict[str, Any] = {"engine": {"device": "cuda"}, **ROOM}


def test_a_move_to_another_kind_of_workload_serves_throughout_where_there_is_room(
    world: World, standin: KubeServer, simulation: Simulation
) -> None:
    world.model(**ALONE, replicas=2)
    before = settled(world, 2)["currentRevision"]
    seen = Seen(world, standin)
    for spec, old, new in (
        ({**RAY, **ROOM}, "apps/v1/deployments", {"ray.io/node-type": "worker"}),
        (ALONE, "ray.io/v1/rayservices", {"fairlead.dev/revision": before}),
    ):
        simulation.script.play(Starting(), labels=new)
        world.model(**spec, replicas=2)
        found = world.wait(lambda status: status["replicas"] == 4)
        assert condition(found, "Ready")["status"] == "True"
        assert condition(found, "Progressing")["reason"] == "RolloutInProgress"
        simulation.script.play(Ready(), labels=new)
        world.cluster.wait_gone(old, "m")
        assert (settled(world, 2)["currentRevision"] == before) is (spec is ALONE)
    assert seen.fewest_ready >= 2
    assert seen.most == 4


def test_the_pods_of_a_ray_cluster_are_not_asked_how_far_they_are(world: World, simulation: Simulation) -> None:
    asked: list[str] = []

    class Telling(Engine):
        def status(self, pod: str) -> dict[str, Any]:
            asked.append(pod)
            return super().status(pod)

    simulation.script.serve(Telling(), model="m")
    world.model(**RAY, **ROOM)
    settled(world)
    simulation.script.play(Starting(), model="m")
    world.model(**ALONE)
    until(lambda: len(asked) > 4)
    workers = {pod["metadata"]["name"] for pod in world.cluster.list("v1/pods", "ray.io/node-type=worker")}
    assert workers
    assert workers.isdisjoint(asked)


def test_a_quota_that_is_used_up_is_said_of_a_ray_cluster_too(world: World, simulation: Simulation) -> None:
    del simulation
    quota(world, "1")
    world.model(**RAY, replicas=2)
    said = world.wait_condition("WorkloadReady", "False", "Unschedulable")["message"]
    assert "needs 1 more nvidia.com/gpu: 1 of 1 are in use by the quota team" in said
    quota(world, "2")
    assert settled(world, 2)["phase"] == "Serving"


def test_a_move_that_fails_leaves_the_engines_of_before(world: World, simulation: Simulation) -> None:
    world.model(**ALONE)
    before = settled(world)["currentRevision"]
    simulation.script.play(Starting(), image="registry/engine:broken", labels=ENGINE)
    simulation.script.deploy("DEPLOY_FAILED", "no kernel image", model="m")
    broken = {"engine": {"device": "cuda", "image": "registry/engine:broken"}, "cluster": "KubeRay", **ROOM}
    world.model(**broken)
    found = world.wait(lambda status: condition(status, "Progressing")["reason"] == "RolledBack")
    world.cluster.wait_gone("ray.io/v1/rayservices", "m")
    assert "no kernel image" in condition(found, "Progressing")["message"]
    assert (found["currentRevision"], found["readyReplicas"]) == (before, 1)
    assert condition(found, "Ready")["status"] == "True"


def test_a_move_that_failed_is_tried_again_once_suspending_took_the_engines_of_before(
    world: World, simulation: Simulation
) -> None:
    world.model(**ALONE)
    before = settled(world)["currentRevision"]
    simulation.script.play(Starting(), labels=ENGINE)
    simulation.script.deploy("DEPLOY_FAILED", "no kernel image", model="m")
    world.model(**RAY, **ROOM)
    world.wait(lambda status: condition(status, "Progressing")["reason"] == "RolledBack")
    world.model(**RAY, **ROOM, suspend=True)
    world.wait(lambda status: status["phase"] == "Suspended" and status["replicas"] == 0)
    simulation.script.play(Ready(), labels=ENGINE)
    simulation.script.deploy("RUNNING", model="m")
    world.model(**RAY, **ROOM)
    assert settled(world)["currentRevision"] != before
    assert world.status()["phase"] == "Serving"


def test_what_ray_says_of_an_application_is_said(world: World, simulation: Simulation) -> None:
    simulation.script.play(Starting(), labels=ENGINE)
    simulation.script.deploy("DEPLOY_FAILED", "spec.engine.args.max_lenght: vLLM knows no such argument", model="m")
    world.model(**RAY)
    found = world.wait(lambda status: "max_lenght" in condition(status, "WorkloadReady")["message"])
    assert condition(found, "WorkloadReady")["reason"] == "ContainerStartError"
    assert found["lastFailure"]["reason"] == "ContainerStartError"
