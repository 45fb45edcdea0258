"""The database: found by its URL, brought to this release's schema, used in transactions that cannot hang."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from fairlead_serve.conversations import migrations
from fairlead_serve.conversations.connections import Bounds, Connections, Place
from fairlead_serve.conversations.failures import refusals, translated
from fairlead_serve.conversations.postgresql import PostgresqlServer
from fairlead_serve.conversations.sqlite import SqliteFile
from fairlead_serve.errors import ConfigurationError, StoreUnavailable

T = TypeVar("T")

# One statement of a migration may have to go through everything that was ever said.
_MIGRATION_SECONDS = 600


class Database:
    """Transactions on one database. None begins before `open` has succeeded, or after `close`."""

    def __init__(self, url: str, *, bounds: Bounds | None = None) -> None:
        """Raises ConfigurationError for a URL of another kind of database."""
        self._place = _place(url)
        self._bounds = bounds or Bounds()
        self._connections: Connections | None = None
        self._running: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Migrate where that is needed. Raises StoreUnavailable and ConfigurationError; may be tried again."""
        if self._connections is not None:
            return
        self._place.prepare()
        connections = self._place.connections(self._bounds)
        try:
            with translated(), refusals():
                await self._migrate(connections)
        except BaseException:
            await connections.close()
            raise
        self._connections = connections

    async def close(self) -> None:
        """Close every connection, after what has begun has ended."""
        connections, self._connections = self._connections, None
        if self._running:
            await asyncio.wait(self._running)
        if connections is not None:
            await connections.close()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """The result of `work`, which writes nothing. Raises StoreUnavailable."""
        return await self._to_its_end(self._opened().read(work))

    async def write(self, work: Callable[[Connection], T]) -> T:
        """The result of `work`. All that it wrote is kept, or, after an error, nothing.

        Raises StoreUnavailable, and StoreError where an id is taken.
        """
        return await self._to_its_end(self._opened().write(work))

    async def _to_its_end(self, transaction: Coroutine[Any, Any, T]) -> T:
        # Who waits for it may be cancelled at any moment, and a connection that is left in the middle of something
        # can keep its locks. So the transaction goes on; its waits are bounded.
        task = asyncio.create_task(transaction)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        with translated():
            return await asyncio.shield(task)

    def _opened(self) -> Connections:
        if self._connections is None:
            message = "the database is not open yet"
            raise StoreUnavailable(message)
        return self._connections

    async def _migrate(self, connections: Connections) -> None:
        if await connections.read(migrations.is_current):
            return
        patient = self._place.connections(replace(self._bounds, answer=_MIGRATION_SECONDS))
        try:
            await patient.write(migrations.upgrade)
        finally:
            await patient.close()


def _place(url: str) -> Place:
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and rest[1:] not in {"", ":memory:"}:
        return SqliteFile(Path(rest[1:]))
    if scheme in {"postgresql", "postgres"}:
        return PostgresqlServer(url)
    message = "databaseUrl must be sqlite:///path/to/file or postgresql://user:password@host/name"
    raise ConfigurationError(message)
