"""What every kind of database gives: connections for reading and for writing, bounded in time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")


@dataclass(frozen=True)
class Bounds:
    """The longest waits, in seconds. `answer`: for one statement, and for a connection or a lock to become free."""

    connect: float = 5
    answer: float = 10


class Connections(Protocol):
    """The connections to one database.

    Work is a plain function, so that a database that needs a thread is handed all of it at once. What goes wrong is
    raised as the driver and SQLAlchemy do; where no connection becomes free, as SQLAlchemy's TimeoutError.
    """

    async def read(self, work: Callable[[Connection], T]) -> T:
        """The result of `work`, which writes nothing, in a transaction."""

    async def write(self, work: Callable[[Connection], T]) -> T:
        """The result of `work` once it is committed. After an error nothing of it is kept."""

    async def close(self) -> None:
        """Close every connection, after what has begun has ended."""


class Place(Protocol):
    """Where a database is."""

    def prepare(self) -> None:
        """Make what has to be there before the first connection. Raises ConfigurationError."""

    def connections(self, bounds: Bounds) -> Connections:
        """New ones; nothing is connected yet."""
