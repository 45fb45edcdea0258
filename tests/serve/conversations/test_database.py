"""The database: which it is, and what is said when it is not there."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from fairlead_serve.conversations import Store
from fairlead_serve.conversations.connections import Bounds
from fairlead_serve.conversations.database import Database
from fairlead_serve.conversations.schema import conversations
from fairlead_serve.errors import ConfigurationError, FairleadError, StoreUnavailable
from tests.postgres import Postgres
from tests.serve.conversations.world import OWNER, Closing, Pause, messages, names

SECRET = "s3cret"
HASTY = Bounds(connect=0.3, answer=0.3)
# Nothing waits that long unless it fails: the bounds above, once for each step, and a slow machine.
_PATIENCE_SECONDS = 8


def sentences(error: BaseException | None) -> Iterator[str]:
    """What a log would show of `error` and its causes."""
    while error is not None:
        yield f"{error} {error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "conversations.db",
        f"mysql://me:{SECRET}@host/name",
        f"postgresql+psycopg://me:{SECRET}@host/name",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite://conversations.db",
    ],
)
def test_other_urls_are_refused_with_the_possible_ones(url: str) -> None:
    with pytest.raises(ConfigurationError, match="sqlite:///path/to/file or postgresql://") as refusal:
        Store(url)
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize("url", [f"postgresql://me:{SECRET}@host:port{SECRET}/name", f"postgres://me:a/{SECRET}@host/"])
async def test_a_url_that_makes_no_sense_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="databaseUrl cannot be understood") as refusal:
        await Store(url).open()
    assert SECRET not in "".join(sentences(refusal.value))


async def test_a_server_that_is_not_there_is_unavailable(
    postgres: Postgres, postgres_url: str, closing: Closing
) -> None:
    postgres.stop()
    store = closing(Store(postgres_url))
    with pytest.raises(StoreUnavailable, match="the database does not answer: Connection refused"):
        await store.open()
    postgres.start()
    await store.open()


async def test_a_host_without_an_address_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable, match="the database does not answer"):
        await Store(f"postgresql://me:{SECRET}@nowhere.invalid/name").open()


async def test_what_the_server_refuses_is_a_matter_of_the_settings(
    postgres: Postgres, postgres_url: str, closing: Closing
) -> None:
    owner = closing(Database(postgres_url))
    await owner.open()

    def set_up(connection: Connection) -> None:
        connection.exec_driver_sql(f"CREATE USER guest PASSWORD '{postgres.password}'")
        connection.exec_driver_sql("CREATE SCHEMA private")
        connection.exec_driver_sql("GRANT USAGE ON SCHEMA private TO guest")

    await owner.write(set_up)
    wrong = {
        "password authentication failed": postgres.url.replace(postgres.password, SECRET),
        'password authentication failed for user "nobody"': postgres.url.replace("fairlead:", "nobody:"),
        'database "elsewhere" does not exist': postgres.url.replace("/postgres", "/elsewhere"),
        "permission denied for schema": postgres.url.replace("fairlead:", "guest:") + "?search_path=private",
    }
    for why, url in wrong.items():
        with pytest.raises(ConfigurationError, match=f"the database refuses: {why}") as refusal:
            await closing(Store(url)).open()
        shown = "".join(sentences(refusal.value))
        assert SECRET not in shown
        assert postgres.password not in shown


async def test_calls_fail_while_the_server_is_away_and_work_when_it_is_back(
    postgres: Postgres, postgres_url: str, closing: Closing
) -> None:
    store = closing(Store(postgres_url))
    await store.open()
    await store.create_conversation(OWNER, "c", metadata={}, items=messages("a"))
    postgres.stop()
    async with asyncio.timeout(_PATIENCE_SECONDS):
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.add_items(OWNER, "c", messages("b"))
        with pytest.raises(StoreUnavailable):
            await store.ping()
    postgres.start()
    await store.ping()
    await store.add_items(OWNER, "c", messages("c"))
    assert names(await store.history(OWNER, "c")) == ["a", "c"]


async def test_no_call_fails_because_the_server_was_away_between_two(
    postgres: Postgres, postgres_url: str, closing: Closing
) -> None:
    store = closing(Store(postgres_url))
    await store.open()
    await asyncio.gather(*(store.ping() for _ in range(20)))
    # Elsewhere: a gateway that goes on meanwhile sees its connections end.
    await asyncio.to_thread(postgres.stop)
    await asyncio.to_thread(postgres.start)
    await asyncio.gather(*(store.ping() for _ in range(20)))


async def test_a_server_that_says_nothing_is_unavailable_within_bounds(
    postgres: Postgres, postgres_url: str, closing: Closing
) -> None:
    database, other = (closing(Database(postgres_url, bounds=HASTY)) for _ in range(2))
    await database.open()
    with postgres.frozen():
        async with asyncio.timeout(_PATIENCE_SECONDS):
            for attempt in (database.read(_look), database.read(_look), other.open()):
                with pytest.raises(StoreUnavailable, match="no answer in time"):
                    await attempt
    await database.read(_look)
    await other.open()


async def test_who_waits_for_a_lock_waits_within_bounds(url: str, closing: Closing) -> None:
    holder, waiter = closing(Database(url)), closing(Database(url, bounds=HASTY))
    await holder.open()
    await waiter.open()
    pause = Pause()

    def hold(connection: Connection) -> None:
        _touch(connection)
        pause(connection)

    await holder.write(_insert)
    holding = asyncio.create_task(holder.write(hold))
    await pause.reached.wait()
    async with asyncio.timeout(_PATIENCE_SECONDS):
        with pytest.raises(StoreUnavailable):
            await waiter.write(_touch)
        await waiter.read(_look)
    pause.end()
    await holding
    await waiter.write(_touch)


async def test_a_vanished_gateway_holds_its_locks_no_longer_than_the_bounds(
    postgres_url: str, closing: Closing
) -> None:
    vanished, waiter = closing(Database(postgres_url, bounds=HASTY)), closing(Database(postgres_url))
    await vanished.open()
    await waiter.open()
    pause = Pause()

    def hold(connection: Connection) -> None:
        _touch(connection)
        pause(connection)

    await waiter.write(_insert)
    holding = asyncio.create_task(vanished.write(hold))
    await pause.reached.wait()
    await waiter.write(_touch)
    pause.end()
    with pytest.raises(StoreUnavailable):
        await holding


async def test_too_many_at_once_wait_for_a_connection_within_bounds(url: str, closing: Closing) -> None:
    database = closing(Database(url, bounds=Bounds(answer=0.3)))
    await database.open()
    pause = Pause()
    holding = [asyncio.create_task(database.read(pause)) for _ in range(30)]
    ended, waiting = await asyncio.wait(holding, timeout=_PATIENCE_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
    assert waiting
    assert {str(one.exception()) for one in ended} == {"the database is too slow: every connection to it is in use"}
    pause.end()
    await asyncio.wait(waiting)


async def test_what_has_begun_ends_before_the_database_is_closed(url: str, closing: Closing) -> None:
    database, again = closing(Database(url)), closing(Database(url))
    await database.open()
    pause = Pause()

    def work(connection: Connection) -> None:
        pause(connection)
        _insert(connection)

    working = asyncio.create_task(database.write(work))
    await pause.reached.wait()
    end = asyncio.create_task(database.close())
    pause.end()
    await end
    await working
    await again.open()
    assert await again.read(_look) == 1


async def test_an_error_leaves_nothing_of_a_transaction(url: str, closing: Closing) -> None:
    database = closing(Database(url))
    await database.open()

    def work(connection: Connection) -> None:
        _insert(connection)
        raise FairleadError("enough")

    with pytest.raises(FairleadError, match="enough"):
        await database.write(work)
    assert await database.read(_look) == 0


async def test_the_file_and_its_folder_are_their_owners_alone(tmp_path: Path, closing: Closing) -> None:
    path = tmp_path / "data" / "conversations.db"
    database = closing(Database(f"sqlite:///{path}"))
    await database.open()
    await database.write(_insert)
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["conversations.db", "conversations.db-shm", "conversations.db-wal"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    await database.close()
    assert list(path.parent.iterdir()) == [path]


async def test_what_is_committed_is_on_the_disk(tmp_path: Path, closing: Closing) -> None:
    database = closing(Database(f"sqlite:///{tmp_path / 'conversations.db'}"))
    await database.open()

    def pragmas(connection: Connection) -> list[object]:
        return [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]

    full = 2
    for use in (database.read, database.write):
        assert await use(pragmas) == ["wal", full, 1]


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "data" / "conversations.db"
    with pytest.raises(ConfigurationError, match="cannot be written: Not a directory; make its folder") as refusal:
        await Store(f"sqlite:///{path}").open()
    assert str(path) in str(refusal.value)


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100, encoding="ascii")
    with pytest.raises(ConfigurationError, match="file is not a database"):
        await Store(f"sqlite:///{path}").open()
    assert path.read_text(encoding="ascii").startswith("Dear Sir")


def _insert(connection: Connection) -> None:
    values = {"created_at": 0, "updated_at": 0, "next_position": 0, "metadata": {}}
    connection.execute(conversations.insert().values(id="c", owner=OWNER, **values))


def _touch(connection: Connection) -> None:
    connection.execute(conversations.update().where(conversations.c.id == "c").values(updated_at=1))


def _look(connection: Connection) -> int:
    return len(connection.execute(select(conversations.c.id)).all())
