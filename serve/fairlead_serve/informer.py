"""A cache of one kind of Kubernetes object, kept true by list and watch.

The official client's `kubernetes.informer.SharedInformer` (37.0) was looked at first. It follows 410, but reads without
a timeout, so that a connection that died in silence leaves the cache stale for ever; asks for no bookmarks; asks again
without a pause while the server refuses; lists without pages; and keeps typed models, which drop the fields that this
release does not know. What is here keeps plain values and never believes a silence.
"""

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

import urllib3
from urllib3.exceptions import HTTPError

from fairlead_serve.api_server import Answer, ApiServer, Client, Manifest, Unreachable, decoded, packed, unpacked

MODEL_LABEL = "fairlead.dev/model"
"""The label of every object of a Model, with the Model's name."""

OnChange = Callable[[Manifest | None, Manifest | None], None]
"""Told the object before and after a change; None: it was not there, or is gone."""

_Key = tuple[str, str]
_Change = tuple[Manifest | None, Manifest | None]

_logger = logging.getLogger(__name__)
_PAGE = "500"
_CHUNK_BYTES = 64 * 1024
_END_SECONDS = 1.0


@dataclass(frozen=True)
class Timing:
    """How long an informer waits, in seconds."""

    watch: float = 40.0
    """Length of one watch, give or take a quarter. The server ends it: a longer silence is a dead connection."""
    grace: float = 10.0
    """How much longer than a watch a silence may be, and how long an answer may take."""
    first_pause: float = 0.2
    """After a failure. Each further one doubles it, until a watch has lived for longer than that."""
    longest_pause: float = 10.0
    """The most that it becomes: a server that is back is noticed within it."""
    absent: float = 30.0
    """Until a kind that the cluster does not know is asked for again."""


DEFAULT_TIMING = Timing()
"""Good for every cluster."""


def by_model(manifest: Manifest) -> str:
    """The index of objects that belong to a Model: its namespace and name, as in `models/qwen`."""
    metadata = manifest["metadata"]
    return f"{metadata.get('namespace', '')}/{(metadata.get('labels') or {}).get(MODEL_LABEL, '')}"


class Informer:
    """A cache of the objects below one path of the API. It has a thread of its own.

    What it hands out is a copy. `metadata.managedFields` is dropped: it is often the larger half of an object, and
    nothing reads it.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        index: Callable[[Manifest], str] = by_model,
        optional: bool = False,
        on_change: OnChange = lambda _old, _new: None,
        on_appearance: Callable[[], None] = lambda: None,
        timing: Timing = DEFAULT_TIMING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`path`: as in `/apis/apps/v1/namespaces/ns/deployments`; `optional`: the cluster need not know the kind, and
        there is nothing as long as it does not.

        `on_change` is called on the informer's thread, and so is `on_appearance` once the cluster knows a kind that it
        did not know before. One that raises ends the thread, and `alive` says so.
        """
        self.path = path
        self._server = ApiServer(client, answer_seconds=timing.grace)
        selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
        self._selectors = {name: selector for name, selector in selectors.items() if selector}
        self._on_change = on_change
        self._on_appearance = on_appearance
        self._timing = timing
        self._clock = clock
        self._optional = optional
        self._cache = _Cache(index)
        self._resume_from = ""
        self._synced = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._response: urllib3.BaseHTTPResponse | None = None
        self._thread = threading.Thread(target=self._run, name=f"informer {path}", daemon=True)
        self._last_contact = clock()
        self._failure: str | None = None
        self._known = True
        self._pause = timing.first_pause
        # Of its own: a thread that draws from everybody's makes what others draw depend on it.
        self._chance = random.Random()  # noqa: S311 - no secret

    @property
    def synced(self) -> bool:
        """Whether everything there is has been listed once."""
        return self._synced.is_set()

    @property
    def last_contact(self) -> float:
        """When the server last said something, by the clock; at first, when the informer was made."""
        return self._last_contact

    @property
    def failure(self) -> str | None:
        """Why the server cannot be followed now; None while it can."""
        return self._failure

    @property
    def known(self) -> bool:
        """Whether the cluster knows the kind, as of the last list; only that of an optional one may be unknown."""
        return self._known

    @property
    def alive(self) -> bool:
        """Whether the informer's thread runs, or is yet to be started."""
        return self._thread.ident is None or self._thread.is_alive()

    def start(self) -> None:
        """Begin to list and watch. Once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, within moments even in the middle of a watch.

        One that waits for an answer ends with it and tells nobody; it is not waited for.
        """
        self._stopping.set()
        with self._lock:
            if self._response is not None:
                _interrupt(self._response)
        if self._thread.is_alive():
            self._thread.join(_END_SECONDS)

    def wait_synced(self, seconds: float) -> bool:
        """Wait, `seconds` at most, until everything has been listed once, and say whether it has."""
        return self._synced.wait(seconds)

    def get(self, namespace: str, name: str) -> Manifest | None:
        """The object, or None where there is none."""
        return self._cache.get((namespace, name))

    def all(self) -> list[Manifest]:
        """Every object there is now."""
        return self._cache.all()

    def by_index(self, value: str) -> list[Manifest]:
        """The objects for which `index` gives `value`; by default those of one Model."""
        return self._cache.by_index(value)

    def wrote(self, manifest: Manifest) -> None:
        """Keep what the API server returned for a write of one's own, until the watch has caught up with it.

        Without it the next look at the cache may find the state before the write. `on_change` is called when the watch
        tells of it.
        """
        self._cache.put_ahead(_slim(manifest))

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if not self._resume_from:
                    self._list()
                if not self._stopping.is_set():
                    self._watch()
            except Unreachable as error:
                self._failed(error)
            except _Interrupted as error:
                _logger.debug("%s: the watch is begun anew: %s", self.path, error)
            except _Absent:
                self._stopping.wait(self._timing.absent)
                continue
            else:
                continue
            self._stopping.wait(self._chance.uniform(0.5, 1.0) * self._pause)  # so that not all come back at once
            self._pause = min(2 * self._pause, self._timing.longest_pause)

    def _list(self) -> None:
        found: dict[_Key, Manifest] = {}
        appears = not self._known
        query = {**self._selectors, "limit": _PAGE}
        while True:
            answer = self._server.request("GET", self.path, query=query)
            if answer.status == 410 and "continue" in query:
                # The rest of the pages is gone: all at once, then.
                found.clear()
                query = dict(self._selectors)
                continue
            if answer.status == 404 and self._optional:
                self._is_absent()
            page = _page(answer)
            self._known = True
            self._last_contact = self._clock()
            for item in page["items"] or ():
                manifest = _slim(_typed(item, page))
                found[_key(manifest)] = manifest
            metadata = page["metadata"]
            if not metadata.get("continue"):
                break
            query = {**query, "continue": metadata["continue"]}
        if self._stopping.is_set():
            return
        self._replace(found, metadata.get("resourceVersion", ""))
        self._resume_from = metadata.get("resourceVersion", "")
        if appears:
            self._on_appearance()

    def _is_absent(self) -> NoReturn:
        self._known = False
        self._replace({}, "")
        self._last_contact = self._clock()
        self._failure = None
        raise _Absent

    def _replace(self, found: dict[_Key, Manifest], version: str) -> None:
        for old, new in self._cache.replace(found, version):
            self._on_change(old, new)
        self._synced.set()

    def _watch(self) -> None:
        seconds = max(1, round(self._timing.watch * self._chance.uniform(0.75, 1.25)))  # spreads the watches
        query = {
            **self._selectors,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._resume_from,
            "timeoutSeconds": str(seconds),
        }
        response = self._server.open(self.path, query, silence_seconds=seconds + self._timing.grace)
        if isinstance(response, Answer):
            self._refused(response)
            return
        with self._lock:
            self._response = response
        began = self._clock()
        self._followed()
        try:
            for event in () if self._stopping.is_set() else _events(response):
                self._last_contact = self._clock()
                self._follow(event)
            if self._clock() - began < self._timing.first_pause:
                raise _Interrupted("it ended as soon as it had begun")
        finally:
            if self._clock() - began > self._pause:
                self._pause = self._timing.first_pause
            with self._lock:
                self._response = None
            # What is left unread is not worth the waiting.
            response.close()

    def _follow(self, event: Manifest) -> None:
        kind, manifest = event["type"], event["object"]
        if kind == "ERROR":
            self._refused(Answer(manifest.get("code", 500), {}, json.dumps(manifest).encode()))
        version = manifest["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            self._cache.reached(version)
        else:
            change = self._cache.follow(_slim(manifest), gone=kind == "DELETED")
            if change is not None:
                self._on_change(*change)
        self._resume_from = version

    def _refused(self, answer: Answer) -> None:
        """The server does not let us watch on: list anew, unless it is only busy."""
        if answer.status not in {429, 503}:
            # 410: history is gone. 504: this version has yet to come, as after a restore. Whatever else: who knows.
            self._resume_from = ""
        raise _Interrupted(answer.sentence) if answer.status == 410 else Unreachable(answer.sentence)

    def _followed(self) -> None:
        self._last_contact = self._clock()
        if self._failure is not None:
            self._failure = None
            _logger.info("%s is followed again", self.path)

    def _failed(self, error: Unreachable) -> None:
        if self._stopping.is_set():
            return
        if self._failure is None:
            _logger.warning("%s cannot be followed, and what is known of it may be old: %s", self.path, error)
        self._failure = str(error)


class _Interrupted(Exception):  # noqa: N818 - named for what happened
    """A watch broke off, or its history is gone: in the order of things, unless it cannot be begun anew."""


class _Absent(Exception):  # noqa: N818
    """The cluster does not know the kind."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One object as it is kept: as deflated JSON, a fifteenth of the memory. Each reader is given a copy of its own."""

    version: str
    value: str
    kept: bytes

    @property
    def manifest(self) -> Manifest:
        manifest: Manifest = unpacked(self.kept)
        return manifest


class _Cache:
    """Objects by namespace and name, and by an index. Knows how far the watch has come.

    Versions are compared as numbers: since Kubernetes 1.35 the API promises that they can be, within one kind, and
    every API server before it kept to that too. A version that is no number counts as old.
    """

    def __init__(self, value: Callable[[Manifest], str]) -> None:
        self._value = value
        self._lock = threading.Lock()
        self._entries: dict[_Key, _Entry] = {}
        self._index: dict[str, set[_Key]] = {}
        # Objects that are newer than what the watch has told, by our own writes, and their versions.
        self._ahead: dict[_Key, int] = {}
        # What was there before those, as it was told last: a write may move an object from one value to another.
        self._untold: dict[_Key, _Entry | None] = {}
        self._position = 0

    def get(self, key: _Key) -> Manifest | None:
        with self._lock:
            entry = self._entries.get(key)
        return entry.manifest if entry else None

    def all(self) -> list[Manifest]:
        with self._lock:
            entries = list(self._entries.values())
        return [entry.manifest for entry in entries]

    def by_index(self, value: str) -> list[Manifest]:
        with self._lock:
            entries = [self._entries[key] for key in self._index.get(value, ())]
        return [entry.manifest for entry in entries]

    def put_ahead(self, manifest: Manifest) -> None:
        key, entry = _key(manifest), self._entry(manifest)
        version = _number(entry.version)
        with self._lock:
            # What the watch has passed already it told better, or told the end of.
            if version > self._position and version > self._ahead.get(key, 0):
                self._ahead[key] = version
                self._untold.setdefault(key, self._entries.get(key))
                self._put(key, entry)

    def reached(self, version: str) -> None:
        with self._lock:
            self._position = _number(version)

    def follow(self, manifest: Manifest, *, gone: bool) -> _Change | None:
        """Take in one event; the change to tell of, or None where there is none."""
        key = _key(manifest)
        with self._lock:
            current = self._entries.get(key)
            same = current is not None and current.version == manifest["metadata"]["resourceVersion"]
            # Most writes are our own: what is kept already need not be made again.
            entry = current if current is not None and same else self._entry(manifest)
            old = self._untold.get(key, current)
            self._position = _number(entry.version)
            if self._position < self._ahead.get(key, 0) and current is not None:
                # Somebody else's write before ours. Ours holds it too, but was decided on without it.
                self._untold[key] = current
                return (old or current).manifest, current.manifest
            self._untold.pop(key, None)
            # A write of our own is told like any other: whoever wrote may have to look at what came of it.
            known = self._ahead.pop(key, None) is None and same
            if gone:
                self._remove(key)
            elif known:
                return None
            else:
                self._put(key, entry)
        return (old.manifest if old else None), (None if gone else manifest)

    def replace(self, found: Mapping[_Key, Manifest], version: str) -> list[_Change]:
        """Take in a list as of `version`; the changes since, those included that no watch told of."""
        listed = {key: self._entry(manifest) for key, manifest in found.items()}
        changes: list[tuple[_Entry | None, _Entry | None]] = []
        with self._lock:
            self._position = _number(version)
            still_ahead = {key: written for key, written in self._ahead.items() if written > self._position}
            listed.update({key: self._entries[key] for key in still_ahead})
            for key in self._entries.keys() - listed.keys():
                changes.append((self._untold.get(key) or self._entries[key], None))
                self._remove(key)
            for key, entry in listed.items():
                old = self._entries.get(key)
                if old is None or old.version != entry.version or key in self._ahead:
                    changes.append((self._untold.get(key, old), entry))
                    self._put(key, entry)
            self._ahead = still_ahead
            self._untold = {key: self._untold.get(key) for key in still_ahead}
        return [(old.manifest if old else None, new.manifest if new else None) for old, new in changes]

    def _entry(self, manifest: Manifest) -> _Entry:
        return _Entry(manifest["metadata"].get("resourceVersion", ""), self._value(manifest), packed(manifest))

    def _put(self, key: _Key, entry: _Entry) -> None:
        self._remove(key)
        self._entries[key] = entry
        self._index.setdefault(entry.value, set()).add(key)

    def _remove(self, key: _Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._index[entry.value].discard(key)
            if not self._index[entry.value]:
                del self._index[entry.value]


def _key(manifest: Manifest) -> _Key:
    metadata = manifest["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _number(version: str) -> int:
    return int(version) if version.isascii() and version.isdigit() else 0


def _slim(manifest: Manifest) -> Manifest:
    manifest["metadata"].pop("managedFields", None)
    return manifest


def _typed(item: Manifest, page: Manifest) -> Manifest:
    """An item of a list, with the kind that only the list has where the type is a built-in one."""
    kind = page["kind"].removesuffix("List")
    return {"apiVersion": page["apiVersion"], "kind": kind, **item}


def _page(answer: Answer) -> Manifest:
    """A page of a list. Raises Unreachable for anything else."""
    if answer.status != 200:
        raise Unreachable(answer.sentence)
    page = answer.json()
    if not {"apiVersion", "kind", "items", "metadata"} <= page.keys():
        raise Unreachable("the answer is no list")
    return page


def _events(response: urllib3.BaseHTTPResponse) -> Iterator[Manifest]:
    """What a watch tells, until it ends. Raises _Interrupted when it breaks off."""
    rest = b""
    try:
        for chunk in response.stream(_CHUNK_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (_event(line) for line in lines if line)
    except (HTTPError, OSError, ValueError) as error:
        # A ValueError is a TLS connection that was closed under the read.
        raise _Interrupted(str(error)) from error


def _event(line: bytes) -> Manifest:
    try:
        event: Manifest = decoded(line)
    except ValueError as error:
        raise Unreachable(f"what the watch tells is not JSON: {error}") from error
    return event


def _interrupt(response: urllib3.BaseHTTPResponse) -> None:
    try:
        response.shutdown()
    except (OSError, ValueError, RuntimeError):
        # It has ended by itself in this moment.
        return
