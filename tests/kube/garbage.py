"""The garbage collector: what is owned goes with its owner (k8s.io/kubernetes/pkg/controller/garbagecollector)."""

from tests.kube.resources import Manifest, Resource
from tests.kube.store import Store
from tests.kube.table import Change, Place

_FOREGROUND, _ORPHAN = "foregroundDeletion", "orphan"

Item = tuple[Resource, Place]


class Garbage:
    """Follows all objects and their ownerReferences."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._living: dict[str, Item] = {}
        self._dependents: dict[str, dict[str, Item]] = {}
        store.watch(self._follow)

    def _follow(self, resource: Resource, change: Change) -> None:
        manifest = change.last.manifest
        before = _owners(change.old.manifest) if change.old is not None else set()
        after = _owners(manifest) if change.new is not None else set()
        uid, item = manifest["metadata"]["uid"], (resource, change.last.place)
        for owner in before - after:
            self._dependents.get(owner, {}).pop(uid, None)
        for owner in after - before:
            self._dependents.setdefault(owner, {})[uid] = item
        if change.new is None:
            self._gone(uid, before)
            return
        self._living[uid] = item
        if after - before:
            self._collect(item)
        self._finalize(item)

    def _gone(self, uid: str, owners: set[str]) -> None:
        self._living.pop(uid, None)
        for item in list(self._dependents.pop(uid, {}).values()):
            self._collect(item)
        for owner in owners & self._living.keys():
            self._finalize(self._living[owner])

    def _collect(self, item: Item) -> None:
        """Delete an object all of whose owners are gone."""
        manifest = self._read(item)
        if manifest is None or "deletionTimestamp" in manifest["metadata"]:
            return
        owners = _owners(manifest)
        if owners and not owners & self._living.keys():
            resource, place = item
            self._store.delete(resource, *place)

    def _finalize(self, item: Item) -> None:
        """Do what the deletion of an owner waits for."""
        manifest = self._read(item)
        if manifest is None or "deletionTimestamp" not in manifest["metadata"]:
            return
        finalizers, uid = manifest["metadata"].get("finalizers", ()), manifest["metadata"]["uid"]
        if _ORPHAN in finalizers:
            for dependent in list(self._dependents.get(uid, {}).values()):
                self._disown(dependent, uid)
            self._release(item, _ORPHAN)
        elif _FOREGROUND in finalizers:
            for resource, place in list(self._dependents.get(uid, {}).values()):
                if (found := self._read((resource, place))) and "deletionTimestamp" not in found["metadata"]:
                    self._store.delete(resource, *place)
            if not any(self._blocks(one, uid) for one in self._dependents.get(uid, {}).values()):
                self._release(item, _FOREGROUND)

    def _blocks(self, item: Item, owner: str) -> bool:
        manifest = self._read(item)
        references = manifest["metadata"].get("ownerReferences", ()) if manifest else ()
        return any(one["uid"] == owner and one.get("blockOwnerDeletion") for one in references)

    def _disown(self, item: Item, owner: str) -> None:
        manifest = self._read(item)
        if manifest is not None:
            references = [one for one in manifest["metadata"]["ownerReferences"] if one["uid"] != owner]
            self._change(item, ownerReferences=references)

    def _release(self, item: Item, finalizer: str) -> None:
        manifest = self._read(item)
        if manifest is not None:
            left = [one for one in manifest["metadata"].get("finalizers", ()) if one != finalizer]
            self._change(item, finalizers=left)

    def _change(self, item: Item, **metadata: list[Manifest]) -> None:
        manifest = self._read(item)
        if manifest is not None:
            self._store.update(item[0], {**manifest, "metadata": {**manifest["metadata"], **metadata}})

    def _read(self, item: Item) -> Manifest | None:
        resource, place = item
        return self._store.get(resource, *place)


def _owners(manifest: Manifest) -> set[str]:
    return {one["uid"] for one in manifest["metadata"].get("ownerReferences", ())}
