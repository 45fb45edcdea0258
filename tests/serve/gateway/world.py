"""The small world of a test: the real gateway under its real server, upstreams of the test, clients."""

import asyncio
import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fairlead_serve.gateway.api import Gateway, create_gateway
from fairlead_serve.gateway.backends import Backend
from fairlead_serve.gateway.roster import Roster, Source
from fairlead_serve.gateway.server import GatewayServer, listen
from fairlead_serve.logs import AccessLog
from fairlead_serve.settings import BackendSettings, GatewaySettings
from tests.serve.gateway.client import Answer, Client
from tests.serve.gateway.upstream import Script, Upstream

CHAT = "/v1/chat/completions"
CREATED = 1_700_000_000
# No test waits that long unless it fails.
_PATIENCE_SECONDS = 10


async def until(condition: Callable[[], bool]) -> None:
    """Give way to everything else until `condition` holds."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - what is waited for knows nothing of the test
            await asyncio.sleep(0.001)


@dataclass
class Running:
    """A gateway that takes connections. `serving` ends when it has stopped."""

    gateway: Gateway
    server: GatewayServer
    serving: "asyncio.Task[None]"
    log: io.BytesIO

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def backend(self) -> Backend:
        return self.gateway.table.backends[0]

    def logged(self) -> list[dict[str, Any]]:
        """The lines of the access log so far."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


def backend(*endpoints: str, name: str = "model", kind: str = "upstream", **more: Any) -> BackendSettings:
    return BackendSettings.model_validate({"name": name, "kind": kind, "endpoints": endpoints, **more})


class World:
    """Starts what a test asks for, and ends it with the test."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self._stack = stack

    async def upstream(self, script: Script, **options: Any) -> Upstream:
        return await self._stack.enter_async_context(Upstream(script, **options))

    async def gateway(
        self,
        *backends: BackendSettings | Upstream,
        environment: Mapping[str, str] | None = None,
        wait: bool = True,
        make_source: Callable[[Roster], Source] | None = None,
        **settings: Any,
    ) -> Running:
        """A running gateway; an Upstream stands for a backend `model` at it. `wait`: until all are ready.

        `make_source`: where its Models come from instead.
        """
        chosen = [backend(one.url) if isinstance(one, Upstream) else one for one in backends]
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="fairlead-test-"))
        defaults = {
            "host": "127.0.0.1",
            "port": 0,
            "internal_token": "internal",
            "database_url": f"sqlite:///{folder}/conversations.db",
        }
        whole = GatewaySettings.model_validate({**defaults, "backends": chosen, **settings})
        log = io.BytesIO()
        gateway = create_gateway(
            whole,
            environment=environment or {},
            created=CREATED,
            access_log=AccessLog(log),
            make_source=make_source,
        )
        server = GatewayServer(gateway, listen(whole.host, whole.port), whole)
        started = asyncio.Event()

        async def announce() -> None:
            started.set()

        running = Running(gateway, server, asyncio.create_task(server.run(on_started=announce)), log)
        self._stack.push_async_callback(_end, running)
        await asyncio.wait({asyncio.create_task(started.wait()), running.serving}, return_when="FIRST_COMPLETED")
        if wait:
            await gateway.wait_ready()
        return running

    async def client(self, running: Running, **options: Any) -> Client:
        client = await Client.connect(running.url, **options)
        self._stack.callback(client.leave)
        return client

    async def post(
        self, running: Running, body: Any, *, path: str = CHAT, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One POST on a connection of its own."""
        return await (await self.client(running)).post(path, body, headers=headers)

    async def get(self, running: Running, path: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        return await (await self.client(running)).get(path, headers=headers)


async def _end(running: Running) -> None:
    """Not by `leave`: uvicorn looks at that only ten times a second."""
    server = running.server._server
    running.gateway.lifecycle.over.set()
    running.serving.cancel()
    await asyncio.gather(running.serving, return_exceptions=True)
    for one in server.servers:
        one.close()
    for connection in tuple(server.server_state.connections):
        connection.transport.abort()
    await until(lambda: not server.server_state.tasks)
    await server.lifespan.shutdown()
