"""A synthetic upstream: a real server on a free port of 127.0.0.1 whose every byte a test decides.

What happens with a request is a coroutine of the test (its script), which sends bytes, waits for events of the
test's own, or hangs up. The health and task routes of engines are answered without it.
"""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead_serve.internal import TASKS_PATH

STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
END_OF_CHUNKS = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def event(text: str) -> bytes:
    """One streamed delta as vLLM words it, with `text` in it as UTF-8."""
    document = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [{"delta": {"content": text}}]}
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def vllm_error(message: str, status: int, *, kind: str = "BadRequestError", param: str | None = None) -> dict[str, Any]:
    """An error body as vLLM 0.32 makes it: the code is a number."""
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


@dataclass(frozen=True)
class Request:
    """What the gateway sent; the names of `headers` are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Exchange:
    """One connection of the gateway, at the upstream's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def request(self) -> Request | None:
        """The next request; None when the gateway has closed."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
            line, *lines = head.decode("latin-1").rstrip().split("\r\n")
            if any("\n" in one for one in lines):
                return None  # a server in earnest would refuse it too
            headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        method, path, _ = line.split(" ")
        return Request(method, path, headers, body)

    async def send(self, data: bytes) -> None:
        """These bytes, in one write."""
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self, body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """A whole answer: bytes as they are, anything else as JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"content-type": "application/json", "content-length": str(len(raw))} | (headers or {})
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.send(f"HTTP/1.1 {status} Status\r\n{lines}\r\n".encode() + raw)

    async def stream(self, *events: bytes) -> None:
        """A whole stream: its head, each of `events` in a chunk, [DONE], the end."""
        await self.begin_stream()
        await self.chunks(*events, DONE)
        await self.send(END_OF_CHUNKS)

    async def begin_stream(self) -> None:
        await self.send(STREAM_HEAD)

    async def chunks(self, *data: bytes) -> None:
        """Each of `data` as a chunk of its own, in a write of its own."""
        for one in data:
            await self.send(chunk(one))

    async def gone(self) -> None:
        """Wait until the gateway has closed this connection."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(65536):
                pass

    async def close(self) -> None:
        """Close in an orderly way: the gateway reads everything, then the end."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def reset(self) -> None:
        """Cut the connection as a killed machine does."""
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()

    @property
    def closing(self) -> bool:
        return self._writer.is_closing()


Script = Callable[[Exchange, Request], Awaitable[None]]


class Upstream:
    """The server. Use as an async context manager; `requests` are those that the script got, in order."""

    def __init__(self, script: Script, *, tasks: Sequence[str] = ("generate",)) -> None:
        self.requests: list[Request] = []
        self.probes: list[Request] = []
        self.connections = 0
        self.open = 0
        self.healthy = True
        self._script = script
        self._answer_tasks = list(tasks)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> "Upstream":
        await self.listen()
        return self

    async def listen(self) -> None:
        """Take connections; again on the same port after `stop`."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Take no more connections, and drop those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:
            # Taken just before `stop`, whose look at the tasks came before this one's first step.
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.open += 1
        exchange = Exchange(reader, writer)
        try:
            with contextlib.suppress(ConnectionError):
                while not exchange.closing and (request := await exchange.request()) is not None:
                    await self._handle(exchange, request)
        except asyncio.CancelledError:
            pass  # `stop`; what asyncio makes of a cancelled connection is of no interest
        finally:
            self.open -= 1
            writer.transport.abort()

    async def _handle(self, exchange: Exchange, request: Request) -> None:
        if request.method != "GET":
            self.requests.append(request)
            await self._script(exchange, request)
            return
        self.probes.append(request)
        if request.path.endswith(TASKS_PATH):
            await exchange.answer(self._answer_tasks)
        else:
            await exchange.answer({}, status=200 if self.healthy else 503)
