"""Deployments: what a rolling update keeps, what stops it, and how it is told."""

from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial

import pytest

from fairlead_operator.render import Manifest
from tests.kube.simulation.script import Crash, ImagePullError, Ready, Starting
from tests.kube.simulation.simulation import node
from tests.kube.simulation.world import World, condition

PROGRESSING, AVAILABLE = "Progressing", "Available"


def counts(world: World) -> dict[str, int]:
    status = world.get("deployments", "m")["status"]
    return {name: value for name, value in status.items() if name.endswith("eplicas")}


def reason(world: World, name: str) -> tuple[str, str]:
    found = condition(world.get("deployments", "m"), name)
    return found["status"], found["reason"]


def newest(world: World) -> Manifest:
    """The replica set that was taken up last."""
    return max(
        world.all("replicasets"), key=lambda one: one["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
    )


async def test_a_deployment_becomes_pods_that_are_ready(world: World) -> None:
    world.deploy(replicas=3)
    assert world.images == ["e:1"] * 3
    assert counts(world) == {"replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3}
    status = world.get("deployments", "m")["status"]
    assert status["observedGeneration"] == world.get("deployments", "m")["metadata"]["generation"]
    assert reason(world, PROGRESSING) == ("True", "NewReplicaSetAvailable")
    assert reason(world, AVAILABLE) == ("True", "MinimumReplicasAvailable")


async def test_a_deployment_says_how_far_it_is(world: World) -> None:
    world.script.play(Starting())
    world.deploy(replicas=2, unavailable=0, surge=1)
    assert counts(world) == {"replicas": 2, "updatedReplicas": 2, "unavailableReplicas": 2}
    assert reason(world, AVAILABLE) == ("False", "MinimumReplicasUnavailable")
    assert reason(world, PROGRESSING) == ("True", "ReplicaSetUpdated")


@pytest.mark.parametrize(("surge", "unavailable"), [(0, 1), (1, 0), (2, 1), (1, 3)])
async def test_a_rolling_update_keeps_within_its_bounds(world: World, surge: int, unavailable: int) -> None:
    deploy = partial(world.deploy, surge=surge, unavailable=unavailable, replicas=4)
    deploy()
    world.script.play(Ready(after=10))
    seen: list[tuple[int, int]] = []

    def look(*_: object) -> None:
        live = [pod for pod in world.pods if "deletionTimestamp" not in pod["metadata"]]
        seen.append((len(live), sum(1 for pod in live if condition(pod, "Ready").get("status") == "True")))

    end = world.store.subscribe(look)
    deploy(image="e:2")
    for _ in range(60):
        world.advance(1)
    end()
    assert world.images == ["e:2"] * 4
    assert max(live for live, _ in seen) == 4 + surge
    assert min(ready for _, ready in seen) == 4 - unavailable


async def test_pods_that_are_not_ready_anyway_go_first(world: World) -> None:
    world.deploy(replicas=3, surge=1, unavailable=0)
    world.script.play(Starting(), pod=world.pods[0]["metadata"]["name"])
    broken = world.pods[0]["metadata"]["name"]
    world.script.play(Ready(after=10), image="e:2")
    world.deploy(replicas=3, surge=1, unavailable=1, image="e:2")
    assert broken not in [pod["metadata"]["name"] for pod in world.pods]
    assert world.images == ["e:1", "e:1"]


async def test_a_rollout_that_fails_leaves_the_old_pods_and_is_late_once(world: World) -> None:
    world.deploy(surge=1, unavailable=0, deadline=60)
    world.script.play(ImagePullError(), image="e:2")
    world.deploy(surge=1, unavailable=0, deadline=60, image="e:2")
    world.advance(50)
    assert reason(world, PROGRESSING) == ("True", "ReplicaSetUpdated")
    world.advance(12)
    assert reason(world, PROGRESSING) == ("False", "ProgressDeadlineExceeded")
    assert reason(world, AVAILABLE) == ("True", "MinimumReplicasAvailable")
    assert world.images == ["e:1"]
    version = world.store.version
    world.advance(5)
    assert world.store.version == version


async def test_a_late_rollout_that_comes_through_is_available(world: World) -> None:
    world.script.play(Starting())
    world.deploy(deadline=60)
    world.advance(120)
    assert reason(world, PROGRESSING) == ("False", "ProgressDeadlineExceeded")
    world.script.play(Ready())
    world.settle()
    assert reason(world, PROGRESSING) == ("True", "NewReplicaSetAvailable")


async def test_going_back_takes_up_the_replica_set_of_before(world: World) -> None:
    world.deploy()
    first = newest(world)["metadata"]["name"]
    world.script.play(Crash(), image="e:2")
    world.deploy(image="e:2")
    assert world.images == []
    world.deploy(image="e:1")
    assert world.images == ["e:1"]
    assert newest(world)["metadata"]["name"] == first
    assert world.get("deployments", "m")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert counts(world) == {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}


async def test_a_history_keeps_as_many_revisions_as_it_is_told(world: World) -> None:
    for number in range(14):
        world.deploy(image=f"e:{number}")
    assert len(world.all("replicasets")) == 11


async def test_scaling_makes_no_new_replica_set(world: World) -> None:
    world.deploy(replicas=2)
    for replicas in (4, 1, 0, 2):
        world.deploy(replicas=replicas)
        assert len(world.pods) == replicas
        assert counts(world).get("readyReplicas", 0) == replicas
    assert len(world.all("replicasets")) == 1


async def test_scaling_during_a_rollout_is_shared(world: World) -> None:
    world.deploy(replicas=4, surge=2, unavailable=0)
    world.script.play(Starting(), image="e:2")
    world.deploy(replicas=4, surge=2, unavailable=0, image="e:2")
    assert [one["spec"]["replicas"] for one in world.all("replicasets")].count(2) == 1
    world.deploy(replicas=10, surge=2, unavailable=0, image="e:2")
    assert sorted(one["spec"]["replicas"] for one in world.all("replicasets")) == [4, 8]


async def test_a_pod_that_is_lost_is_replaced(world: World) -> None:
    world.deploy()
    lost = world.pod["metadata"]["name"]
    world.delete("pods", lost)
    assert world.pod["metadata"]["name"] != lost
    assert world.images == ["e:1"]


@pytest.fixture
async def one_gpu() -> AsyncIterator[World]:
    world = World(nodes=[node("gpu", gpus=1)])
    yield world
    await world.simulation.stop()


async def test_a_rollout_without_a_spare_gpu_is_blocked_until_one_is_free(one_gpu: World) -> None:
    world = one_gpu
    world.deploy(surge=1, unavailable=0)
    world.deploy(surge=1, unavailable=0, image="e:2")
    assert world.images == ["e:1"]
    blocked = next(pod for pod in world.pods if pod["spec"]["containers"][0]["image"] == "e:2")
    assert condition(blocked, "PodScheduled")["reason"] == "Unschedulable"
    world.deploy(surge=0, unavailable=1, image="e:2")
    assert world.images == ["e:2"]
    assert world.pod["spec"]["nodeName"] == "gpu"


async def test_the_gpu_of_a_pod_that_drains_is_not_free(one_gpu: World) -> None:
    world = one_gpu
    world.script.leave(30)
    pod = {"terminationGracePeriodSeconds": 60}
    world.deploy(pod=pod)
    world.deploy(pod=pod, image="e:2")
    world.advance(29)
    assert sorted(condition(pod, "PodScheduled")["status"] for pod in world.pods) == ["False", "True"]
    world.advance(2)
    assert world.images == ["e:2"]


async def test_conditions_tell_since_when_they_are_so(world: World) -> None:
    world.script.play(Ready(after=30))
    world.deploy(surge=1, unavailable=0)
    world.advance(40)
    found = condition(world.get("deployments", "m"), AVAILABLE)
    created = world.get("deployments", "m")["metadata"]["creationTimestamp"]
    waited = datetime.fromisoformat(found["lastTransitionTime"]) - datetime.fromisoformat(created)
    assert (found["status"], waited.total_seconds()) == ("True", 30)
