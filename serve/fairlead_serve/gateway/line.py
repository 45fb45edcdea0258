"""A client's connection in the middle of a stream, as an ASGI extension: written to from anywhere, without awaiting.

ASGI's `send` belongs to the task of a request, and waking that task for every chunk costs more than the chunk itself
(`bench` prints `gateway_us_per_chunk_128`). With a line the upstream's callback writes to the client's socket. The
beginning and the end of an answer stay with `send`, so uvicorn's own account of the answer stays right.

A server that offers no line (another one than ours, or HTTP/1.0 clients, whose answers are not chunked) is served by
`send` alone.
"""

from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from fairlead_serve.asgi import Scope

_EXTENSION = "fairlead.line"


class LineProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a line in the scope of every request."""

    on_writable: Callable[[], None] | None = None

    def on_headers_complete(self) -> None:
        # The task that reads the scope is made in here, and runs later.
        super().on_headers_complete()
        if self.cycle is not None:
            scope = cast(dict[str, Any], self.scope)
            scope["extensions"] = {_EXTENSION: Line(self, self.cycle)}

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.on_writable is not None:
            self.on_writable()


class Line:
    """The connection of one request."""

    __slots__ = ("_cycle", "_protocol")

    def __init__(self, protocol: LineProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

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


def line_of(scope: Scope) -> Line | None:
    """The line of a request, where its server offers one."""
    line = scope.get("extensions", {}).get(_EXTENSION)
    return line if isinstance(line, Line) else None
