"""The database: found by its URL, brought to this release's schema, used in transactions that cannot hang."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fairlead_serve.conversations import migrations
from fairlead_serve.conversations.engines import Bounds, Engines, Place
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
        self._engines: Engines | None = None
        self._running: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Migrate where that is needed. Raises StoreUnavailable and ConfigurationError; may be tried again."""
        if self._engines is not None:
            return
        self._place.prepare()
        engines = self._place.engines(self._bounds)
        try:
            with translated(), refusals():
                await self._migrate(engines)
        except BaseException:
            await engines.dispose()
            raise
        self._engines = engines

    async def close(self) -> None:
        """Close every connection, after what has begun has ended."""
        engines, self._engines = self._engines, None
        if self._running:
            await asyncio.wait(self._running)
        if engines is not None:
            await engines.dispose()

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """The result of `work`, which writes nothing. Raises StoreUnavailable."""
        return await self._to_its_end(_transaction(self._opened().reader, work))

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """The result of `work`. All that it wrote is kept, or, after an error, nothing.

        Raises StoreUnavailable, and StoreError where an id is taken.
        """
        return await self._to_its_end(_transaction(self._opened().writer, work))

    async def _to_its_end(self, transaction: Coroutine[Any, Any, T]) -> T:
        # Who waits for it may be cancelled at any moment, and a connection that is left in the middle of something
        # can keep its locks. So the transaction goes on; its waits are bounded.
        task = asyncio.create_task(transaction)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    def _opened(self) -> Engines:
        if self._engines is None:
            message = "the database is not open yet"
            raise StoreUnavailable(message)
        return self._engines

    async def _migrate(self, engines: Engines) -> None:
        async with engines.reader.connect() as connection:
            if await connection.run_sync(migrations.is_current):
                return
        patient = self._place.engines(replace(self._bounds, answer=_MIGRATION_SECONDS))
        try:
            async with patient.writer.begin() as connection:
                await connection.run_sync(migrations.upgrade)
        finally:
            await patient.dispose()


async def _transaction(engine: AsyncEngine, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    with translated():
        async with engine.begin() as connection:
            return await work(connection)


def _place(url: str) -> Place:
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and rest[1:] not in {"", ":memory:"}:
        return SqliteFile(Path(rest[1:]))
    if scheme in {"postgresql", "postgres"}:
        return PostgresqlServer(url)
    message = "databaseUrl must be sqlite:///path/to/file or postgresql://user:password@host/name"
    raise ConfigurationError(message)
