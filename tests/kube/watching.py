"""A watch: the changes of what a client asked for, as they happen."""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec

from tests.kube.api import wanted_of
from tests.kube.calls import Call
from tests.kube.errors import Cause, Expired, Invalid
from tests.kube.resources import Manifest, Resource
from tests.kube.store import Store
from tests.kube.table import Change, Entry

Form = Callable[[Entry], bytes]
"""An object in the form that the client takes."""

_NO_LIMIT = 3600.0


class Watch:
    """The stream of one watch, from the resourceVersion that the client has seen."""

    def __init__(self, store: Store, call: Call, form: Form, *, bookmark_seconds: float) -> None:
        """Raises Invalid for a watch that should begin with everything there is, which is a feature of its own."""
        if call.query.get("sendInitialEvents"):
            message = "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            cause = Cause("sendInitialEvents", "FieldValueForbidden", message)
            raise Invalid("meta.k8s.io", "ListOptions", "", [cause])
        self._store = store
        self._call = call
        self._form = form
        self._wanted = wanted_of(call)
        self._bookmark_seconds = bookmark_seconds if call.query.get("allowWatchBookmarks") in ("true", "1") else None
        self._seconds = float(call.query.get("timeoutSeconds") or _NO_LIMIT)

    async def events(self) -> AsyncIterator[bytes]:
        """Lines of JSON, several in one piece where several are at hand. Ends with the time that the client gave."""
        queue: asyncio.Queue[Change] = asyncio.Queue()

        def put(resource: Resource, change: Change) -> None:
            if resource == self._call.resource:
                queue.put_nowait(change)

        # Nothing is awaited between the past and the present, so that no change falls between.
        try:
            past = self._past()
        except Expired as error:
            yield _line("ERROR", msgspec.json.encode(error.status()))
            return
        stop = self._store.watch(put)
        try:
            if past:
                yield b"".join(past)
            async for piece in self._present(queue):
                yield piece
        finally:
            stop()

    async def _present(self, queue: asyncio.Queue[Change]) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        end = clock() + self._seconds
        while (left := end - clock()) > 0:
            patience = left if self._bookmark_seconds is None else min(left, self._bookmark_seconds)
            try:
                async with asyncio.timeout(patience):
                    change = await queue.get()
            except TimeoutError:
                if self._bookmark_seconds is not None:
                    yield self._bookmark()
                continue
            lines = [self._event(change)]
            while not queue.empty():
                lines.append(self._event(queue.get_nowait()))
            if piece := b"".join(lines):
                yield piece

    def _past(self) -> list[bytes]:
        version = self._call.query.get("resourceVersion") or "0"
        if version == "0":
            found = self._store.entries(self._call.resource, self._call.namespace, self._wanted.pair)
            return [_line("ADDED", self._form(entry)) for entry in found if self._wanted.matches(entry.manifest)]
        return [self._event(change) for change in self._store.since(self._call.resource, int(version))]

    def _event(self, change: Change) -> bytes:
        """The event for this client: an object that no longer matches is gone for it."""
        if self._call.namespace not in (None, change.last.place[0]):
            return b""
        before = change.old is not None and self._wanted.matches(change.old.manifest)
        after = change.new is not None and self._wanted.matches(change.new.manifest)
        if not before and not after:
            return b""
        kind = "DELETED" if not after else "MODIFIED" if before else "ADDED"
        return _line(kind, self._form(change.last))

    def _bookmark(self) -> bytes:
        resource = self._call.resource
        mark: Manifest = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"resourceVersion": str(self._store.version), "creationTimestamp": None},
        }
        return _line("BOOKMARK", msgspec.json.encode(mark))


def _line(kind: str, body: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), body)
