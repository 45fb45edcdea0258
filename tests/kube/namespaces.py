"""Namespaces take with them what is in them (k8s.io/kubernetes/pkg/controller/namespace)."""

from tests.kube.resources import Manifest, Resource
from tests.kube.store import Store
from tests.kube.table import Change


class Namespaces:
    """Empties namespaces that are to go."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._leaving: set[str] = set()
        store.watch(self._follow)

    def _follow(self, resource: Resource, change: Change) -> None:
        metadata = change.last.manifest["metadata"]
        if resource == self._store.resource("namespaces"):
            if change.new is None:
                self._leaving.discard(metadata["name"])
            elif "deletionTimestamp" in metadata and metadata["name"] not in self._leaving:
                self._leaving.add(metadata["name"])
                self._empty(metadata["name"])
        if self._leaving and change.new is None:
            self._end(metadata.get("namespace", ""))

    def _empty(self, namespace: str) -> None:
        for resource in self._store.resources():
            for manifest in self._within(resource, namespace):
                # What went with its owner meanwhile is not there any more.
                if self._store.get(resource, namespace, manifest["metadata"]["name"]) is not None:
                    self._store.delete(resource, namespace, manifest["metadata"]["name"])
        self._end(namespace)

    def _end(self, namespace: str) -> None:
        namespaces = self._store.resource("namespaces")
        # Its end may have come already, and not have been told yet.
        if namespace not in self._leaving or self._store.get(namespaces, "", namespace) is None:
            return
        if not any(self._within(one, namespace) for one in self._store.resources()):
            self._store.remove(namespaces, "", namespace)

    def _within(self, resource: Resource, namespace: str) -> list[Manifest]:
        return self._store.all(resource, namespace) if resource.namespaced else []
