"""Turns that go on without a client, and those who look at them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from fairlead_serve.asgi import Message, Scope
from fairlead_serve.conversations import Store
from fairlead_serve.errors import ApiError, NotStored, StoreUnavailable
from fairlead_serve.gateway.auth import CALLER, caller_of
from fairlead_serve.gateway.inbound import ClientGone
from fairlead_serve.gateway.turns import Event, Turn
from fairlead_serve.gateway.upstream import Headers

_logger = logging.getLogger(__name__)
# How often it is looked whether another gateway was asked to cancel or delete a turn of ours.
_LOOK_SECONDS = 2.0


class Broadcast:
    """The events of one turn so far, for any number of readers. A Listener."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._more = asyncio.Event()
        self._ended = False

    async def begin(self, headers: Headers) -> None:
        """Nobody waits for the head of an answer."""

    async def event(self, event: Event) -> None:
        self._events.append(event)
        self._wake()

    async def quiet(self) -> None:
        """Each reader has a silence of its own."""

    def end(self) -> None:
        """No event will come any more."""
        self._ended = True
        self._wake()

    async def follow(self, *, after: int = -1, quiet_seconds: float | None = None) -> AsyncIterator[Event | None]:
        """Every event with a number above `after`, as they come, until the last; None after each silence."""
        at = after + 1
        while True:
            more = self._more
            while at < len(self._events):
                yield self._events[at]
                at += 1
            if self._ended:
                return
            try:
                async with asyncio.timeout(quiet_seconds):
                    await more.wait()
            except TimeoutError:
                yield None

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()


class _Running:
    """One turn in the background, under way."""

    def __init__(self, turn: Turn, scope: Scope) -> None:
        self.broadcast = Broadcast()
        self.cancelled = asyncio.Event()
        self._turn = turn
        # The request that began it has been answered: of its scope only who asked is left.
        self._scope: dict[str, Any] = {"type": "http", "headers": [], CALLER: caller_of(scope)}

    async def run(self) -> None:
        try:
            await self._turn.run(self._scope, self._receive, self.broadcast, cut="cancelled")
        except (ClientGone, ApiError) as end:
            # It is in the response, where whoever asks for it finds it.
            _logger.info("a response in the background ended early: %s", end, extra={"fields": {"id": self._turn.id}})
        finally:
            self.broadcast.end()

    async def _receive(self) -> Message:
        await self.cancelled.wait()
        return {"type": "http.disconnect"}


class Background:
    """Runs turns in the background of this gateway."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running: dict[str, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, turn: Turn, scope: Scope) -> Broadcast:
        """Begin `turn` for the caller of `scope`."""
        running = self._running[turn.id] = _Running(turn, scope)
        task = asyncio.create_task(self._run(turn.id, running, caller_of(scope).owner), name=turn.id)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return running.broadcast

    def broadcast(self, id: str) -> Broadcast | None:  # noqa: A002 - OpenAI's name for it
        """The events of a turn that runs here."""
        running = self._running.get(id)
        return None if running is None else running.broadcast

    async def cancel(self, id: str) -> bool:  # noqa: A002
        """End the turn `id`; returns when its end is stored. False where it does not run here."""
        running = self._running.get(id)
        if running is None:
            return False
        running.cancelled.set()
        async for _ in running.broadcast.follow():
            pass
        return True

    async def close(self, over: asyncio.Event) -> None:
        """Let the turns go on until `over` is set, then end them."""
        waiting = asyncio.create_task(over.wait())
        ending = asyncio.gather(*self._tasks, return_exceptions=True)
        either: set[asyncio.Future[Any]] = {waiting, ending}
        await asyncio.wait(either, return_when="FIRST_COMPLETED")
        waiting.cancel()
        for task in self._tasks:
            task.cancel()
        await ending

    async def _run(self, id: str, running: _Running, owner: str) -> None:  # noqa: A002
        watcher = asyncio.create_task(self._watch(id, running, owner))
        try:
            await running.run()
        finally:
            watcher.cancel()
            del self._running[id]

    async def _watch(self, id: str, running: _Running, owner: str) -> None:  # noqa: A002
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with contextlib.suppress(StoreUnavailable):
                if await self._is_unwanted(owner, id):
                    running.cancelled.set()

    async def _is_unwanted(self, owner: str, id: str) -> bool:  # noqa: A002
        try:
            return (await self._store.get_response(owner, id)).status == "cancelled"
        except NotStored:  # deleted, or its conversation was
            return True
