"""A PostgreSQL server. Addresses are libpq's, as asyncpg reads them: several hosts, `sslmode` and the rest work."""

from collections.abc import Callable
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from fairlead_serve.conversations.connections import Bounds
from fairlead_serve.errors import ConfigurationError

T = TypeVar("T")

_CONNECTIONS = 10


class PostgresqlServer:
    """A Place."""

    def __init__(self, url: str) -> None:
        self._url = url

    def prepare(self) -> None:
        """A server is there or not; nothing can be made for it."""

    def connections(self, bounds: Bounds) -> "PostgresqlConnections":
        async def connect() -> Any:
            return await self._connect(bounds)

        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            pool_size=_CONNECTIONS,
            max_overflow=0,
            pool_timeout=bounds.answer,
            hide_parameters=True,
        )
        event.listen(engine.sync_engine, "checkout", _renew_if_closed)
        return PostgresqlConnections(engine)

    async def _connect(self, bounds: Bounds) -> Any:
        # The server bounds them too: the locks of a gateway that has vanished are free again after as long.
        milliseconds = str(int(bounds.answer * 1000))
        try:
            return await asyncpg.connect(
                self._url,
                timeout=bounds.connect,
                command_timeout=bounds.answer,
                server_settings={
                    "application_name": "fairlead",
                    "statement_timeout": milliseconds,
                    "idle_in_transaction_session_timeout": milliseconds,
                },
            )
        except ValueError:
            # Its text may quote a piece of the password.
            message = "databaseUrl cannot be understood; write postgresql://user:password@host:5432/name, and quote "
            message += "special characters in the password as in URLs (%40 for @)"
            raise ConfigurationError(message) from None


class PostgresqlConnections:
    """Connections to one server, for reading and writing alike."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self.write(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        await self._engine.dispose()


def _renew_if_closed(_: Any, entry: ConnectionPoolEntry, __: PoolProxiedConnection) -> None:
    """Connections that a restarted server has closed are replaced. Costs no round trip, as asking it would."""
    connection: Any = entry.driver_connection
    if connection.is_closed():
        raise DisconnectionError
