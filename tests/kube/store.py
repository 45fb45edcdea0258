"""All objects of the server, and what happens to them. Synchronous; to be called on the server's event loop only."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tests.kube import admission, strategy
from tests.kube.errors import AlreadyExists, Conflict, Expired, Forbidden, NotFound
from tests.kube.resources import Manifest, Resource, built_in_resources
from tests.kube.strategy import Check, Track
from tests.kube.table import Change, Entry, Table

Subscriber = Callable[[str, Resource, Manifest], None]
Watcher = Callable[[Resource, Change], None]

_PROPAGATION = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


def utc_now() -> datetime:
    return datetime.now(UTC)


class Store:
    """Objects by kind, namespace and name.

    What comes out is shared: treat it as frozen and copy it before a change. What is put in belongs to the store.
    Everybody sees all changes in the order in which they happened, also those made while others were being told.
    """

    def __init__(self, *, now: Callable[[], datetime] = utc_now) -> None:
        self.version = 1
        """The resourceVersion of the last change."""
        self._now = now
        self._tables: dict[Resource, Table] = {}
        self._resources: dict[tuple[str, str], Resource] = {}
        self._watchers: dict[object, Watcher] = {}
        self._untold: deque[tuple[Resource, Change]] = deque()
        self._telling = False
        for resource in built_in_resources():
            self.register(resource)

    # Kinds

    def register(self, resource: Resource) -> None:
        """Know a kind from now on, or know it otherwise; its objects stay."""
        self._resources[resource.group, resource.plural] = resource
        self._tables.setdefault(resource, Table())

    def unregister(self, resource: Resource) -> None:
        """Forget a kind, of which there must be no objects."""
        del self._resources[resource.group, resource.plural]
        del self._tables[resource]

    def resources(self) -> list[Resource]:
        return list(self._resources.values())

    def resource(self, plural: str, group: str = "") -> Resource:
        """A kind by its name in paths. Raises NotFound."""
        resource = self._resources.get((group, plural))
        if resource is None:
            raise NotFound("the server could not find the requested resource")
        return resource

    # Reading

    def timestamp(self) -> str:
        """The time as objects have it."""
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")

    def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        entry = self.entry(resource, namespace, name)
        return None if entry is None else entry.manifest

    def all(
        self, resource: Resource, namespace: str | None = None, selector: Mapping[str, str] | None = None
    ) -> list[Manifest]:
        """The objects of a kind, by name; of one namespace, and with the labels of `selector`, where given."""
        pairs = list((selector or {}).items())
        found = self._tables[resource].find(namespace, pairs[0] if pairs else None)
        return [
            entry.manifest
            for entry in found
            if all(entry.manifest["metadata"].get("labels", {}).get(name) == value for name, value in pairs[1:])
        ]

    def entry(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        return self._tables[resource].entries.get((namespace if resource.namespaced else "", name))

    def entries(
        self, resource: Resource, namespace: str | None, pair: tuple[str, str] | None = None
    ) -> Iterator[Entry]:
        return self._tables[resource].find(namespace, pair)

    def since(self, resource: Resource, version: int) -> Iterator[Change]:
        """The changes of a kind after a resourceVersion, oldest first. Raises Expired when they are forgotten."""
        table = self._tables[resource]
        if version < table.compacted:
            raise Expired(f"too old resource version: {version} ({self.version})")
        return table.since(version)

    def compacted(self, resource: Resource) -> int:
        """The resourceVersion up to which the changes of a kind are forgotten."""
        return self._tables[resource].compacted

    def compact(self) -> None:
        """Forget all changes so far: who watches from an older resourceVersion is answered 410."""
        self.version += 1
        for table in self._tables.values():
            table.compact(self.version)

    # Writing

    def create(
        self,
        resource: Resource,
        manifest: Manifest,
        *,
        namespace: str = "",
        check: Check | None = None,
        track: Track | None = None,
        dry_run: bool = False,
    ) -> Manifest:
        """Store a new object with everything that the server fills in. `check` may refuse it before, and `track` keeps
        account of who owns its fields.

        Raises AlreadyExists, Forbidden, NotFound (its namespace), Invalid and BadRequest.
        """
        resource = self._current(resource)
        namespace = namespace or manifest.get("metadata", {}).get("namespace", "")
        if resource.namespaced:
            self._check_namespace(resource, namespace or "default", manifest)
        manifest = admission.admitted(manifest, resource, self._storage)
        new = strategy.created(manifest, resource, namespace or "default", self.timestamp(), check, track)
        metadata = new["metadata"]
        if self.entry(resource, metadata.get("namespace", ""), metadata["name"]) is not None:
            raise AlreadyExists(
                f'{resource.qualified} "{metadata["name"]}" already exists', details(resource, metadata["name"])
            )
        return new if dry_run else self._put(resource, new)

    def update(
        self,
        resource: Resource,
        manifest: Manifest,
        *,
        subresource: str = "",
        check: Check | None = None,
        track: Track | None = None,
        dry_run: bool = False,
    ) -> Manifest:
        """Store a new state of an object, or of its `status`; returns the stored one.

        A manifest with a resourceVersion is only taken while that is the current one. One that changes nothing is no
        change: no new resourceVersion, and nobody is told.

        Raises Conflict, Forbidden, NotFound, Invalid and BadRequest.
        """
        resource = self._current(resource)
        given = manifest["metadata"]
        old = self.existing(resource, given.get("namespace", ""), given["name"])
        check_preconditions(resource, old, given)
        new = strategy.updated(old, manifest, resource, subresource, check, track)
        admission.check_change(old, new, resource, self._storage)
        if new is old or dry_run:
            return new
        metadata = new["metadata"]
        if "deletionTimestamp" in metadata and not metadata.get("finalizers") and not _waits_for_kubelet(new):
            return self._remove(resource, new)
        return self._put(resource, new)

    def existing(self, resource: Resource, namespace: str, name: str) -> Manifest:
        """An object that has to be there. Raises NotFound."""
        manifest = self.get(resource, namespace, name)
        if manifest is None:
            raise NotFound(f'{resource.qualified} "{name}" not found', details(resource, name))
        return manifest

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        policy: str = "Background",
        grace_seconds: int | None = None,
        preconditions: Mapping[str, Any] | None = None,
        dry_run: bool = False,
    ) -> Manifest:
        """Delete an object, or mark it as deleted while finalizers or its kubelet hold it; returns its last state.

        `policy` is Background, Foreground or Orphan. A pod on a node waits for its kubelet, which deletes it once more
        with a grace of 0 seconds. Raises NotFound and Conflict (`preconditions`).
        """
        resource = self._current(resource)
        old = self.existing(resource, namespace, name)
        check_preconditions(resource, old, preconditions or {})
        metadata = dict(old["metadata"])
        finalizers = [one for one in metadata.get("finalizers", ()) if one not in _PROPAGATION.values()]
        if policy in _PROPAGATION:
            finalizers.append(_PROPAGATION[policy])
        grace = _grace(old) if grace_seconds is None else grace_seconds
        waits = _waits_for_kubelet(old) and grace > 0
        if dry_run:
            return old
        if not finalizers and not waits and resource.plural != "namespaces":
            return self._remove(resource, {**old, "metadata": metadata})
        if "deletionTimestamp" not in metadata or grace_seconds == 0:
            metadata.setdefault("deletionTimestamp", self.timestamp())
            metadata["deletionGracePeriodSeconds"] = grace if waits else 0
            if resource.generation:
                metadata["generation"] = metadata.get("generation", 0) + 1
        if finalizers:
            metadata["finalizers"] = finalizers
        else:
            metadata.pop("finalizers", None)
        new = {**old, "metadata": metadata}
        if resource.plural == "namespaces":
            new["status"] = {**old.get("status", {}), "phase": "Terminating"}
        return old if new == old else self._put(resource, new)

    def remove(self, resource: Resource, namespace: str, name: str) -> None:
        """Take an object away, whatever holds it."""
        self._remove(resource, self.existing(resource, namespace, name))

    def reread(self, resource: Resource) -> None:
        """See the stored objects of a kind as its new definition wants them; they do not change for that."""
        table = self._tables[resource]
        for entry in list(table.entries.values()):
            table.replace(Entry(strategy.reread(entry.manifest, resource), entry.version))

    # Telling

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call back with ADDED, MODIFIED or DELETED for every change from now on; returns what ends it."""
        return self.watch(lambda resource, change: callback(change.type, resource, change.last.manifest))

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """As `subscribe`, with the state before."""
        token = object()
        self._watchers[token] = watcher

        def stop() -> None:
            self._watchers.pop(token, None)

        return stop

    def _tell(self, resource: Resource, change: Change) -> None:
        self._untold.append((resource, change))
        if self._telling:
            return
        self._telling = True
        try:
            while self._untold:
                told = self._untold.popleft()
                for watcher in list(self._watchers.values()):
                    watcher(*told)
        finally:
            self._telling = False

    def _put(self, resource: Resource, manifest: Manifest) -> Manifest:
        entry = self._versioned(manifest)
        self._tell(resource, self._tables[resource].put(entry))
        return entry.manifest

    def _remove(self, resource: Resource, manifest: Manifest) -> Manifest:
        entry = self._versioned(manifest)
        self._tell(resource, self._tables[resource].remove(entry))
        return entry.manifest

    def _versioned(self, manifest: Manifest) -> Entry:
        self.version += 1
        metadata = {**manifest["metadata"], "resourceVersion": str(self.version)}
        return Entry({**manifest, "metadata": metadata}, self.version)

    def _storage(self, plural: str) -> list[Manifest]:
        return self.all(self.resource(plural, "storage.k8s.io"))

    def _current(self, resource: Resource) -> Resource:
        return self.resource(resource.plural, resource.group)

    def _check_namespace(self, resource: Resource, namespace: str, manifest: Manifest) -> None:
        found = self.get(self.resource("namespaces"), "", namespace)
        if found is None:
            raise NotFound(f'namespaces "{namespace}" not found', {"name": namespace, "kind": "namespaces"})
        if "deletionTimestamp" in found["metadata"]:
            name = manifest.get("metadata", {}).get("name", "")
            message = (
                f'{resource.qualified} "{name}" is forbidden: unable to create new content in namespace {namespace} '
                "because it is being terminated"
            )
            cause = {"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated"}
            raise Forbidden(message, {**details(resource, name), "causes": [{**cause, "field": "metadata.namespace"}]})


def details(resource: Resource, name: str) -> dict[str, str]:
    """What a Status of failure says about its object."""
    found = {"name": name, "group": resource.group, "kind": resource.plural}
    return {key: value for key, value in found.items() if value}


def check_preconditions(resource: Resource, old: Manifest, wanted: Mapping[str, Any]) -> None:
    """Raises Conflict when `old` is not the object or the state that the client had seen."""
    name, metadata = old["metadata"]["name"], old["metadata"]
    if wanted.get("uid", metadata["uid"]) != metadata["uid"]:
        message = f"Precondition failed: UID in precondition: {wanted['uid']}, UID in object meta: {metadata['uid']}"
    elif wanted.get("resourceVersion") not in (None, "", metadata["resourceVersion"]):
        message = "the object has been modified; please apply your changes to the latest version and try again"
    else:
        return
    raise Conflict(
        f'Operation cannot be fulfilled on {resource.qualified} "{name}": {message}', details(resource, name)
    )


def _grace(manifest: Manifest) -> int:
    seconds: int = manifest.get("spec", {}).get("terminationGracePeriodSeconds", 0) if manifest["kind"] == "Pod" else 0
    return seconds


def _waits_for_kubelet(manifest: Manifest) -> bool:
    if manifest["kind"] != "Pod" or not manifest.get("spec", {}).get("nodeName"):
        return False
    ended = manifest.get("status", {}).get("phase") in ("Failed", "Succeeded")
    return not ended and manifest["metadata"].get("deletionGracePeriodSeconds") != 0
