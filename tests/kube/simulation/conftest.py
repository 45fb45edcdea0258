"""The small world of each test."""

from collections.abc import AsyncIterator

import pytest

from tests.kube.simulation.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A cluster in which everything has room and is ready at once."""
    world = World()
    yield world
    await world.simulation.stop()
