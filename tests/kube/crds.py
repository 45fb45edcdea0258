"""CustomResourceDefinitions: what is stored of them are the kinds that the server knows besides its own."""

from typing import Any

from tests.kube import shapes
from tests.kube.judge import Judge
from tests.kube.resources import Manifest, Resource
from tests.kube.store import Store

GROUP, PLURAL = "apiextensions.k8s.io", "customresourcedefinitions"


class Definitions:
    """Follows the definitions in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Manifest] = {}
        store.subscribe(self._follow)

    def _follow(self, kind: str, resource: Resource, manifest: Manifest) -> None:
        if (resource.group, resource.plural) != (GROUP, PLURAL):
            return
        name, spec = manifest["metadata"]["name"], manifest["spec"]
        if kind == "DELETED":
            del self._known[name]
            self._forget(spec)
        elif self._known.get(name) != spec:
            self._known[name] = spec
            defined = resource_of(spec)
            self._store.register(defined)
            self._store.reread(defined)
            self._accept(resource, manifest)

    def _forget(self, spec: Manifest) -> None:
        resource = self._store.resource(spec["names"]["plural"], spec["group"])
        for manifest in self._store.all(resource):
            metadata = manifest["metadata"]
            self._store.remove(resource, metadata.get("namespace", ""), metadata["name"])
        self._store.unregister(resource)

    def _accept(self, resource: Resource, manifest: Manifest) -> None:
        spec, now = manifest["spec"], self._store.timestamp()
        conditions = [
            {"type": "NamesAccepted", "reason": "NoConflicts", "message": "no conflicts found"},
            {
                "type": "Established",
                "reason": "InitialNamesAccepted",
                "message": "the names have been accepted",
            },
        ]
        status = {
            "acceptedNames": spec["names"],
            "conditions": [{**one, "status": "True", "lastTransitionTime": now} for one in conditions],
            "storedVersions": [version["name"] for version in spec["versions"] if version["storage"]],
        }
        metadata = {name: value for name, value in manifest["metadata"].items() if name != "resourceVersion"}
        self._store.update(resource, {**manifest, "metadata": metadata, "status": status}, subresource="status")


def resource_of(spec: Manifest) -> Resource:
    """The kind that a definition makes, in the version that is stored."""
    version = next(one for one in spec["versions"] if one["storage"])
    schema: dict[str, Any] = version.get("schema", {}).get("openAPIV3Schema", {"type": "object"})
    names = spec["names"]
    return Resource(
        group=spec["group"],
        plural=names["plural"],
        version=version["name"],
        kind=names["kind"],
        shape=shapes.custom(schema),
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames", ())),
        categories=tuple(names.get("categories", ())),
        subresources=frozenset(version.get("subresources", {})),
        generation=True,
        custom=version,
        judge=Judge(schema),
        singular_name=names.get("singular", ""),
    )
