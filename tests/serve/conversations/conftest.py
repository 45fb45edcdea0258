"""Every test of the store runs on both databases, and on uvloop, as the gateway does."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.postgres import URL_VARIABLE, Postgres, binaries, schema
from tests.serve.conversations.world import Closing, World


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], uvloop.Loop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server for all tests."""
    if given := os.environ.get(URL_VARIABLE):
        yield given
    elif binaries() is None:
        pytest.skip(f"there is no PostgreSQL on this machine; install it, or set {URL_VARIABLE}")
    else:
        with Postgres() as server:
            yield server.url


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of the test's own, to stop."""
    if binaries() is None:
        pytest.skip("there is no PostgreSQL on this machine; install it")
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'conversations.db'}"
        return
    async with schema(request.getfixturevalue("postgres_url")) as empty:
        yield empty


@pytest.fixture
async def closing() -> AsyncIterator[Closing]:
    async with contextlib.AsyncExitStack() as stack:
        yield Closing(stack)


@pytest.fixture
async def world(url: str, closing: Closing) -> World:
    """A store on an empty database."""
    world = World(url, closing)
    await world.store()
    return world
