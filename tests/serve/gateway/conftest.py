"""Every test of the gateway runs on uvloop, as the gateway does."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from tests.serve.gateway.world import World


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], uvloop.Loop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        yield World(stack)
