"""The database: found by its URL, brought to this release's schema, used in transactions that cannot hang."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fairlead_serve.conversations import migrations
from fairlead_serve.conversations.engines import Bounds, Engines, Place
from fairlead_serve.conversations.failures import refusals, translated
from fairlead_serve.conversations.postgresql import PostgresqlServer
from fairlead_serve.conversations.sqlite import SqliteFile
from fairlead_serve.errors import ConfigurationError, StoreUnavailable

# One statement of a migration may have to go through everything that was ever said.
_MIGRATION_SECONDS = 600


class Database:
    """Transactions on one database. None begins before `open` has succeeded, or after `close`."""

    def __init__(self, url: str, *, bounds: Bounds | None = None) -> None:
        """Raises ConfigurationError for a URL of another kind of database."""
        self._place = _place(url)
        self._bounds = bounds or Bounds()
        self._engines: Engines | None = None

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
        """Close every connection."""
        engines, self._engines = self._engines, None
        if engines is not None:
            await engines.dispose()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes nothing. Raises StoreUnavailable."""
        async with _transaction(self._opened().reader) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: all of it is kept, or, after an error, nothing. Raises StoreUnavailable and StoreError."""
        async with _transaction(self._opened().writer) as connection:
            yield connection

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


@contextlib.asynccontextmanager
async def _transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    with translated():
        async with engine.begin() as connection:
            yield connection


def _place(url: str) -> Place:
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and rest[1:] not in {"", ":memory:"}:
        return SqliteFile(Path(rest[1:]))
    if scheme in {"postgresql", "postgres"}:
        return PostgresqlServer(url)
    message = "databaseUrl must be sqlite:///path/to/file or postgresql://user:password@host/name"
    raise ConfigurationError(message)
