"""A SQLite file: made for its owner alone, durable at every commit, one writer at a time."""

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from fairlead_serve.conversations.connections import Bounds
from fairlead_serve.conversations.lane import Lane
from fairlead_serve.errors import ConfigurationError

T = TypeVar("T")

_READERS = 4
# Enough for all who come while the disk is waited for; few enough for other gateways not to wait long.
_WRITES_TOGETHER = 100
# Readers and the writer do not wait for each other. Needs synchronous=FULL for what is committed to be on disk.
_WAL = "PRAGMA journal_mode=WAL"


class SqliteFile:
    """A Place."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def prepare(self) -> None:
        """Make the folder and the file, where they are not there, for nobody else to read."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._path.exists():
                self._create()
            os.close(os.open(self._path, os.O_RDWR))
        except (OSError, sqlite3.Error) as error:
            why = error.strerror if isinstance(error, OSError) else error
            message = (
                f"the database {self._path} cannot be written: {why}; make its folder writable, "
                "or name another file in databaseUrl"
            )
            raise ConfigurationError(message) from error

    def _create(self) -> None:
        """Make an empty database that is in WAL mode when it appears: of several that change the mode, some fail."""
        # For its owner alone; SQLite gives the files that it puts beside this one the same permissions.
        handle, name = tempfile.mkstemp(prefix=f".{self._path.name}-", dir=self._path.parent)
        os.close(handle)
        new = Path(name)
        try:
            with contextlib.closing(sqlite3.connect(new)) as connection:
                connection.execute(_WAL)
            with contextlib.suppress(FileExistsError):
                self._path.hardlink_to(new)
        finally:
            new.unlink()

    def connections(self, bounds: Bounds) -> "SqliteConnections":
        return SqliteConnections(self._path, bounds)


class SqliteConnections:
    """Connections to one file. One is for writing: who waits for it waits in line, where SQLite would try at random."""

    def __init__(self, path: Path, bounds: Bounds) -> None:
        # A write takes its lock at once, or two that have read could both be unable to go on.
        self._readers = _lane(path, bounds, begin="BEGIN", threads=_READERS, together=1)
        self._writer = _lane(path, bounds, begin="BEGIN IMMEDIATE", threads=1, together=_WRITES_TOGETHER)

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self._readers.run(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        return await self._writer.run(work)

    async def close(self) -> None:
        try:
            await self._readers.close()
        finally:
            await self._writer.close()


def _lane(path: Path, bounds: Bounds, *, begin: str, threads: int, together: int) -> Lane:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        pool_size=threads,
        max_overflow=0,
        hide_parameters=True,
        # Without a level Python's driver begins no transactions of its own.
        connect_args={"timeout": bounds.answer, "isolation_level": None},
    )

    def set_up(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        for pragma in (_WAL, "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON"):
            connection.execute(pragma)

    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin_transaction)
    return Lane(engine, threads=threads, together=together, patience=bounds.answer)
