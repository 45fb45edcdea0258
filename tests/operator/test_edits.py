"""Every field of a Model, edited under engines that serve: which edits replace them, and which do not.

The tables are those of the rendered pods; here the operator applies them, and Deployments roll out.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.charts.test_pods import NEW_PODS, SAME_PODS, camel
from tests.kube.resources import Manifest
from tests.kube.server import KubeServer
from tests.kube.simulation.simulation import node
from tests.operator.world import MODELS, World, condition

BASE: dict[str, Any] = {"replicas": 2, "engine": {"device": "cpu"}, "resources": {"limits": {"memory": "8Gi"}}}
NEW = dict(enumerate(NEW_PODS))
# No engine at all is another test's.
SAME = dict(enumerate([(field, value) for field, value in SAME_PODS if field != "suspend"]))


@pytest.fixture
def served(world: World, standin: KubeServer) -> Iterator[World]:
    """A world with an operator at work, controllers, and whatever the edits refer to."""
    del standin  # a real cluster has controllers of its own
    world.secret("hf", {"token": "x"})
    world.secret("s", {"a": "x"})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": "weights"}
    world.cluster.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim})
    machine = node("n1", cpu="1000", memory="10Ti", gpus=64, pods=1000, labels={"a": "b"})
    with world.simulated(nodes=[machine]), world.operator():
        yield world


def edited(field: str, value: Any) -> dict[str, Any]:
    """The specification after an edit; what an engine is told is told beside where it runs."""
    within = {**BASE["engine"], **value} if field == "engine" else value
    return {**BASE, camel(field): within}


def pods(world: World, name: str) -> set[str]:
    found = world.cluster.list("v1/pods", f"fairlead.dev/model={name}")
    return {pod["metadata"]["uid"] for pod in found if not pod["metadata"].get("deletionTimestamp")}


def serving(world: World, name: str, count: int = 2) -> set[str]:
    """The engines of a Model once all of them are what it asks for now."""
    generation = (world.cluster.get(MODELS, name) or {})["metadata"]["generation"]

    def holds(status: Manifest) -> bool:
        complete = condition(status, "Progressing")["reason"] == "RolloutComplete"
        current = status.get("observedGeneration", 0) >= generation
        return bool(current and complete and status["readyReplicas"] == count == status["replicas"])

    world.wait(holds, name)
    return pods(world, name)


def after_edits(world: World, edits: dict[int, tuple[str, Any]]) -> Iterator[tuple[str, set[str], set[str]]]:
    """For each edit of a Model of its own: what it was, and the engines before and after."""
    for number in edits:
        world.model(f"m{number}", **BASE)
    before = {number: serving(world, f"m{number}") for number in edits}
    for number, (field, value) in edits.items():
        world.model(f"m{number}", **edited(field, value))
    for number, (field, value) in edits.items():
        count = value if field == "replicas" else 2
        yield f"{field}: {value}", before[number], serving(world, f"m{number}", count)


def test_an_edit_of_what_an_engine_is_made_of_replaces_every_engine(served: World) -> None:
    kept = {edit for edit, before, after in after_edits(served, NEW) if before & after}
    assert not kept


def test_an_edit_of_what_surrounds_an_engine_replaces_none(served: World) -> None:
    replaced = {edit for edit, before, after in after_edits(served, SAME) if not before <= after}
    assert not replaced


def test_labels_and_annotations_of_a_model_replace_no_engine(served: World) -> None:
    served.model(**BASE)
    before = serving(served, "m")
    served.cluster.patch(MODELS, "m", {"metadata": {"labels": {"team": "a"}, "annotations": {"note": "b"}}})
    served.model(**BASE, fallback=["another"])
    assert serving(served, "m") == before
