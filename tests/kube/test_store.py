"""The store, as controllers in the same process use it."""

from typing import Any

import pytest

from tests.kube.errors import Conflict, NotFound
from tests.kube.garbage import Garbage
from tests.kube.resources import Manifest, Resource
from tests.kube.samples import config_map
from tests.kube.store import Store


@pytest.fixture
def store() -> Store:
    store = Store()
    store.create(store.resource("namespaces"), {"metadata": {"name": "default"}})
    return store


@pytest.fixture
def maps(store: Store) -> Resource:
    return store.resource("configmaps")


def labelled(name: str, **labels: str) -> Manifest:
    return {"metadata": {"name": name, "labels": labels}}


def test_everybody_is_told_in_order_also_of_what_is_done_meanwhile(store: Store, maps: Resource) -> None:
    told: list[tuple[str, str, str]] = []

    def answer(kind: str, resource: Resource, manifest: Manifest) -> None:
        if kind == "ADDED" and manifest["metadata"]["name"] == "a":
            store.create(maps, config_map("b"))

    def note(who: str) -> Any:
        return lambda kind, resource, manifest: told.append((who, kind, manifest["metadata"]["name"]))

    store.subscribe(note("first"))
    store.subscribe(answer)
    stop = store.subscribe(note("last"))
    store.create(maps, config_map("a"))
    assert told == [(who, "ADDED", name) for name in "ab" for who in ("first", "last")]
    stop()
    store.delete(maps, "default", "a")
    assert told[4:] == [("first", "DELETED", "a")]


def test_objects_are_found_by_namespace_and_label_as_they_are_now(store: Store, maps: Resource) -> None:
    store.create(maps, labelled("a", team="red", tier="x"))
    store.create(maps, labelled("b", team="red"))
    store.update(maps, {**labelled("b", team="blue"), "metadata": {"name": "b", "namespace": "default"}})
    found = [one["metadata"]["name"] for one in store.all(maps, selector={"team": "red"})]
    assert found == ["a"]
    assert store.all(maps, "default", {"team": "red", "tier": "y"}) == []
    assert len(store.all(maps, "default")) == 2
    assert store.all(maps, "other") == []


def test_a_write_over_another_state_is_a_conflict(store: Store, maps: Resource) -> None:
    seen = store.create(maps, config_map("a"))
    store.update(maps, {**seen, "data": {"x": "1"}})
    with pytest.raises(Conflict):
        store.update(maps, {**seen, "data": {"x": "2"}})


def test_what_changes_nothing_is_the_same_object(store: Store, maps: Resource) -> None:
    seen = store.create(maps, config_map("a", x="1"))
    assert store.update(maps, {**seen, "metadata": {"name": "a", "namespace": "default"}}) is seen


def test_what_is_owned_is_gone_when_the_deletion_of_its_owner_returns(store: Store, maps: Resource) -> None:
    Garbage(store)
    owner = store.create(maps, config_map("owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    store.create(maps, {"metadata": {"name": "child", "ownerReferences": [reference]}})
    store.delete(maps, "default", "owner")
    assert store.get(maps, "default", "child") is None
    with pytest.raises(NotFound):
        store.delete(maps, "default", "owner")
