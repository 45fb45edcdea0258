"""A client's connection, in the scope of its requests: written to without awaiting, and heard of when it ends.

ASGI's `send` belongs to the task of a request, and waking that task for every chunk costs more than the chunk itself
(`bench` prints `gateway_us_per_chunk_128`). With a line the upstream's callback writes to the client's socket. The
beginning and the end of an answer stay with `send`, so uvicorn's own account of the answer stays right.

For the same reason the head of an answer leaves in one write with what follows it, and nobody waits for a client to
leave: a callback tells.

A server that offers no line (another one than ours) is served by `send` alone, and so are clients of HTTP/1.0: their
answers are not chunked, and the line never opens.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from fairlead_serve.asgi import NO_BODY_STATUSES, Scope

_LINE = "fairlead.line"


class LineProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a line in the scope of every request."""

    on_writable: Callable[[], None] | None = None
    on_gone: Callable[[], None] | None = None
    gone = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.transport = cast(asyncio.Transport, _Corked(transport, self.loop))
        self._line = Line(self)

    def on_headers_complete(self) -> None:
        # The task that reads the scope is made in here, and runs later.
        super().on_headers_complete()
        if self.cycle is not None:
            # uvicorn makes its cycles by a name of its own; this class adds methods and one default.
            self.cycle.__class__ = _Cycle
            self.scope[_LINE] = self._line  # type: ignore[literal-required]  # a key of ours

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.gone = True
        if self.on_gone is not None:
            self.on_gone()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.on_writable is not None:
            self.on_writable()


class _Cycle(RequestResponseCycle):
    """uvicorn's, which writes the head of an answer with fewer steps: two searches for each header become one count.

    Clients of HTTP/1.0 know no chunks (RFC 9112, 6.1): the end of the connection ends a body of unknown length.
    """

    transport: Any  # a _Corked
    until_close = False

    def send(self, message: Any) -> Coroutine[Any, Any, None]:
        if message["type"] == "http.response.start" and not self._is_special(message["status"]):
            return self._begin(message)
        if self.until_close:
            # uvicorn counts what it may still write.
            self.expected_content_length = len(message.get("body", b""))
        return super().send(message)

    async def _begin(self, message: Any) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        head = self._head(message["status"], [*self.default_headers, *message.get("headers", ())])
        self.transport.cork(head)

    def _is_special(self, status: int) -> bool:
        return (
            self.response_started
            or self.disconnected
            or self.flow.write_paused
            or status in NO_BODY_STATUSES
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
        if self.chunked_encoding and self.scope["http_version"] == "1.0":
            self.chunked_encoding, self.until_close = False, True
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


class _Corked:
    """A transport that can hold the head of an answer back until the next write, or the end of this turn of the loop.

    The body nearly always follows at once: one packet, one system call.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        self._flushing: asyncio.Handle | None = None
        self.is_closing = transport.is_closing
        self.abort = transport.abort
        self.write: Callable[[bytes], None] = transport.write

    def cork(self, head: bytes) -> None:
        """Write `head` with what comes next."""
        self._held = head
        self._flushing = self._loop.call_soon(self._write, b"")
        self.write = self._write

    def close(self) -> None:
        """Close the connection after what is held."""
        if self._held:
            self._write(b"")
        self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        held, self._held = self._held, b""
        self.write = self._transport.write
        if not self._transport.is_closing():  # uvloop raises where the connection has gone meanwhile
            self._transport.write(held + data)


class Line:
    """The connection, for the request that is being answered on it: one at a time, also where they are pipelined.

    uvicorn's newest request is another one then, whose answer has not begun: the line is not `open`.
    """

    __slots__ = ("_protocol",)

    def __init__(self, protocol: LineProtocol) -> None:
        self._protocol = protocol

    @property
    def has_body(self) -> bool:
        """Whether the whole body of the request has come.

        Asks the newest one: where that is another, pipelined behind it, the request itself is whole.
        """
        return not self._protocol.cycle.more_body

    @property
    def open(self) -> bool:
        """Whether chunks may be written now: the answer has begun, is chunked, and somebody reads it."""
        cycle = self._protocol.cycle
        return bool(cycle.chunked_encoding) and not cycle.disconnected and not cycle.response_complete

    def write(self, data: bytes) -> bool:
        """Send one chunk, `data` not empty; nothing when the client has gone. False: the client lags, wait."""
        protocol = self._protocol
        if not protocol.gone:
            protocol.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return not protocol.flow.write_paused

    def when_writable(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` whenever a client that lagged has caught up; None: nobody."""
        self._protocol.on_writable = callback

    def when_gone(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` when the client closes the connection, at once where it has; None: nobody."""
        self._protocol.on_gone = callback
        if callback is not None and self._protocol.gone:
            callback()


def line_of(scope: Scope) -> Line | None:
    """The line of a request, where its server offers one."""
    line: Line | None = scope.get(_LINE)
    return line
