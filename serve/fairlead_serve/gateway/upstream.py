"""The upstream half of the byte path: a small HTTP/1.1 client on asyncio protocols and httptools.

Why not a library: measured per streamed chunk, a gateway on aiohttp spends about twice, and on httpx five
times the CPU of this (`bench/byte_path.py` prints the ratio). It does what the gateway needs and no more:
keep-alive connections per origin, one request at a time on each, chunked or counted bodies, TLS. No
redirects, no cookies, no proxies, no compression.

Errors: `UpstreamUnreachable` before a connection is there, `UpstreamBroken` when it ends before the answer
does. Nothing else leaves this file (apart from cancellation).
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

from fairlead_serve.errors import FairleadError

# Above this many buffered bytes of an answer the socket is not read, until the client has taken them.
_HIGH_WATER = 256 * 1024
_NO_BODY_STATUSES = frozenset({204, 304})
# Head and body leave in one packet where copying them together is cheap.
_ONE_WRITE = 64 * 1024

Headers = Sequence[tuple[bytes, bytes]]


class UpstreamError(FairleadError):
    """An upstream did not answer as HTTP servers do."""


class UpstreamUnreachable(UpstreamError):  # noqa: N818 - named for what happened
    """No connection could be made."""


class UpstreamBroken(UpstreamError):  # noqa: N818
    """The connection ended, or spoke something else than HTTP, before the answer was whole.

    `answered` tells whether any byte of the answer had come; `reused` whether the connection had served
    before (an idle one may be closed by the other side at the moment of use).
    """

    def __init__(self, message: str, *, answered: bool, reused: bool) -> None:
        super().__init__(message)
        self.answered = answered
        self.reused = reused


@dataclass(frozen=True)
class Origin:
    """Where connections go: scheme, host and port of a URL, and the path that its requests start with."""

    host: str
    port: int
    tls: bool
    path: str

    @classmethod
    def parse(cls, url: str) -> "Origin":
        """Raises ValueError for anything but an http or https URL."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            message = f"{url!r} is not an http:// or https:// URL"
            raise ValueError(message)
        tls = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, parts.path.rstrip("/"))

    @property
    def authority(self) -> bytes:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.tls else 80
        return (host if self.port == default else f"{host}:{self.port}").encode()


class Answer:
    """One upstream answer: `status` and `headers` are there, the body is read with `chunk` or `read`.

    Also the object that httptools calls (`on_*`) while the connection feeds its parser.
    """

    def __init__(self, connection: "_Connection") -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._connection = connection
        self._parser = httptools.HttpResponseParser(self)
        self._loop = connection.loop
        self._parts: list[bytes] = []
        self._buffered = 0
        self._waiter: asyncio.Future[None] | None = None
        self._head_done = False
        self._until_close = False
        self._complete = False
        self._failure: str | None = None
        self._answered = False
        self._reused = connection.served > 1

    # --- for the gateway ---------------------------------------------------------------------------

    def header(self, name: bytes) -> bytes:
        """The value of the header `name` (lower case), b"" where it is not there."""
        return next((value for key, value in self.headers if key == name), b"")

    async def chunk(self) -> bytes | None:
        """All body bytes that have come since the last call, waiting for some; None at the end.

        Returns b"" when `poke` was called while it waited. Raises UpstreamBroken.
        """
        if not self._parts:
            if self._complete:
                return None
            if self._failure is not None:
                raise self._broken()
            await self._wait()
            if not self._parts:
                return b"" if not self._complete and self._failure is None else await self.chunk()
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._buffered = 0
        self._connection.resume()
        return data

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises UpstreamBroken, also when it is larger than `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        while (part := await self.chunk()) is not None:
            size += len(part)
            if size > limit:
                self.abort()
                message = f"the upstream's answer is larger than {limit} bytes"
                raise UpstreamBroken(message, answered=True, reused=False)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def poke(self) -> None:
        """Make a waiting `chunk` return b"" now."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def abort(self) -> None:
        """Give the answer up. Closes the connection unless the answer is whole: the upstream stops working."""
        if not self._complete:
            self._failure = self._failure or "given up"
            self._connection.close()

    # --- for the connection ------------------------------------------------------------------------

    async def head(self) -> None:
        """Wait until status and headers are there. Raises UpstreamBroken."""
        while not self._head_done:
            if self._failure is not None:
                raise self._broken()
            await self._wait()

    def feed(self, data: bytes) -> None:
        self._answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._failure = f"it speaks no HTTP ({error})"
            self._connection.close()
        if self._buffered > _HIGH_WATER:
            self._connection.pause()
        self.poke()

    def lost(self, reason: str, *, clean: bool) -> None:
        """The connection is gone."""
        if self._complete:
            return
        if self._until_close and self._head_done and clean:
            # No length and not chunked: the end of the connection is the end of the body (RFC 9112, 6.3).
            self._complete = True
        else:
            self._failure = self._failure or reason
        self.poke()

    async def _wait(self) -> None:
        self._waiter = waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _broken(self) -> UpstreamBroken:
        message = f"the upstream ended the connection: {self._failure}"
        return UpstreamBroken(message, answered=self._answered, reused=self._reused)

    # --- for httptools -----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            return  # 100 Continue and 103 Early Hints: the answer is still to come
        self.status = status
        framed = self.header(b"content-length") or b"chunked" in self.header(b"transfer-encoding").lower()
        self._until_close = not framed and status not in _NO_BODY_STATUSES
        self._head_done = True

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._buffered += len(body)

    def on_message_complete(self) -> None:
        if self._head_done and not self._complete:
            self._complete = True
            self._connection.done(reusable=self._parser.should_keep_alive() and not self._until_close)


class _Connection(asyncio.Protocol):
    """One connection, serving one `Answer` at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, became_idle: Callable[["_Connection"], None]) -> None:
        self.loop = loop
        self.served = 0
        self._became_idle = became_idle
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._paused = False

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, head: bytes, body: bytes) -> Answer:
        """Send one request and wait for the head of its answer. Raises UpstreamBroken."""
        self.served += 1
        self._answer = answer = Answer(self)
        transport = self._transport
        if transport is None:
            answer.lost("closed by the other side", clean=False)
        elif len(body) < _ONE_WRITE:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
        try:
            await answer.head()
        except asyncio.CancelledError:
            answer.abort()
            raise
        return answer

    def done(self, *, reusable: bool) -> None:
        """The answer is whole."""
        self._answer = None
        if reusable and self.usable:
            self.resume()
            self._became_idle(self)
        else:
            self.close()

    def pause(self) -> None:
        if not self._paused and self._transport is not None and self.usable:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and self._transport is not None and self.usable:
            self._paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is not None:
            self._answer.feed(data)
        else:
            # Bytes nobody asked for: the other side is confused, and so would the next request be.
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None:
            self._answer.lost(str(exc) if exc else "closed by the other side", clean=exc is None)


class UpstreamClient:
    """Keep-alive connections to any number of origins, on one event loop.

    `connect_seconds` bounds the making of a connection; `max_idle` how many unused ones are kept an origin.
    """

    def __init__(self, *, connect_seconds: float, max_idle: int, tls: ssl.SSLContext | None = None) -> None:
        self._connect_seconds = connect_seconds
        self._max_idle = max_idle
        self._tls = tls
        self._idle: dict[tuple[str, int, bool], deque[_Connection]] = {}

    async def request(self, origin: Origin, method: str, path: str, headers: Headers, body: bytes = b"") -> Answer:
        """Send a request to `origin.path + path`; returns when the head of the answer is there.

        `host` and `content-length` are added. Raises UpstreamUnreachable and UpstreamBroken. A kept connection
        that the other side closed before answering a byte is replaced once, silently.
        """
        head = _head(origin, method, path, headers, len(body))
        connection = self._take(origin)
        if connection is not None:
            try:
                return await connection.exchange(head, body)
            except UpstreamBroken as error:
                if error.answered:
                    raise
        connection = await self._connect(origin)
        return await connection.exchange(head, body)

    async def fetch(
        self, origin: Origin, path: str, headers: Headers, *, limit: int, seconds: float
    ) -> tuple[int, bytes]:
        """GET a small answer whole: (status, body). Raises UpstreamError, also after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                answer = await self.request(origin, "GET", path, headers)
                try:
                    return answer.status, await answer.read(limit)
                finally:
                    answer.abort()
        except TimeoutError:
            message = f"no answer from {origin.host}:{origin.port} within {seconds:g} s"
            raise UpstreamError(message) from None

    def close(self) -> None:
        """Close every unused connection."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    def _take(self, origin: Origin) -> _Connection | None:
        connections = self._idle.get((origin.host, origin.port, origin.tls))
        while connections:
            # The newest: the longer one is unused, the sooner it may go.
            connection = connections.pop()
            if connection.usable:
                return connection
        return None

    async def _connect(self, origin: Origin) -> _Connection:
        key = (origin.host, origin.port, origin.tls)

        def idle(connection: _Connection) -> None:
            kept = self._idle.setdefault(key, deque())
            if len(kept) >= self._max_idle:
                kept.popleft().close()
            kept.append(connection)

        loop = asyncio.get_running_loop()
        tls = (self._tls or ssl.create_default_context()) if origin.tls else None
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop, idle), origin.host, origin.port, ssl=tls
                )
        except TimeoutError as error:
            message = f"{origin.host}:{origin.port} took no connection within {self._connect_seconds:g} s"
            raise UpstreamUnreachable(message) from error
        except OSError as error:
            message = f"{origin.host}:{origin.port} takes no connection: {error.strerror or error}"
            raise UpstreamUnreachable(message) from error
        return connection


def _head(origin: Origin, method: str, path: str, headers: Headers, length: int) -> bytes:
    lines = [
        b"%s %s%s HTTP/1.1\r\nhost: %s\r\n" % (method.encode(), origin.path.encode(), path.encode(), origin.authority)
    ]
    lines += [b"%s: %s\r\n" % header for header in headers]
    if length or method not in {"GET", "HEAD"}:
        lines.append(b"content-length: %d\r\n" % length)
    lines.append(b"\r\n")
    return b"".join(lines)
