"""The gateway as a listening process: uvicorn, with signals that drain."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator

import uvicorn

from fairlead_serve.errors import PortInUse
from fairlead_serve.gateway.api import Gateway
from fairlead_serve.settings import GatewaySettings

_BACKLOG = 4096


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that a taken port is known before anything long starts. Raises PortInUse."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        message = f"cannot listen on {host}:{port}: {reason}; choose another with --port or stop who has it"
        raise PortInUse(message) from error
    listener.set_inheritable(False)
    return listener


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process decides what a signal means."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class GatewayServer:
    """Serves a gateway on a bound socket until `stop`, then lets requests in flight finish."""

    def __init__(self, gateway: Gateway, listener: socket.socket, settings: GatewaySettings) -> None:
        self._gateway = gateway
        self._listener = listener
        self._delay = settings.times.drain_delay_seconds
        self._server = _Server(
            uvicorn.Config(
                gateway.application,
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_keep_alive=settings.times.idle_connection_seconds,
                timeout_graceful_shutdown=settings.times.drain_seconds,
                h11_max_incomplete_event_size=None,
            )
        )

    @property
    def url(self) -> str:
        host, port = self._listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def run(self, *, on_started: Callable[[], Awaitable[None]]) -> None:
        """Serve; returns when `stop` was called and the last request has finished or run out of time."""

        async def announce() -> None:
            await self._server.listening.wait()
            await on_started()

        announcing = asyncio.create_task(announce())
        try:
            await self._server.serve(sockets=[self._listener])
        finally:
            announcing.cancel()

    def stop(self) -> None:
        """Say that this gateway is draining, go on for the drain delay, then take no new connection."""
        self._gateway.lifecycle.draining = True
        asyncio.get_running_loop().call_later(self._delay, setattr, self._server, "should_exit", True)  # noqa: FBT003

    def leave(self) -> None:
        """Stop now; requests in flight are dropped."""
        self._server.should_exit = True
        self._server.force_exit = True
