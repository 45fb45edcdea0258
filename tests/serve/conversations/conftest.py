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
def own_server() -> Iterator[Postgres]:
    if binaries() is None:
        pytest.skip("there is no PostgreSQL on this machine; install it")
    with Postgres() as server:
        yield server


@pytest.fixture
def postgres(own_server: Postgres) -> Iterator[Postgres]:
    """A PostgreSQL server to stop."""
    yield own_server
    if not own_server.running:
        own_server.start()


@pytest.fixture
async def postgres_url(own_server: Postgres) -> AsyncIterator[str]:
    """An empty database on `postgres`."""
    async with schema(own_server.url) as empty:
        yield empty


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> str:
    """Where the tests that stop nothing have their databases."""
    given = os.environ.get(URL_VARIABLE)
    if given:
        return given
    server: Postgres = request.getfixturevalue("own_server")
    return server.url


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'conversations.db'}"
        return
    async with schema(request.getfixturevalue("server_url")) as empty:
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
