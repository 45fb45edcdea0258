"""A client's connection, as an ASGI extension: written to from anywhere, without awaiting, and heard of when it ends.

ASGI's `send` belongs to the task of a request, and waking that task for every chunk costs more than the chunk itself
(`bench` prints `gateway_us_per_chunk_128`). With a line the upstream's callback writes to the client's socket. The
beginning and the end of an answer stay with `send`, so uvicorn's own account of the answer stays right.

For the same reason the head of an answer leaves in one write with what follows it, and nobody waits for a client to
leave: a callback tells.

A server that offers no line (another one than ours, or HTTP/1.0 clients, whose answers are not chunked) is served by
`send` alone.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from fairlead_serve.asgi import Scope

_EXTENSION = "fairlead.line"


class LineProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a line in the scope of every request."""

    on_writable: Callable[[], None] | None = None
    on_gone: Callable[[], None] | None = None

    def on_headers_complete(self) -> None:
        # The task that reads the scope is made in here, and runs later.
        super().on_headers_complete()
        if self.cycle is not None:
            # uvicorn makes its cycles by a name of its own; this class adds a method and nothing else.
            self.cycle.__class__ = _Cycle
            self.cycle.transport = cast(asyncio.Transport, _Corked(self.transport, self.loop))
            scope = cast(dict[str, Any], self.scope)
            scope["extensions"] = {_EXTENSION: Line(self, self.cycle)}

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.on_gone is not None:
            self.on_gone()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.on_writable is not None:
            self.on_writable()


class _Cycle(RequestResponseCycle):
    """uvicorn's, which writes the head of an answer with fewer steps: two searches for each header become one count."""

    async def send(self, message: Any) -> None:
        if message["type"] != "http.response.start" or self._is_special(message["status"]):
            await super().send(message)
            return
        self.response_started = True
        self.waiting_for_100_continue = False
        self.transport.write(self._head(message["status"], [*self.default_headers, *message.get("headers", ())]))

    def _is_special(self, status: int) -> bool:
        return (
            self.response_started
            or self.disconnected
            or self.flow.write_paused
            or status in _NO_BODY_STATUSES
            or self.scope["method"] == "HEAD"
        )

    def _head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        lines = [STATUS_LINE[status]]
        self.chunked_encoding = True
        for name, value in headers:
            lines.append(b"%b: %b\r\n" % (name, value))
            if name == b"content-length":
                self.expected_content_length = int(value)
                self.chunked_encoding = False
            elif name == b"connection" and value == b"close":
                self.keep_alive = False
                lines.pop()  # said once, below
        if self.chunked_encoding:
            lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        head = b"".join(lines)
        # A line break in a header would begin another one.
        if not head.count(b"\r") == head.count(b"\n") == len(lines):
            message = "a header of the answer holds a line break"
            raise RuntimeError(message)
        return head + b"\r\n"


_NO_BODY_STATUSES = frozenset({204, 304})


class _Corked:
    """A transport that holds the first write back until the next one, or the end of this turn of the event loop.

    The first write of an answer is its head, and its body nearly always follows at once: one packet, one system call.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        self._flushing: asyncio.Handle | None = None
        self.is_closing = transport.is_closing
        self.write: Callable[[bytes], None] = self._hold

    def close(self) -> None:
        """Close the connection after what is held."""
        self._flush()
        self._transport.close()

    def _hold(self, data: bytes) -> None:
        self._held = data
        self.write = self._join
        self._flushing = self._loop.call_soon(self._flush)

    def _join(self, data: bytes) -> None:
        self._held += data
        self._flush()

    def _flush(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        self.write = self._transport.write
        held, self._held = self._held, b""
        if held:
            self._transport.write(held)


class Line:
    """The connection of one request."""

    __slots__ = ("_cycle", "_protocol")

    def __init__(self, protocol: LineProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    @property
    def has_body(self) -> bool:
        """Whether the whole body of the request has come."""
        return not self._cycle.more_body

    @property
    def open(self) -> bool:
        """Whether chunks may be written now: the answer has begun, is chunked, and somebody reads it."""
        cycle = self._cycle
        return bool(cycle.chunked_encoding) and not cycle.disconnected and not cycle.response_complete

    def write(self, data: bytes) -> bool:
        """Send one chunk, `data` not empty; nothing when the client has gone. False: the client lags, wait."""
        cycle = self._cycle
        if not cycle.disconnected:
            cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return not cycle.flow.write_paused

    def when_writable(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` whenever a client that lagged has caught up; None: nobody."""
        # One answer at a time is under way on a connection, also where requests are pipelined.
        self._protocol.on_writable = callback

    def when_gone(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` when the client closes the connection, at once where it has; None: nobody."""
        self._protocol.on_gone = callback
        if callback is not None and self._cycle.disconnected:
            callback()


def line_of(scope: Scope) -> Line | None:
    """The line of a request, where its server offers one."""
    line = scope.get("extensions", {}).get(_EXTENSION)
    return line if isinstance(line, Line) else None
