"""Quotas: what is refused, in which words, and that room is taken once there is some."""

from tests.kube.simulation.test_rayservices import cluster, deploy
from tests.kube.simulation.world import World, condition

GPUS = "requests.nvidia.com/gpu"


def limit(world: World, **hard: str) -> None:
    world.create("resourcequotas", "team", spec={"hard": hard})


async def test_pods_beyond_a_quota_are_refused_in_the_words_of_the_api_server(world: World) -> None:
    limit(world, **{GPUS: "1"})
    world.deploy(replicas=2)
    assert len(world.pods) == 1
    found = condition(world.get("deployments", "m"), "ReplicaFailure")
    assert (found["status"], found["reason"]) == ("True", "FailedCreate")
    words = f"is forbidden: exceeded quota: team, requested: {GPUS}=1, used: {GPUS}=1, limited: {GPUS}=1"
    assert found["message"].endswith(words)


async def test_a_quota_that_is_raised_and_a_pod_that_goes_make_room(world: World) -> None:
    limit(world, pods="1")
    world.deploy("first")
    world.deploy("m", replicas=2)
    assert len(world.pods) == 1
    world.deploy("first", replicas=0)
    assert len(world.pods) == 1
    world.change("resourcequotas", "team", spec={"hard": {"pods": "2"}})
    assert len(world.pods) == 2
    assert not condition(world.get("deployments", "m"), "ReplicaFailure")


async def test_a_ray_cluster_says_which_pod_it_cannot_make(world: World) -> None:
    limit(world, pods="1")
    deploy(world)
    found = condition(cluster(world), "ReplicaFailure")
    assert found["reason"] == "FailedCreateWorkerPod"
    assert found["message"].startswith("FailedCreateWorkerPod\npods ")
    world.change("resourcequotas", "team", spec={"hard": {"pods": "2"}})
    assert not condition(cluster(world), "ReplicaFailure")
