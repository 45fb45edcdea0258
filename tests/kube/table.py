"""The objects of one kind: stored bytes, indexes for what is listed often, and the changes of late for watchers."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from tests.kube.resources import Manifest

Place = tuple[str, str]
"""Namespace and name; the namespace is empty for kinds that have none."""

_HISTORY = 20_000
_encode = msgspec.json.Encoder().encode


class Entry:
    """One state of one object. Its JSON is made once, however many read it."""

    __slots__ = ("_json", "manifest", "version")

    def __init__(self, manifest: Manifest, version: int) -> None:
        self.manifest = manifest
        self.version = version
        self._json: bytes | None = None

    @property
    def json(self) -> bytes:
        if self._json is None:
            self._json = _encode(self.manifest)
        return self._json

    @property
    def place(self) -> Place:
        metadata = self.manifest["metadata"]
        return metadata.get("namespace", ""), metadata["name"]


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to an object: ADDED without `old`, DELETED without `new` (then `last` is its last state)."""

    version: int
    old: Entry | None
    new: Entry | None
    last: Entry

    @property
    def type(self) -> str:
        return "ADDED" if self.old is None else "MODIFIED" if self.new else "DELETED"


class Table:
    """All objects of one kind."""

    def __init__(self) -> None:
        self.entries: dict[Place, Entry] = {}
        self.changes: deque[Change] = deque(maxlen=_HISTORY)
        self.compacted = 0
        """The resourceVersion up to which the changes are forgotten."""
        self._namespaces: dict[str, dict[Place, Entry]] = {}
        self._labels: dict[tuple[str, str], dict[Place, Entry]] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def put(self, entry: Entry) -> Change:
        """Store a new state."""
        place = entry.place
        old = self.entries.get(place)
        self.entries[place] = entry
        self._namespaces.setdefault(place[0], {})[place] = entry
        labels = _labels(entry)
        if old is not None:
            for pair in _labels(old) - labels:
                self._labels[pair].pop(place, None)
        for pair in labels:
            self._labels.setdefault(pair, {})[place] = entry
        return self._remember(Change(entry.version, old, entry, entry))

    def replace(self, entry: Entry) -> None:
        """Another view of the same state, which is no change."""
        place = entry.place
        self.entries[place] = self._namespaces[place[0]][place] = entry
        for pair in _labels(entry):
            self._labels[pair][place] = entry

    def remove(self, last: Entry) -> Change:
        """Take an object away; `last` is its state with the resourceVersion of its end."""
        place = last.place
        old = self.entries.pop(place)
        del self._namespaces[place[0]][place]
        for pair in _labels(old):
            self._labels[pair].pop(place, None)
        return self._remember(Change(last.version, old, None, last))

    def find(self, namespace: str | None = None, pair: tuple[str, str] | None = None) -> Iterator[Entry]:
        """The objects of a namespace, or with a label of that value, or both, by name."""
        if pair is not None:
            found = self._labels.get(pair, {})
            places = sorted(place for place in found if namespace is None or place[0] == namespace)
        else:
            found = self.entries if namespace is None else self._namespaces.get(namespace, {})
            places = sorted(found)
        return (found[place] for place in places)

    def since(self, version: int) -> Iterator[Change]:
        """The changes after `version`, oldest first."""
        return (change for change in list(self.changes) if change.version > version)

    def compact(self, version: int) -> None:
        """Forget the changes up to `version`."""
        self.changes.clear()
        self.compacted = version

    def _remember(self, change: Change) -> Change:
        if len(self.changes) == self.changes.maxlen:
            self.compacted = self.changes[0].version
        self.changes.append(change)
        return change


def _labels(entry: Entry) -> set[tuple[str, str]]:
    return set((entry.manifest["metadata"].get("labels") or {}).items())
