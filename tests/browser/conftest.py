"""A browser, and the gateways that it visits. All tests of this folder share the browser, and its event loop."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import pytest_asyncio
import uvloop
from playwright.async_api import Browser, async_playwright

from tests.browser.visit import Site
from tests.serve.gateway.world import World


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], uvloop.Loop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("there is no chromium on the PATH: install Debian's package of that name")
    # Its own sandbox does not work for root, whom containers tend to run as.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=executable, args=arguments)
        yield running
        await running.close()


@pytest_asyncio.fixture(loop_scope="session")
async def world() -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        yield World(stack)


@pytest_asyncio.fixture(loop_scope="session")
async def site(browser: Browser, world: World) -> AsyncIterator[Site]:
    async with Site(browser, world) as site:
        yield site
