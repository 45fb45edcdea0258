"""An operator that dies after any of its writes, on any way that a Model goes: the next one finishes what it began."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.kube.resources import Manifest
from tests.operator.hands import Hands, Killed, clear, settled, shape
from tests.operator.world import DEPLOYMENTS, World, now

Step = Callable[[World], None]

BASE: dict[str, Any] = {"replicas": 2, "cache": {"deletionPolicy": "Delete"}}
OTHER = {**BASE, "engine": {"device": "cpu", "image": "registry/engine:2"}}


def nothing(world: World) -> None:
    """All is as it was."""
    del world


def asks(**spec: Any) -> Step:
    """The Model asks for this."""

    def step(world: World) -> None:
        world.model(**spec)

    return step


def done(*steps: Step) -> Step:
    """These happen, and each time an operator does all there is to do."""

    def all_of_them(world: World) -> None:
        for step in steps:
            step(world)
            settled(world)

    return all_of_them


def answers(world: World) -> None:
    """Every engine of the Deployment does."""
    say(world, "True", "NewReplicaSetAvailable", replicas=2, available=2)


def fails(world: World) -> None:
    """No engine of the newest revision came up in time."""
    say(world, "False", "ProgressDeadlineExceeded", replicas=2, available=0)


def say(world: World, status: str, reason: str, *, replicas: int, available: int) -> None:
    """Write what the Deployment's controller would."""
    deployment = deployment_of(world)
    progressing = {"type": "Progressing", "status": status, "reason": reason, "message": "said by the test"}
    written = {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": replicas,
        "updatedReplicas": replicas,
        "readyReplicas": available,
        "availableReplicas": available,
        "conditions": [{**progressing, "lastUpdateTime": now(), "lastTransitionTime": now()}],
    }
    world.cluster.patch(DEPLOYMENTS, "m", {"status": written}, subresource="status")


def loses_the_token(world: World) -> None:
    world.cluster.delete("v1/secrets", world.settings.internal_token.name)


def deployment_of(world: World) -> Manifest:
    found = world.cluster.get(DEPLOYMENTS, "m")
    assert found is not None
    return found


def image_of(world: World) -> str:
    return str(deployment_of(world)["spec"]["template"]["spec"]["containers"][0]["image"])


def has(world: World, *kinds: str) -> bool:
    """Whether there is something of each kind."""
    return set(kinds) <= {kind for kind, _ in world.children()}


@dataclass(frozen=True)
class Way:
    """What the first operator finds, what happens then, and how it is known that the Model arrived.

    `home`: the platform's namespace, where it is not that of the Model.
    """

    before: Step
    change: Step
    arrived: Callable[[World], bool]
    home: str = ""


WAYS: dict[str, Way] = {
    "first": Way(nothing, asks(**BASE), lambda world: has(world, "deployments")),
    "first, with KubeRay": Way(nothing, asks(**BASE, cluster="KubeRay"), lambda world: has(world, "rayservices")),
    "first, without a token": Way(
        loses_the_token,
        asks(**BASE),
        lambda world: world.cluster.get("v1/secrets", world.settings.internal_token.name) is not None,
        home="elsewhere",
    ),
    "another image": Way(done(asks(**BASE)), asks(**OTHER), lambda world: image_of(world) == "registry/engine:2"),
    "less": Way(
        done(asks(**BASE)),
        asks(**{**BASE, "replicas": 1}),
        lambda world: not has(world, "poddisruptionbudgets"),
    ),
    "suspended": Way(
        done(asks(**BASE)),
        asks(**BASE, suspend=True),
        lambda world: deployment_of(world)["spec"]["replicas"] == 0,
    ),
    "a claim to be kept": Way(
        done(asks(**BASE)),
        asks(replicas=2, cache={"deletionPolicy": "Retain"}),
        lambda world: "ownerReferences" not in world.children()["persistentvolumeclaims", "m-cache"]["metadata"],
    ),
    "to KubeRay": Way(
        done(asks(**BASE)),
        asks(**BASE, cluster="KubeRay"),
        lambda world: has(world, "rayservices") and not has(world, "deployments"),
    ),
    "rolled back": Way(
        done(asks(**BASE), answers, asks(**OTHER)), fails, lambda world: image_of(world) == "registry/engine:1-cpu"
    ),
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.usefixtures("standin")
def test_an_operator_that_dies_after_any_write_leaves_nothing_that_the_next_one_does_not_finish(
    world: World, name: str
) -> None:
    way = WAYS[name]
    way.before(world)
    way.change(world)
    expected, status = settled(world, home=way.home), world.status()
    assert way.arrived(world)
    last = 0
    dies = True
    while dies:
        last += 1
        clear(world)
        way.before(world)
        way.change(world)
        dies = died(world, way, last)
        assert settled(world, home=way.home) == expected, f"killed after write {last}"
        assert way.arrived(world), f"killed after write {last}"
        assert world.status() == status, f"killed after write {last}"
    assert last > 2, "all of it took one write"


def died(world: World, way: Way, last: int) -> bool:
    """Whether an operator that can write so often had something left to write."""
    try:
        with Hands(world, last=last, home=way.home) as hands:
            hands.settle()
    except Killed:
        return True
    return False


def test_what_an_operator_that_died_has_begun_is_told_by_its_traces(world: World) -> None:
    world.model(**BASE)
    with pytest.raises(Killed), Hands(world, last=3) as hands:
        hands.settle()
    assert 0 < len(shape(world)) < len(settled(world))
