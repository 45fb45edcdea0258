"""A gateway to chat with, and what the chat of a test sees of its machine."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.serve.chat.terminal import Chat
from tests.serve.gateway.world import World


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], uvloop.Loop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        yield World(stack)


@pytest.fixture
def chat(tmp_path: Path) -> Chat:
    return Chat(tmp_path)
