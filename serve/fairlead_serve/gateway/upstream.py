"""The upstream half of the byte path: a small HTTP/1.1 client on asyncio protocols and httptools.

Why not a library: none hands its bytes on from the socket's own callback, and a task woken for every chunk costs
more than the chunk; `bench` prints the ratio to the same relay on FastAPI and aiohttp. It does what the gateway needs
and no more: keep-alive connections per origin, one request at a time on each, chunked or counted bodies, TLS. No
redirects, no cookies, no proxies, no compression.

Errors: `UpstreamUnreachable` before a connection is there, `UpstreamBroken` when it ends before the answer
does, `AnswerTooLarge` when a bound is given. Nothing else leaves this file (apart from cancellation).
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

from fairlead_serve.asgi import header_of
from fairlead_serve.errors import FairleadError

# Above this many buffered bytes of an answer the socket is not read, until the client has taken them.
_HIGH_WATER = 256 * 1024
# Longer than any head that a server means to send.
_MAX_HEAD = 64 * 1024
_NO_BODY_STATUSES = frozenset({204, 304})
# Head and body leave in one packet where copying them together is cheap.
_ONE_WRITE = 64 * 1024
# A machine that dies says nothing, and an engine that computes says nothing either: the kernel asks, and gives up after
# half a minute. Its options, where the system has them; the last one, in milliseconds, is for what was sent before.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}

Headers = Sequence[tuple[bytes, bytes]]


class UpstreamError(FairleadError):
    """An upstream did not answer as HTTP servers do. `sent`: how often it may have seen the request."""

    def __init__(self, message: str, *, sent: int = 0) -> None:
        super().__init__(message)
        self.sent = sent


class UpstreamUnreachable(UpstreamError):  # noqa: N818 - named for what happened
    """No connection could be made."""


class UpstreamBroken(UpstreamError):  # noqa: N818
    """The connection ended, or spoke something else than HTTP, before the answer was whole.

    `answered` tells whether any byte of the answer had come.
    """

    def __init__(self, message: str, *, sent: int, answered: bool) -> None:
        super().__init__(message, sent=sent)
        self.answered = answered


class AnswerTooLarge(UpstreamError):  # noqa: N818
    """The answer is larger than the reader can hold."""


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
        self.sent = 1
        self.headers: list[tuple[bytes, bytes]] = []
        self._connection = connection
        self._parser = httptools.HttpResponseParser(self)
        self._loop = connection.loop
        self._parts: list[bytes] = []
        self._buffered = 0
        self._waiter: asyncio.Future[None] | None = None
        self._poked = False
        self._sink: Callable[[bytes], bool] | None = None
        self._head_bytes = 0
        self._head_done = False
        self._until_close = False
        self._complete = False
        self._failure: str | None = None
        self._answered = False

    # --- for the gateway ---------------------------------------------------------------------------

    def header(self, name: bytes) -> bytes:
        """The value of the header `name` (lower case), b"" where it is not there."""
        return header_of(self.headers, name)

    async def chunk(self) -> bytes | None:
        """All body bytes that have come since the last call, waiting for some; None at the end.

        Returns b"" when `poke` was called while it waited. Raises UpstreamBroken.
        """
        while not self._parts:
            if self._complete:
                return None
            if self._failure is not None:
                raise self._broken()
            await self._wait()
            poked, self._poked = self._poked, False
            if poked and not self._parts:
                return b""
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._buffered = 0
        if not self._complete:  # else the connection may be somebody else's by now
            self._connection.resume()
        return data

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises UpstreamBroken, and AnswerTooLarge when it is larger than `limit` bytes."""
        parts: list[bytes] = []
        size = 0
        while (part := await self.chunk()) is not None:
            size += len(part)
            if size > limit:
                self.abort()
                message = f"the upstream's answer is larger than {limit} bytes"
                raise AnswerTooLarge(message, sent=self.sent)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def pipe(self, sink: Callable[[bytes], bool]) -> bool:
        """Hand body bytes to `sink` as they come, from the socket's own callback, until it returns False.

        True: the body has ended. False: `sink` wants no more for now, or `poke` was called. What comes after that
        waits for the next `pipe` or `chunk`. Raises UpstreamBroken.
        """
        self._sink = sink
        try:
            self._pour()
            while self._sink is not None and not self._complete:
                if self._failure is not None:
                    raise self._broken()
                await self._wait()
                poked, self._poked = self._poked, False
                if poked:
                    return False
            return self._sink is not None
        finally:
            self._sink = None

    def hold(self) -> None:
        """Read no more until `release`: who takes the bytes is behind."""
        if not self._complete:
            self._connection.pause()

    def release(self) -> None:
        """Go on after `hold`."""
        if not self._complete:
            self._connection.resume()

    def poke(self) -> None:
        """Make a waiting `chunk` return b"", or a waiting `pipe` return False, now."""
        if self._waiter is not None:
            self._poked = True
            self._wake()

    def abort(self) -> None:
        """Give the answer up. Closes the connection unless the answer is whole: the upstream stops working."""
        if not self._complete:
            self._give_up("given up")

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
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._give_up(f"it speaks no HTTP that was asked for ({error})")
        if self._sink is not None:
            self._pour()
            if self._sink is None or self._complete or self._failure is not None:
                self._wake()
            return
        if not self._head_done:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD:
                self._give_up(f"its headers are longer than {_MAX_HEAD} bytes")
        # A whole answer may wait as long as it likes: its connection is free, and may be in use again.
        if self._buffered > _HIGH_WATER and not self._complete:
            self._connection.pause()
        self._wake()

    def lost(self, reason: str, *, clean: bool) -> None:
        """The connection is gone."""
        if self._complete:
            return
        if self._until_close and self._head_done and clean:
            # No length and not chunked: the end of the connection is the end of the body (RFC 9112, 6.3).
            self._complete = True
        else:
            self._failure = self._failure or reason
        self._wake()

    def _pour(self) -> None:
        parts = self._parts
        if not parts or self._sink is None:
            return
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._buffered = 0
        if not self._sink(data):
            self._sink = None

    def _give_up(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._connection.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _broken(self) -> UpstreamBroken:
        message = f"the upstream ended the connection: {self._failure}"
        return UpstreamBroken(message, sent=self.sent, answered=self._answered)

    # --- for httptools -----------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            message = "a second answer to one request"
            raise ValueError(message)  # httptools hands it on as its own error
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

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: "_Pool") -> None:
        self.loop = loop
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._paused = False

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, head: bytes, body: bytes) -> Answer:
        """Send one request and wait for the head of its answer. Raises UpstreamBroken."""
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
            self._pool.keep(self)
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
        _keep_alive(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        if self._answer is not None:
            self._answer.feed(data)
        else:
            # Bytes nobody asked for: the other side is confused, and so would the next request be.
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._pool.forget(self)
        if self._answer is not None:
            self._answer.lost(str(exc) if exc else "closed by the other side", clean=exc is None)


class _Pool:
    """The unused connections to one origin, at most `limit` of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # A dict for its order: connections come back in the order of their use, and are lost in any.
        self._idle: dict[_Connection, None] = {}

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> _Connection | None:
        """The newest: the longer one is unused, the sooner the other side closes it."""
        while self._idle:
            connection, _ = self._idle.popitem()
            if connection.usable:
                return connection
        return None

    def keep(self, connection: _Connection) -> None:
        """Keep `connection`; the one unused the longest is closed where that is one too many."""
        self._idle[connection] = None
        if len(self._idle) > self._limit:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.close()

    def forget(self, connection: _Connection) -> None:
        """`connection` is gone."""
        self._idle.pop(connection, None)

    def close(self) -> None:
        """Close all, and keep none from now on."""
        self._limit = 0
        for connection in tuple(self._idle):
            connection.close()
        self._idle.clear()


class UpstreamClient:
    """Keep-alive connections to any number of origins, on one event loop.

    `connect_seconds` bounds the making of a connection; `max_idle` how many unused ones are kept an origin.
    """

    def __init__(self, *, connect_seconds: float, max_idle: int, tls: ssl.SSLContext | None = None) -> None:
        self._connect_seconds = connect_seconds
        self._max_idle = max_idle
        self._tls = tls
        self._pools: dict[tuple[str, int, bool], _Pool] = {}

    @property
    def idle(self) -> int:
        """How many unused connections are kept."""
        return sum(map(len, self._pools.values()))

    async def request(
        self, origin: Origin, method: str, path: str, headers: Headers, body: bytes = b"", *, fresh: bool = False
    ) -> Answer:
        """Send a request to `origin.path + path`; returns when the head of the answer is there.

        `host` and `content-length` are added. Raises UpstreamUnreachable and UpstreamBroken. A kept connection
        that the other side closed before answering a byte is replaced once, silently; `fresh` uses none.
        """
        head = _head(origin, method, path, headers, len(body))
        pool = self._pool(origin)
        sent = 0
        connection = None if fresh else pool.take()
        if connection is not None:
            try:
                return await connection.exchange(head, body)
            except UpstreamBroken as error:
                if error.answered:
                    raise
                sent = error.sent
        try:
            connection = await self._connect(origin, pool)
            answer = await connection.exchange(head, body)
        except UpstreamError as error:
            error.sent += sent
            raise
        answer.sent += sent
        return answer

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

    def drop(self, origin: Origin) -> None:
        """Close the unused connections to `origin`, and those in use as soon as they are unused."""
        pool = self._pools.pop(_key(origin), None)
        if pool is not None:
            pool.close()

    def close(self) -> None:
        """Close every unused connection, and those in use as soon as they are unused."""
        for pool in self._pools.values():
            pool.close()

    def _pool(self, origin: Origin) -> _Pool:
        key = _key(origin)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = _Pool(self._max_idle)
        return pool

    async def _connect(self, origin: Origin, pool: _Pool) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop, pool), origin.host, origin.port, ssl=self._tls_of(origin)
                )
        except TimeoutError as error:
            message = f"{origin.host}:{origin.port} took no connection within {self._connect_seconds:g} s"
            raise UpstreamUnreachable(message) from error
        except (OSError, UnicodeError) as error:  # the latter: a name that no host can have
            reason = getattr(error, "strerror", None) or error
            message = f"{origin.host}:{origin.port} takes no connection: {reason}"
            raise UpstreamUnreachable(message) from error
        return connection

    def _tls_of(self, origin: Origin) -> ssl.SSLContext | None:
        if not origin.tls:
            return None
        if self._tls is None:
            # Reads every certificate authority of the system: once, not once a connection.
            self._tls = ssl.create_default_context()
        return self._tls


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _key(origin: Origin) -> tuple[str, int, bool]:
    return origin.host, origin.port, origin.tls


def _head(origin: Origin, method: str, path: str, headers: Headers, length: int) -> bytes:
    lines = [
        b"%s %s%s HTTP/1.1\r\nhost: %s\r\n" % (method.encode(), origin.path.encode(), path.encode(), origin.authority)
    ]
    lines += [b"%s: %s\r\n" % header for header in headers]
    if length or method not in {"GET", "HEAD"}:
        lines.append(b"content-length: %d\r\n" % length)
    lines.append(b"\r\n")
    return b"".join(lines)
