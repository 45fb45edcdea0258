"""Ownership, finalizers and namespaces: what goes away with what, and what waits for whom."""

import pytest

from tests.kube.cluster import ApiError, KubeCluster
from tests.kube.resources import Manifest
from tests.kube.samples import config_map

MAPS = "v1/configmaps"


def owned(name: str, *owners: Manifest, blocks: bool = True) -> Manifest:
    references = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": blocks,
        }
        for owner in owners
    ]
    return {**config_map(name), "metadata": {"name": name, "ownerReferences": references}}


def test_what_is_owned_goes_with_its_owner_and_so_on_down(cluster: KubeCluster) -> None:
    owner = cluster.create(config_map("owner"))
    child = cluster.create(owned("child", owner))
    cluster.create(owned("grandchild", child))
    cluster.delete(MAPS, "owner")
    cluster.wait_gone(MAPS, "grandchild")


def test_what_has_another_owner_stays(cluster: KubeCluster) -> None:
    first, second = cluster.create(config_map("first")), cluster.create(config_map("second"))
    cluster.create(owned("child", first, second))
    cluster.delete(MAPS, "first")
    cluster.wait_gone(MAPS, "first")
    assert cluster.get(MAPS, "child") is not None


def test_what_names_an_owner_that_is_no_more_goes_at_once(cluster: KubeCluster) -> None:
    owner = cluster.create(config_map("owner"))
    cluster.delete(MAPS, "owner")
    cluster.create(config_map("owner"))
    cluster.create(owned("child", owner))
    cluster.wait_gone(MAPS, "child")


def test_orphans_stay_and_have_no_owner_any_more(cluster: KubeCluster) -> None:
    owner = cluster.create(config_map("owner"))
    cluster.create(owned("child", owner))
    cluster.delete(MAPS, "owner", propagationPolicy="Orphan")
    cluster.wait_gone(MAPS, "owner")
    child = cluster.get(MAPS, "child")
    assert child is not None
    assert "ownerReferences" not in child["metadata"]


def test_an_owner_deleted_in_the_foreground_waits_for_what_it_owns(cluster: KubeCluster) -> None:
    owner = cluster.create(config_map("owner"))
    child = owned("child", owner)
    child["metadata"]["finalizers"] = ["fairlead.dev/test"]
    cluster.create(child)
    cluster.delete(MAPS, "owner", propagationPolicy="Foreground")
    waiting = cluster.get(MAPS, "owner")
    assert waiting is not None
    assert waiting["metadata"]["finalizers"] == ["foregroundDeletion"]
    cluster.patch(MAPS, "child", {"metadata": {"finalizers": None}})
    cluster.wait_gone(MAPS, "owner")


def test_a_finalizer_holds_an_object_until_it_is_taken_off(cluster: KubeCluster) -> None:
    held = config_map("held")
    held["metadata"]["finalizers"] = ["fairlead.dev/test"]
    cluster.create(held)
    cluster.delete(MAPS, "held")
    found = cluster.get(MAPS, "held")
    assert found is not None
    assert found["metadata"]["deletionTimestamp"]
    cluster.patch(MAPS, "held", {"metadata": {"finalizers": []}})
    assert cluster.get(MAPS, "held") is None


def test_a_deletion_of_another_object_of_that_name_is_refused(cluster: KubeCluster) -> None:
    old = cluster.create(config_map("a"))
    cluster.delete(MAPS, "a")
    cluster.create(config_map("a"))
    with pytest.raises(ApiError, match="UID in precondition"):
        cluster.delete(MAPS, "a", preconditions={"uid": old["metadata"]["uid"]})


def test_a_namespace_takes_everything_in_it_along_and_takes_nothing_new_meanwhile(cluster: KubeCluster) -> None:
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{cluster.namespace}-2"}})
    there = KubeCluster(cluster.client, cluster.kubeconfig, f"{cluster.namespace}-2")
    held = config_map("held")
    held["metadata"]["finalizers"] = ["fairlead.dev/test"]
    there.create(held)
    there.create(config_map("free"))
    cluster.delete("v1/namespaces", there.namespace)
    there.wait_gone(MAPS, "free")
    with pytest.raises(ApiError, match="because it is being terminated") as refusal:
        there.create(config_map("late"))
    assert refusal.value.code == 403
    there.patch(MAPS, "held", {"metadata": {"finalizers": None}})
    cluster.wait_gone("v1/namespaces", there.namespace)
