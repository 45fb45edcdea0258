"""The synthetic upstream: an engine that costs next to nothing and keeps time. `python -m bench.upstream`.

Speaks just enough HTTP/1.1 for the proxies of this benchmark: keep-alive, counted request bodies, no pipelining.
A stream gets its first token at once and then one at each tick, all streams at the same one, as the steps of a
real engine do. A tick that comes too late is not made up for.
"""

import argparse
import asyncio
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import cast

import uvloop

from bench import answers

TICK_SECONDS = 0.01

_EVENT_STREAM = (
    b"HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\nserver: uvicorn\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)


@dataclass(frozen=True)
class Request:
    """One request as far as the upstream cares: `rest` is what came after it."""

    method: str
    path: str
    body: bytes
    rest: bytes


def parse_request(received: bytes) -> Request | None:
    """The first request in `received`; None while it is not whole. Raises ValueError for what is no request."""
    head, found, after = received.partition(b"\r\n\r\n")
    if not found:
        return None
    line, *headers = head.split(b"\r\n")
    method, path, _ = line.decode("latin-1").split(" ")
    length = 0
    for header in headers:
        name, _, value = header.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    if len(after) < length:
        return None
    return Request(method, path, after[:length], after[length:])


def counted(body: bytes, *, status: str = "200 OK") -> bytes:
    """A JSON answer with its length."""
    head = (
        f"HTTP/1.1 {status}\r\nserver: uvicorn\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def chunked(part: bytes) -> bytes:
    """One chunk of a chunked body; b"" ends the body."""
    return b"%x\r\n%b\r\n" % (len(part), part)


class Ticker:
    """Calls every stream that is running, once each TICK_SECONDS."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._streams: set[Connection] = set()
        self._due = 0.0

    def add(self, stream: "Connection") -> None:
        """Begin to call `stream`."""
        if not self._streams:
            self._due = self._loop.time()
            self._schedule()
        self._streams.add(stream)

    def remove(self, stream: "Connection") -> None:
        """Stop calling `stream`."""
        self._streams.discard(stream)

    def _schedule(self) -> None:
        self._due = max(self._due + TICK_SECONDS, self._loop.time())
        self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        for stream in list(self._streams):
            stream.step()
        if self._streams:
            self._schedule()


class Connection(asyncio.Protocol):
    """One connection of a proxy or a client."""

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._parts: Iterator[bytes] = iter(())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio.Protocol's signature
        self._transport = None
        self._ticker.remove(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (request := parse_request(self._received)) is not None:
            self._received = request.rest
            self._answer(request)

    def step(self) -> None:
        """Send the next part of the stream."""
        part = next(self._parts, None)
        if part is None:
            self._ticker.remove(self)
        elif self._transport is not None:
            self._transport.write(part)

    def _answer(self, request: Request) -> None:
        assert self._transport is not None
        if request.method == "GET":
            body = b'["generate"]' if request.path.endswith("/fairlead/tasks") else b"{}"
            self._transport.write(counted(body))
            return
        wanted = json.loads(request.body)
        if not wanted.get("stream"):
            self._transport.write(counted(answers.whole_body()))
            return
        self._parts = iter(_stream(wanted["max_tokens"]))
        self.step()
        self._ticker.add(self)


@cache
def _stream(tokens: int) -> tuple[bytes, ...]:
    """The parts of a stream as they go over the wire."""
    parts = [chunked(event) for event in answers.events(tokens)]
    parts[0] = _EVENT_STREAM + parts[0]
    parts[-1] += chunked(b"")
    return tuple(parts)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    ticker = Ticker(loop)
    server = await loop.create_server(lambda: Connection(ticker), "127.0.0.1", port, backlog=4096)
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_signal_handler(signal.SIGINT, stopped.set)
    print(f"Ready: http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stopped.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="A synthetic engine: one token each 10 ms a stream.")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0: any free one")
    uvloop.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
