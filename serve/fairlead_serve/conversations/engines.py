"""What every kind of database gives: SQLAlchemy's engines for reading and for writing, bounded in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncEngine


@dataclass(frozen=True)
class Bounds:
    """The longest waits, in seconds. `answer`: for one statement, and for a connection or a lock to become free."""

    connect: float = 5
    answer: float = 10


class Engines:
    """The connections to one database. The two may be the same."""

    def __init__(self, *, reader: AsyncEngine, writer: AsyncEngine) -> None:
        self.reader = reader
        self.writer = writer

    async def dispose(self) -> None:
        """Close every connection."""
        for engine in self._different():
            await engine.dispose()

    def _different(self) -> Sequence[AsyncEngine]:
        return [self.writer] if self.reader is self.writer else [self.reader, self.writer]


class Place(Protocol):
    """Where a database is."""

    def prepare(self) -> None:
        """Make what has to be there before the first connection. Raises ConfigurationError."""

    def engines(self, bounds: Bounds) -> Engines:
        """New engines; nothing is connected yet."""
