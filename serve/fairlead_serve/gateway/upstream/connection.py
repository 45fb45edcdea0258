"""A connection to an upstream, and those that are kept for the next request."""

import asyncio
import socket
from typing import cast

import httptools

from fairlead_serve.asgi import NO_BODY_STATUSES, header_of
from fairlead_serve.gateway.upstream.answer import Answer

# Longer than any head that a server means to send.
_MAX_HEAD = 64 * 1024
# Head and body leave in one packet where copying them together is cheap.
_ONE_WRITE = 64 * 1024
# A machine that dies says nothing, and an engine that computes says nothing either: the kernel asks, and gives up after
# half a minute. Its options, where the system has them; the last one, in milliseconds, is for what was sent before.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}


class Connection(asyncio.Protocol):
    """One connection, serving one `Answer` at a time. Also the object that httptools calls (`on_*`)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: "Pool") -> None:
        self._loop = loop
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._paused = False
        # Of the answer that is under way, None between two.
        self._answer: Answer | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._until_close = False
        # Of the body, in the bytes at hand.
        self._parts: list[bytes] = []

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def _has_sent_all(self) -> bool:
        """Whether it is usable and the request has left it whole, which one that is refused early may not have."""
        return self._transport is not None and self.usable and not self._transport.get_write_buffer_size()

    async def exchange(self, head: bytes, body: bytes) -> Answer:
        """Send one request and wait for the head of its answer. Raises UpstreamBroken."""
        self._answer = answer = Answer(self, self._loop)
        self._head_bytes = 0
        transport = self._transport
        if transport is None:
            answer.fail("closed by the other side")
        elif len(body) < _ONE_WRITE:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        try:
            await answer.begun()
        except asyncio.CancelledError:
            answer.abort()
            raise
        return answer

    def pause(self) -> None:
        """See Wire."""
        if not self._paused and self._transport is not None and self.usable:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """See Wire."""
        if self._paused and self._transport is not None and self.usable:
            self._paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        """See Wire."""
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        _keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            # Bytes nobody asked for: the other side is confused, and so would the next request be.
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._refuse(answer, f"it speaks no HTTP that was asked for ({error})")
        if not answer.status:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD:
                self._refuse(answer, f"its headers are longer than {_MAX_HEAD} bytes")
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        answer.receive(body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._pool.forget(self)
        answer = self._answer
        if answer is None:
            return
        if self._until_close and exc is None:
            # No length and not chunked: the end of the connection is the end of the body (RFC 9112, 6.3).
            answer.end()
            answer.receive(b"")
        else:
            answer.fail(str(exc) if exc else "closed by the other side")

    def _refuse(self, answer: Answer, why: str) -> None:
        self.close()
        answer.fail(why)

    # --- for httptools -----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._answer is None:
            message = "a second answer to one request"
            raise ValueError(message)  # httptools hands it on as its own error
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer is not None and not self._answer.status:  # else it is a trailer, which nobody asked for
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or self._answer is None:
            return  # 100 Continue and 103 Early Hints: the answer is still to come
        headers = self._headers
        framed = header_of(headers, b"content-length") or b"chunked" in header_of(headers, b"transfer-encoding").lower()
        self._until_close = not framed and status not in NO_BODY_STATUSES
        self._answer.begin(status, headers)

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer is None or not answer.status:
            return
        answer.end()
        self._answer = None
        if self._parser.should_keep_alive() and not self._until_close and self._has_sent_all:
            self.resume()
            self._pool.keep(self)
        else:
            self.close()


class Pool:
    """The unused connections to one origin, at most `limit` of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # A dict for its order: connections come back in the order of their use, and are lost in any.
        self._idle: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> Connection | None:
        """The newest: the longer one is unused, the sooner the other side closes it."""
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable:
                return connection
        return None

    def keep(self, connection: Connection) -> None:
        """Keep `connection`; the one unused the longest is closed where that is one too many."""
        self._idle[connection] = None
        if len(self._idle) > self._limit:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.close()

    def forget(self, connection: Connection) -> None:
        """`connection` is gone."""
        self._idle.pop(connection, None)

    def close(self) -> None:
        """Close all, and keep none from now on."""
        self._limit = 0
        for connection in tuple(self._idle):
            connection.close()
        self._idle.clear()


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
