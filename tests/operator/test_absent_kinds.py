"""A cluster that does not know the kinds of others, and is taught them later."""

from collections.abc import Iterator

import pytest

from tests.kube import foreign
from tests.operator.world import DEPLOYMENTS, World

DEFINITIONS = "apiextensions.k8s.io/v1/customresourcedefinitions"
MONITORS = "monitoring.coreos.com/v1/podmonitors"


@pytest.fixture
def bare(world: World) -> Iterator[World]:
    """A world with an operator at work in a cluster that has only what comes with Kubernetes and Fairlead."""
    if world.cluster.server is None:
        pytest.skip("the kinds of a real cluster are not the tests' to delete")
    for definition in foreign.definitions():
        world.cluster.delete(DEFINITIONS, definition["metadata"]["name"])
    with world.operator():
        yield world


def teach(world: World) -> None:
    for definition in foreign.definitions():
        world.cluster.apply(definition)


def test_without_monitors_a_model_is_served_and_has_its_own_as_soon_as_there_are_some(bare: World) -> None:
    bare.model()
    bare.wait_started()
    assert bare.wait_condition("SpecValid", "True")
    assert bare.cluster.get(DEPLOYMENTS, "m")
    teach(bare)
    found = bare.cluster.wait_until(MONITORS, "m", lambda found: found is not None)
    assert found is not None
    assert found["metadata"]["ownerReferences"][0]["name"] == "m"


def test_without_kuberay_its_models_say_so_and_start_as_soon_as_it_is_there(bare: World) -> None:
    bare.model(cluster="KubeRay")
    assert "KubeRay is not installed" in bare.wait_condition("SpecValid", "False", "KubeRayNotFound")["message"]
    teach(bare)
    bare.cluster.wait_until("ray.io/v1/rayservices", "m", lambda found: found is not None)
    bare.wait_condition("SpecValid", "True")
