"""The small world of a test: one database, stores on it, a clock that stands until it is told."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.util import await_

from fairlead_serve.conversations import Item, Store
from fairlead_serve.conversations.database import Database

S = TypeVar("S", bound=Store | Database)

OWNER = "team-a"
OTHER = "team-b"
START = 1_700_000_000.0
# Long after anything that a test does.
LATER = START + 1e6


class Clock:
    """Seconds since 1970, which pass when `now` is set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class Closing:
    """Closes with the test what it was called with."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self._stack = stack

    def __call__(self, one: S) -> S:
        self._stack.push_async_callback(one.close)
        return one


class Pause:
    """A piece of work that stops in the middle of its transaction until it is to go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def end(self) -> None:
        self._over.set()

    def __call__(self, connection: Connection) -> None:
        self._loop.call_soon_threadsafe(self.reached.set)
        if connection.dialect.is_async:
            await_(self._over.wait())
        else:
            asyncio.run_coroutine_threadsafe(self._over.wait(), self._loop).result()


class World:
    """Opens stores on the database at `url`."""

    def __init__(self, url: str, closing: Closing) -> None:
        self.url = url
        self.clock = Clock()
        self.stores: list[Store] = []
        self._closing = closing

    @property
    def first(self) -> Store:
        return self.stores[0]

    async def store(self) -> Store:
        """One more store, with connections of its own."""
        store = self._closing(Store(self.url, clock=self.clock))
        await store.open()
        self.stores.append(store)
        return store


def message(name: str, text: str = "hello") -> Item:
    return {"id": name, "type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def messages(*names: str) -> list[Item]:
    return [message(name) for name in names]


def body(name: str, status: str = "completed", **more: Any) -> dict[str, Any]:
    """A response object."""
    return {"id": name, "object": "response", "status": status, "error": None, "output": [], **more}


def names(items: Sequence[Item]) -> list[str]:
    return [item["id"] for item in items]


async def begin(store: Store, name: str, *asked: str, deadline: float = LATER, **more: Any) -> None:
    """Begin a response of OWNER that was asked the messages `asked`."""
    await store.begin_response(OWNER, body(name, "in_progress"), input=messages(*asked), deadline=deadline, **more)


async def finish(store: Store, name: str, *answered: str) -> bool:
    """Finish a response of OWNER with the messages `answered`."""
    return await store.finish_response(OWNER, name, body(name), output=messages(*answered))


async def turn(store: Store, name: str, asked: str, answered: str, **more: Any) -> None:
    """A whole turn of OWNER."""
    await begin(store, name, asked, **more)
    assert await finish(store, name, answered)
