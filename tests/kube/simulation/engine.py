"""What an engine says of itself at its status port, and the port."""

import asyncio
import hmac
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from fairlead_serve.internal import TOKEN_HEADER
from tests.kube.simulation.work import Background

STATUS_PORT = 8090
Adapters = tuple[Mapping[str, str], ...]


@dataclass
class Engine:
    """The state of the engines of some pods; a test changes it at any time.

    `failing` names the adapters that cannot be loaded, and why; those in `loading` are being loaded; all others are
    loaded as soon as they are asked for. `asked` is what was put, or what it started with, pod by pod.
    """

    phase: str = "Ready"
    download: Mapping[str, int] | None = None
    cached: bool = True
    failing: dict[str, str] = field(default_factory=dict)
    loading: set[str] = field(default_factory=set)
    asked: dict[str, Adapters] = field(default_factory=dict)

    def start(self, pod: str, adapters: str) -> None:
        """The container of a pod starts, with this file of adapters; what was put before is forgotten."""
        self.asked.pop(pod, None)
        if adapters:
            self.asked[pod] = tuple(json.loads(adapters)["adapters"])

    def status(self, pod: str) -> dict[str, Any]:
        """The body of GET /status of the pod of this name."""
        return {
            "phase": self.phase,
            "download": self.download,
            "cached": self.cached,
            "adapters": [self._adapter(one) for one in self.asked.get(pod, ())],
        }

    def _adapter(self, asked: Mapping[str, str]) -> dict[str, str]:
        message = self.failing.get(asked["name"], "")
        loaded = "Loading" if asked["name"] in self.loading else "Loaded"
        return {**asked, "state": "Failed" if message else loaded, "message": message}


class StatusPort:
    """Answers for `engine` at the address of one pod, to who knows the token, until it is cancelled."""

    def __init__(self, engine: Engine, *, pod: str, token: str, host: str, background: Background) -> None:
        self._engine = engine
        self._pod = pod
        self._token = token.encode()
        # Bound here: whoever reads of the pod may connect at once, and is answered as soon as the server runs.
        self._socket = socket.create_server((host, STATUS_PORT))
        self._server: asyncio.Server | None = None
        self._errand = background.spawn(self._run(), then=self._socket.close)

    def cancel(self) -> None:
        """Take no more connections from now on; those that there are end soon."""
        if self._server is not None:
            self._server.close()
        self._errand.cancel()

    async def _run(self) -> None:
        application = web.Application()
        application.router.add_get("/status", self._get)
        application.router.add_put("/adapters", self._put)
        runner = web.AppRunner(application, access_log=None)
        try:
            await runner.setup()
            assert runner.server is not None
            self._server = await asyncio.get_running_loop().create_server(runner.server, sock=self._socket)
            await asyncio.Event().wait()
        finally:
            if self._server is not None:
                self._server.close()
            await runner.cleanup()

    async def _get(self, request: web.Request) -> web.Response:
        return self._answer(request)

    async def _put(self, request: web.Request) -> web.Response:
        if not self._may(request):
            return web.Response(status=401)
        self._engine.asked[self._pod] = tuple((await request.json())["adapters"])
        return self._answer(request)

    def _answer(self, request: web.Request) -> web.Response:
        if not self._may(request):
            return web.Response(status=401)
        return web.json_response(self._engine.status(self._pod))

    def _may(self, request: web.Request) -> bool:
        return hmac.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), self._token)
