"""The gateway as a listening process: uvicorn, with signals that drain."""

import asyncio
import contextlib
import errno
import http
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import msgspec
import uvicorn

from fairlead_serve.errors import ApiError, PortInUse
from fairlead_serve.gateway.api import Gateway
from fairlead_serve.gateway.line import LineProtocol
from fairlead_serve.settings import GatewaySettings

_BACKLOG = 4096
# As nginx and its relatives have it, with room for cookies.
_MAX_HEAD = 64 * 1024
_HTTP_2_OFFER = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n|$)", re.IGNORECASE)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, so that a taken port is known before anything long starts. Raises PortInUse."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        try:
            listener.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            # Only now: two sockets with this option may both have a port until one of them listens, but
            # without it a port is also taken by the last connections of a gateway that has just ended.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        message = f"cannot listen on {host}:{port}: {reason}; choose another with --port or stop who has it"
        raise PortInUse(message) from error
    listener.set_inheritable(False)
    return listener


class _Protocol(LineProtocol):
    """uvicorn's, with lines, a bound on the head of a request, OpenAI's form for what is not HTTP, and no HTTP/2."""

    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        # The parser would take the body for HTTP/2. Java's own client makes this offer with every request.
        if (self.cycle is None or not self.cycle.more_body) and b"h2c" in data:
            head, end, body = data.partition(b"\r\n\r\n")
            data = _HTTP_2_OFFER.sub(b"", head) + end + body
        super().data_received(data)
        # uvicorn knows the method as soon as the head is whole; before the first byte it has no scope.
        scope: Mapping[str, Any] | None = self.scope
        if scope is None or "method" in scope:
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > _MAX_HEAD and not self.transport.is_closing():
            self._refuse(ApiError(431, f"the request's headers are longer than {_MAX_HEAD} bytes"))

    def send_400_response(self, msg: str) -> None:
        self._refuse(ApiError(400, f"this is not HTTP: {msg}", code="invalid_http"))

    def _refuse(self, error: ApiError) -> None:
        if self.cycle is None or self.cycle.response_complete:
            body = msgspec.json.encode(error.envelope())
            lines = (
                b"HTTP/1.1 %d %s" % (error.status, http.HTTPStatus(error.status).phrase.encode()),
                b"content-type: application/json",
                b"content-length: %d" % len(body),
                b"connection: close",
                b"",
                body,
            )
            self.transport.write(b"\r\n".join(lines))
        # Else an answer is on its way to who sent this, and anything more would be taken for a part of it.
        self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process decides what a signal means."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for one in sockets or ():
            # For the next gateway on this port; before it listens the option would let another one have it.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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
        self._seconds = settings.times.drain_seconds
        self._server = _Server(
            uvicorn.Config(
                gateway.application,
                http=_Protocol,
                ws="none",
                # Nothing here asks for a client's address, and x-forwarded-for is anybody's to write.
                proxy_headers=False,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_keep_alive=settings.times.idle_connection_seconds,
                timeout_graceful_shutdown=settings.times.drain_seconds,
            )
        )

    @property
    def url(self) -> str:
        host, port = self._listener.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def run(self, *, on_started: Callable[[], Awaitable[None]]) -> None:
        """Serve; returns when `stop` was called and the last request has finished or run out of time.

        `on_started` runs as soon as connections are taken; what it raises ends the server and is raised here.
        """

        async def announce() -> None:
            await self._server.listening.wait()
            try:
                await on_started()
            except Exception:
                self.leave()
                raise

        announcing = asyncio.create_task(announce())
        try:
            await self._server.serve(sockets=[self._listener])
        finally:
            announcing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await announcing

    def stop(self) -> None:
        """Say that this gateway is draining, go on for the drain delay, then take no new connection."""
        self._gateway.lifecycle.draining = True
        loop = asyncio.get_running_loop()
        loop.call_later(self._delay, setattr, self._server, "should_exit", True)  # noqa: FBT003
        loop.call_later(self._delay + self._seconds, self._gateway.lifecycle.over.set)

    def leave(self) -> None:
        """Stop now; requests in flight are dropped."""
        self._server.should_exit = True
        self._server.force_exit = True
        self._gateway.lifecycle.over.set()
        for connection in tuple(self._server.server_state.connections):
            connection.transport.abort()
