"""Transactions in threads, for a database that is a library in this process and makes its caller wait."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

T = TypeVar("T")


class Lane:
    """As many transactions at once as there are threads. Other work waits in line: what came first is next.

    On a machine whose cores are all busy a thread that is woken waits for a core, at times for seconds. So work wakes
    few: it is handed over whole, not statement by statement, and what waits in line may go together in one
    transaction, which waits for the disk once.
    """

    def __init__(self, engine: Engine, *, threads: int, together: int, patience: float) -> None:
        """`engine` has a connection for each of the threads.

        `together`: how much work one transaction may take. `patience`: the longest wait in line, in seconds.
        """
        self._engine = engine
        self._together = together
        self._patience = patience
        self._line: deque[_Job[Any]] = deque()
        # For whichever thread is free next; None ends it.
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # A process that has to leave at once does not wait for them, nor for a lock that they wait for.
        self._threads = [threading.Thread(target=self._work, name="database", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    async def run(self, work: Callable[[Connection], T]) -> T:
        """The result of `work`, after it has been committed. What it raises undoes what it did, and nothing else.

        Raises SQLAlchemy's TimeoutError where it has not begun in time.
        """
        job = _Job(work)
        self._line.append(job)
        self._calls.put(self._serve)
        ended = asyncio.wrap_future(job.outcome)
        try:
            await asyncio.wait([ended], timeout=self._patience)
        except asyncio.CancelledError:
            self._give_up(job)
            raise
        if self._give_up(job):
            raise PoolTimeoutError
        return await ended

    async def close(self) -> None:
        """Close every connection, after what has begun has ended."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()
        self._engine.dispose()

    def _give_up(self, job: "_Job[Any]") -> bool:
        """Take `job` out of the line; False where it has begun, and so ends by itself."""
        given_up = job.outcome.cancel()
        if given_up:
            with contextlib.suppress(ValueError):
                self._line.remove(job)
        return given_up

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def _serve(self) -> None:
        """Carry out what is next in line. Nothing may be left: what came before may have taken it along."""
        jobs = self._next()
        if not jobs:
            return
        try:
            with self._engine.begin() as connection:
                for job in jobs:
                    job.attempt(connection)
        except BaseException as error:  # noqa: BLE001 - raised where each of them is waited for
            for job in jobs:
                job.outcome.set_exception(error)
        else:
            for job in jobs:
                job.tell()

    def _next(self) -> "list[_Job[Any]]":
        jobs: list[_Job[Any]] = []
        while len(jobs) < self._together:
            try:
                job = self._line.popleft()
            except IndexError:
                break
            if job.outcome.set_running_or_notify_cancel():
                jobs.append(job)
        return jobs


class _Job(Generic[T]):
    """One piece of work, and what came of it once that is certain."""

    def __init__(self, work: Callable[[Connection], T]) -> None:
        self.outcome: Future[T] = Future()
        self._work = work
        self._tell: Callable[[], None]

    def attempt(self, connection: Connection) -> None:
        """Do it or, where it raises, leave nothing of it. Raises what ends the whole transaction."""
        savepoint = connection.begin_nested()
        try:
            result = self._work(connection)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            try:
                savepoint.rollback()
            except DBAPIError as lost:
                # The whole transaction has ended, and there is nothing to go back to. Why says what ended it.
                raise (error if isinstance(error, DBAPIError) else lost) from None
            self._tell = partial(self.outcome.set_exception, error)
        else:
            savepoint.commit()
            self._tell = partial(self.outcome.set_result, result)

    def tell(self) -> None:
        """Give the outcome to who waits for it."""
        self._tell()
