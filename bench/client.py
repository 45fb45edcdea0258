"""The load client's connection: as little work per byte as a correct count allows, so that it never is the limit."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

from bench.errors import BenchError


@dataclass(frozen=True)
class Target:
    """A server to measure: where it listens, the process that its CPU time is read from (None: not read), its key."""

    name: str
    host: str
    port: int
    pid: int | None = None
    key: str = ""

    @classmethod
    def at(cls, name: str, url: str, pid: int | None = None, *, key: str = "") -> "Target":
        """From a URL such as http://127.0.0.1:8000/v1; its path plays no part."""
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"{url!r} names no host and port")
        return cls(name, parts.hostname, parts.port, pid, key)

    def post(self, path: str, body: bytes) -> bytes:
        """A whole request with a JSON body."""
        authorization = f"authorization: Bearer {self.key}\r\n" if self.key else ""
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\nuser-agent: fairlead-bench\r\n"
            f"accept: */*\r\n{authorization}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass
class Exchange:
    """One request and what has come of its answer so far. Times are of `time.perf_counter`, in seconds."""

    began: float
    done: asyncio.Future[None]
    status: int = 0
    first_event: float = 0.0
    ended: float = 0.0
    events: int = 0
    reads: int = 0
    parts: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    @property
    def first_token_seconds(self) -> float:
        """From the request to the end of the first event."""
        return self.first_event - self.began


class Connection(asyncio.Protocol):
    """One kept connection to a target, one request at a time. Also the object that httptools calls (`on_*`)."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._exchange: Exchange | None = None

    @classmethod
    async def open(cls, target: Target) -> "Connection":
        """Raises BenchError when nobody listens."""
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: cls(target), target.host, target.port
            )
        except OSError as error:
            raise BenchError(f"{target.name} takes no connection: {error}") from error
        return connection

    def send(self, request: bytes) -> Exchange:
        """Send a request; its answer fills the exchange. Raises BenchError when the connection is gone."""
        if self._transport is None or self._transport.is_closing():
            raise BenchError(f"{self._target.name} closed a connection that was to be used again")
        exchange = Exchange(time.perf_counter(), asyncio.get_running_loop().create_future())
        self._exchange = exchange
        self._transport.write(request)
        return exchange

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- asyncio.Protocol ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self.close()
            return
        exchange.reads += 1
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"{self._target.name} speaks no HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail(f"{self._target.name} closed the connection before its answer was whole ({exc or 'no reason'})")

    def _fail(self, why: str) -> None:
        exchange = self._exchange
        if exchange is not None and not exchange.done.done():
            exchange.done.set_exception(BenchError(why))

    # --- httptools ----------------------------------------------------------------------------------------------------

    def on_body(self, body: bytes) -> None:
        exchange = self._exchange
        assert exchange is not None
        if not exchange.parts:
            exchange.first_event = time.perf_counter()
        exchange.parts.append(body)
        # An event cut in two between its line ends would not be counted: nobody here cuts there, and what is counted is
        # compared with the whole text afterwards.
        exchange.events += body.count(b"\n\n")

    def on_message_complete(self) -> None:
        exchange = self._exchange
        assert exchange is not None
        exchange.status = self._parser.get_status_code()
        exchange.ended = time.perf_counter()
        if not exchange.done.done():
            exchange.done.set_result(None)
