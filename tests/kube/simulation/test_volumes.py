"""Claims: bound, or told why not."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.kube.simulation.volumes import storage_class
from tests.kube.simulation.world import World


@pytest.fixture
async def bare() -> AsyncIterator[World]:
    """A cluster without a storage class."""
    world = World(storage_classes=[])
    yield world
    await world.simulation.stop()


def claim(world: World, **spec: Any) -> None:
    resources = {"requests": {"storage": "50Gi"}}
    world.create("persistentvolumeclaims", "c", spec={"accessModes": ["ReadWriteOnce"], "resources": resources, **spec})


def phase(world: World) -> str:
    return str(world.get("persistentvolumeclaims", "c")["status"]["phase"])


async def test_a_claim_is_bound_to_a_volume_of_the_default_class(world: World) -> None:
    claim(world)
    found = world.get("persistentvolumeclaims", "c")
    assert found["status"] == {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "50Gi"}}
    assert found["spec"]["volumeName"] == f"pvc-{found['metadata']['uid']}"


async def test_without_a_class_a_claim_waits_and_says_so(bare: World) -> None:
    claim(bare)
    assert phase(bare) == "Pending"
    (event,) = bare.events("FailedBinding")
    assert event["message"] == "no persistent volumes available for this claim and no storage class is set"
    bare.store.create(bare.store.resource("storageclasses", "storage.k8s.io"), storage_class())
    bare.settle()
    assert phase(bare) == "Bound"


async def test_a_class_that_is_not_there_is_named(world: World) -> None:
    claim(world, storageClassName="fast")
    assert phase(world) == "Pending"
    (event,) = world.events("ProvisioningFailed")
    assert (event["type"], event["message"]) == ("Warning", 'storageclass.storage.k8s.io "fast" not found')


async def test_a_claim_without_any_class_by_wish_takes_no_default(world: World) -> None:
    claim(world, storageClassName="")
    assert phase(world) == "Pending"
