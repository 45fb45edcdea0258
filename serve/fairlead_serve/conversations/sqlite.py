"""A SQLite file: made for its owner alone, durable at every commit, one writer at a time."""

import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from fairlead_serve.conversations.engines import Bounds, Engines
from fairlead_serve.errors import ConfigurationError

_READERS = 4
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

    def engines(self, bounds: Bounds) -> Engines:
        # One connection for writing: who waits for it waits in line, where SQLite itself would have them try at
        # random. Its lock is taken at once, or two that have read could both be unable to go on.
        return Engines(
            reader=self._engine(bounds, begin="BEGIN", connections=_READERS),
            writer=self._engine(bounds, begin="BEGIN IMMEDIATE", connections=1),
        )

    def _engine(self, bounds: Bounds, *, begin: str, connections: int) -> AsyncEngine:
        engine = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(self._path)),
            pool_size=connections,
            max_overflow=0,
            pool_timeout=bounds.answer,
            hide_parameters=True,
            # Without a level Python's driver begins no transactions of its own.
            connect_args={"timeout": bounds.answer, "isolation_level": None},
        )

        def set_up(connection: Any, _: ConnectionPoolEntry) -> None:
            cursor = connection.cursor()
            for pragma in (_WAL, "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON"):
                cursor.execute(pragma)
            cursor.close()

        def begin_transaction(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        event.listen(engine.sync_engine, "connect", set_up)
        event.listen(engine.sync_engine, "begin", begin_transaction)
        return engine
