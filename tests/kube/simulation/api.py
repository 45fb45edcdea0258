"""The store as the controllers see it: a cache that is never old, and writes."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from fairlead_operator.render import Manifest
from tests.kube.resources import Resource
from tests.kube.simulation.objects import Key, controller_of, key_of
from tests.kube.store import Store

GROUPS = {
    "pods": "",
    "nodes": "",
    "services": "",
    "secrets": "",
    "configmaps": "",
    "persistentvolumeclaims": "",
    "events": "",
    "resourcequotas": "",
    "deployments": "apps",
    "replicasets": "apps",
    "storageclasses": "storage.k8s.io",
    "endpointslices": "discovery.k8s.io",
    "rayservices": "ray.io",
    "rayclusters": "ray.io",
}
"""The API group of everything that is read or written here, by its name in paths."""
_IDENTITY = ("name", "namespace", "uid")
_NOT_READ = frozenset({"events"})


class Api:
    """Objects by the plural of their kind. What comes out of it may not be changed.

    The store tells of every change before the write that made it returns, so that a write always goes on from what is
    there and cannot conflict.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._objects: dict[str, dict[Key, Manifest]] = defaultdict(dict)
        self._owned: dict[tuple[str, str], dict[Key, Manifest]] = defaultdict(dict)

    def fill(self) -> list[tuple[str, Manifest]]:
        """Begin with what there is, and say what that was."""
        there = [
            (resource.plural, manifest)
            for resource in self._store.resources()
            if self.concerns(resource)
            for manifest in self._store.all(resource)
        ]
        for plural, manifest in there:
            self.observe("ADDED", plural, manifest)
        return there

    @staticmethod
    def concerns(resource: Resource) -> bool:
        """Whether changes of `resource` are to be observed."""
        return GROUPS.get(resource.plural) == resource.group and resource.plural not in _NOT_READ

    def observe(self, event: str, plural: str, manifest: Manifest) -> None:
        key = key_of(manifest)
        owner = controller_of(manifest)
        owned = self._owned[plural, owner["uid"]] if owner is not None else {}
        if event == "DELETED":
            self._objects[plural].pop(key, None)
            owned.pop(key, None)
        else:
            self._objects[plural][key] = owned[key] = manifest

    def get(self, plural: str, key: Key) -> Manifest | None:
        return self._objects[plural].get(key)

    def all(self, plural: str) -> list[Manifest]:
        return list(self._objects[plural].values())

    def owned(self, plural: str, uid: str) -> list[Manifest]:
        """The objects whose controller has this uid."""
        return list(self._owned.get((plural, uid), {}).values())

    def create(self, plural: str, manifest: Manifest) -> Manifest:
        return self._store.create(self._resource(plural), manifest)

    def update(self, plural: str, manifest: Manifest) -> Manifest:
        return self._store.update(self._resource(plural), manifest)

    def write_status(self, plural: str, manifest: Manifest, status: Mapping[str, Any]) -> Manifest:
        """Write `status` of what is in the store, where it differs."""
        if manifest.get("status") == status:
            return manifest
        metadata = {name: manifest["metadata"][name] for name in _IDENTITY if name in manifest["metadata"]}
        # Without the rest, which a write of the status does not change, the store has less to read.
        return self._store.update(
            self._resource(plural), {"metadata": metadata, "status": dict(status)}, subresource="status"
        )

    def delete(self, plural: str, manifest: Manifest, *, grace_seconds: int | None = None) -> None:
        self._store.delete(self._resource(plural), *key_of(manifest), grace_seconds=grace_seconds)

    def _resource(self, plural: str) -> Resource:
        return self._store.resource(plural, GROUPS[plural])
