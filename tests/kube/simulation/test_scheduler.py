"""Which node a pod gets, and what is said when it gets none."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from fairlead_operator.render import Manifest
from tests.kube.simulation.simulation import node
from tests.kube.simulation.volumes import storage_class
from tests.kube.simulation.world import GPU, World, condition

TAINT = {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}
CLAIM = {"volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": "c"}}]}
Make = Callable[..., World]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Clusters of certain nodes."""
    async with contextlib.AsyncExitStack() as stack:

        def made(*nodes: Manifest, storage_classes: Sequence[Manifest] = ()) -> World:
            world = World(nodes=nodes, storage_classes=storage_classes)
            stack.push_async_callback(world.simulation.stop)
            return world

        yield made


def words(world: World) -> str:
    """What the scheduler says of the only pod that waits."""
    (waiting,) = [pod for pod in world.pods if condition(pod, "PodScheduled").get("status") == "False"]
    found = condition(waiting, "PodScheduled")
    assert (found["reason"], waiting["status"]["phase"]) == ("Unschedulable", "Pending")
    return str(found["message"])


async def test_the_scheduler_counts_what_speaks_against_the_nodes(make: Make) -> None:
    world = make(node("a", gpus=0, taints=[TAINT]), node("b", gpus=1), node("c", gpus=1, cpu="1"))
    world.deploy(gpus=2, resources={"limits": {GPU: 2}, "requests": {"cpu": "2"}})
    assert words(world) == (
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {dedicated: gpu}, "
        "2 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are available: "
        "1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
    )


async def test_an_event_says_the_same_as_the_pod(make: Make) -> None:
    world = make(node("a", gpus=0))
    world.deploy()
    (event,) = world.events("FailedScheduling")
    assert event["message"] == words(world)
    assert (event["type"], event["reportingComponent"]) == ("Warning", "default-scheduler")
    assert event.get("lastTimestamp") is None
    assert event["eventTime"].endswith(".000000Z")


async def test_without_nodes_there_is_nothing_to_count(make: Make) -> None:
    world = make()
    world.deploy()
    assert words(world) == "no nodes available to schedule pods"


async def test_labels_and_cordons_are_reasons_too(make: Make) -> None:
    world = make(node("a"), node("b", labels={"gpu": "l4"}))
    cordoned = world.store.get(world.store.resource("nodes"), "", "b")
    assert cordoned is not None
    world.store.update(world.store.resource("nodes"), {**cordoned, "spec": {"unschedulable": True}})
    world.deploy(pod={"nodeSelector": {"gpu": "l4"}})
    assert "1 node(s) didn't match Pod's node affinity/selector, 1 node(s) were unschedulable." in words(world)


@pytest.mark.parametrize(
    "toleration",
    [
        {"operator": "Exists"},
        {"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "dedicated", "value": "gpu"},
    ],
    ids=["everything", "the key", "the value"],
)
async def test_a_taint_that_is_tolerated_keeps_nobody_away(make: Make, toleration: dict[str, str]) -> None:
    world = make(node("a", taints=[TAINT]))
    world.deploy(pod={"tolerations": [toleration]})
    assert world.pod["spec"]["nodeName"] == "a"


async def test_a_pod_that_waits_gets_what_another_one_leaves(make: Make) -> None:
    world = make(node("a", gpus=1))
    world.deploy("first")
    world.deploy("second")
    assert "1 Insufficient nvidia.com/gpu" in words(world)
    world.deploy("first", replicas=0)
    (pod,) = world.pods
    assert pod["metadata"]["labels"]["fairlead.dev/model"] == "second"
    assert world.images == ["e:1"]


async def test_a_new_node_is_looked_at(make: Make) -> None:
    world = make(node("a", gpus=0))
    world.deploy()
    assert world.images == []
    world.store.create(world.store.resource("nodes"), node("b", gpus=1))
    world.settle()
    assert world.pod["spec"]["nodeName"] == "b"


async def test_a_claim_that_is_not_there_is_named(make: Make) -> None:
    world = make(node("a"))
    world.deploy(pod=CLAIM)
    assert words(world).startswith('0/1 nodes are available: persistentvolumeclaim "c" not found. preemption: 0/1')


async def test_a_claim_without_a_volume_is_waited_for(make: Make) -> None:
    world = make(node("a"))
    world.create("persistentvolumeclaims", "c", spec=claim())
    world.deploy(pod=CLAIM)
    assert "pod has unbound immediate PersistentVolumeClaims. preemption" in words(world)


async def test_a_claim_that_waits_for_its_pod_does_not_hold_it_up(make: Make) -> None:
    world = make(node("a"), storage_classes=[storage_class("late", waits=True)])
    world.create("persistentvolumeclaims", "c", spec=claim(storageClassName="late"))
    assert world.get("persistentvolumeclaims", "c")["status"]["phase"] == "Pending"
    world.deploy(pod=CLAIM)
    assert world.get("persistentvolumeclaims", "c")["status"]["phase"] == "Bound"
    assert world.images == ["e:1"]


def claim(**spec: str) -> dict[str, object]:
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
