"""Transactions in threads: whole, in the order in which they came, and never after they were given up."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from fairlead_serve.conversations.lane import Lane
from fairlead_serve.errors import FairleadError
from tests.serve.conversations.world import Pause

# Nothing waits that long unless it fails.
_PATIENCE_SECONDS = 60


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    options: dict[str, Any] = {"pool_size": 1, "max_overflow": 0, "connect_args": {"isolation_level": None}}
    engine = create_engine(f"sqlite:///{tmp_path / 'some.db'}", **options)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE numbers (number INTEGER)")
    return engine


@pytest.fixture
def commits(engine: Engine) -> list[Connection]:
    """The connections that were committed, a transaction each, from now on."""
    committed: list[Connection] = []
    event.listen(engine, "commit", committed.append)
    return committed


@pytest.fixture
async def lane(engine: Engine) -> AsyncIterator[Lane]:
    lane = Lane(engine, threads=1, together=100, patience=_PATIENCE_SECONDS)
    yield lane
    await lane.close()


async def test_a_transaction_ends_while_the_loop_has_no_time_for_it(engine: Engine, lane: Lane) -> None:
    loop = asyncio.get_running_loop()
    begun, blocked, ended = asyncio.Event(), threading.Event(), threading.Event()
    event.listen(engine, "checkin", lambda *_: ended.set())

    def work(connection: Connection) -> int:
        loop.call_soon_threadsafe(begun.set)
        blocked.wait()
        connection.exec_driver_sql("INSERT INTO numbers VALUES (1)")
        connection.exec_driver_sql("INSERT INTO numbers VALUES (2)")
        return _count(connection)

    running = asyncio.create_task(lane.run(work))
    await begun.wait()
    blocked.set()
    assert ended.wait(_PATIENCE_SECONDS)
    assert await running == 2


async def test_who_came_first_is_first(lane: Lane) -> None:
    pause = Pause()
    order: list[int] = []
    holding = asyncio.create_task(lane.run(pause))
    await pause.reached.wait()

    async def come(number: int) -> None:
        await lane.run(lambda _: order.append(number))

    waiting = [asyncio.create_task(come(number)) for number in range(20)]
    pause.end()
    await holding
    # Who comes as one becomes free does not get before those who wait.
    await come(20)
    await asyncio.gather(*waiting)
    assert order == list(range(21))


async def test_what_waits_is_committed_at_once(lane: Lane, commits: list[Connection]) -> None:
    counts = await _behind_another(lane, [_insert_and_count] * 20)
    assert counts == list(range(1, 21))
    assert len(commits) == 2


async def test_an_error_undoes_its_own_work_alone(lane: Lane, commits: list[Connection]) -> None:
    def fail(connection: Connection) -> int:
        _insert(connection)
        raise FairleadError("enough")

    first, failed, last = await _behind_another(lane, [_insert_and_count, fail, _insert_and_count])
    assert (first, last) == (1, 2)
    assert isinstance(failed, FairleadError)
    assert len(commits) == 2
    assert await lane.run(_count) == 2


async def test_nothing_is_said_to_be_kept_that_is_not(lane: Lane) -> None:
    # As SQLite itself does when the disk is full.
    def lose(connection: Connection) -> int:
        connection.exec_driver_sql("ROLLBACK")
        raise FairleadError("enough")

    ended = await _behind_another(lane, [_insert_and_count, lose, _insert_and_count])
    assert all(isinstance(one, OperationalError) for one in ended)
    assert await lane.run(_count) == 0
    await lane.run(_insert)
    assert await lane.run(_count) == 1


async def test_what_ended_a_transaction_is_told_to_all_that_were_in_it(lane: Lane) -> None:
    def full(connection: Connection) -> int:
        # As SQLite itself may: the error has ended the transaction, and the savepoint with it.
        connection.exec_driver_sql(
            "CREATE TEMP TRIGGER full BEFORE INSERT ON numbers BEGIN SELECT RAISE(ROLLBACK, 'full'); END"
        )
        return _insert_and_count(connection)

    ended = await _behind_another(lane, [_insert_and_count, full])
    assert all("full" in str(one) for one in ended)
    assert await lane.run(_count) == 0


async def test_what_nobody_waits_for_any_more_is_not_carried_out(lane: Lane) -> None:
    pause = Pause()
    holding = asyncio.create_task(lane.run(pause))
    await pause.reached.wait()
    waiting = [asyncio.create_task(lane.run(_insert)) for _ in range(3)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    pause.end()
    await holding
    assert await lane.run(_count) == 0


def test_a_process_leaves_at_once_while_a_transaction_waits(tmp_path: Path) -> None:
    code = f"""
import asyncio, time
from sqlalchemy import create_engine
from fairlead_serve.conversations.lane import Lane

async def main():
    lane = Lane(create_engine("sqlite:///{tmp_path / "some.db"}"), threads=1, together=1, patience=600)
    waiting = [asyncio.create_task(lane.run(lambda _: time.sleep(600))) for _ in range(3)]
    await asyncio.sleep(0)

asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=_PATIENCE_SECONDS).returncode == 0


async def test_what_was_given_up_in_the_line_is_never_carried_out(engine: Engine) -> None:
    hasty = Lane(engine, threads=1, together=100, patience=0.05)
    pause = Pause()
    holding = asyncio.create_task(hasty.run(pause))
    await pause.reached.wait()
    with pytest.raises(PoolTimeoutError):
        await hasty.run(_insert)
    pause.end()
    await holding
    assert await hasty.run(_count) == 0
    await hasty.close()


async def test_a_close_waits_for_what_has_begun(engine: Engine, lane: Lane) -> None:
    pause = Pause()

    def work(connection: Connection) -> None:
        pause(connection)
        _insert(connection)

    running = asyncio.create_task(lane.run(work))
    await pause.reached.wait()
    closing = asyncio.create_task(lane.close())
    pause.end()
    await closing
    with engine.begin() as connection:
        assert _count(connection) == 1
    await running


async def _behind_another(lane: Lane, works: Sequence[Callable[[Connection], int]]) -> list[int | BaseException]:
    """What comes of `works` when all of them come while another is being carried out."""
    pause = Pause()
    holding = asyncio.create_task(lane.run(pause))
    await pause.reached.wait()
    waiting = [asyncio.create_task(lane.run(work)) for work in works]
    pause.end()
    await holding
    return await asyncio.gather(*waiting, return_exceptions=True)


def _insert(connection: Connection) -> None:
    connection.exec_driver_sql("INSERT INTO numbers VALUES (1)")


def _count(connection: Connection) -> int:
    return int(connection.exec_driver_sql("SELECT count(*) FROM numbers").scalar_one())


def _insert_and_count(connection: Connection) -> int:
    _insert(connection)
    return _count(connection)
