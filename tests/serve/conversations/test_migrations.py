"""The way to this release's schema."""

import asyncio
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from fairlead_serve.conversations import Store
from fairlead_serve.conversations.database import Database
from fairlead_serve.conversations.schema import metadata
from fairlead_serve.errors import ConfigurationError
from tests.serve.conversations.world import OWNER, Closing, messages, names


@pytest.fixture
async def database(url: str, closing: Closing) -> Database:
    database = closing(Database(url))
    await database.open()
    return database


async def test_the_migrations_lead_to_the_schema(database: Database) -> None:
    assert await database.read(_compare) == []


async def test_the_comparison_sees_what_is_missing(database: Database) -> None:
    def work(connection: Connection) -> list[Any]:
        connection.exec_driver_sql("DROP INDEX ix_responses_previous")
        return _compare(connection)

    assert [difference[0] for difference in await database.write(work)] == ["add_index"]


async def test_opening_twice_does_nothing(url: str, closing: Closing) -> None:
    first, second = closing(Store(url)), closing(Store(url))
    await first.open()
    await first.create_conversation(OWNER, "c", metadata={}, items=messages("a"))
    await first.open()
    await second.open()
    assert names(await first.history(OWNER, "c")) == names(await second.history(OWNER, "c")) == ["a"]


async def test_stores_that_open_one_empty_database_at_once_all_succeed(url: str, closing: Closing) -> None:
    stores = [closing(Store(url)) for _ in range(6)]
    await asyncio.gather(*(store.open() for store in stores))
    await asyncio.gather(
        *(store.create_conversation(OWNER, f"c{number}", metadata={}) for number, store in enumerate(stores))
    )
    assert len((await stores[0].list_conversations(OWNER)).data) == 6


async def test_a_database_of_a_newer_release_is_refused(database: Database, url: str) -> None:
    await database.write(
        lambda connection: connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    )
    with pytest.raises(ConfigurationError, match=r"newer release \(its schema is 9999\)"):
        await Store(url).open()


def _compare(connection: Connection) -> list[Any]:
    """What the database has other than the schema."""
    return list(compare_metadata(MigrationContext.configure(connection), metadata))
