"""An HTTP/1.1 client that shows a test what came, chunk by chunk, and leaves when the test says so."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """What came. `headers` in the order of the wire, their names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """The error object; fails where the answer is anything but OpenAI's form of an error."""
        document = self.json
        assert list(document) == ["error"]
        error = document["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        assert error["message"]
        assert isinstance(error["type"], str)
        assert isinstance(error["param"], str | None)
        assert isinstance(error["code"], str | None)
        return error

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} is there more than once"
        return values[0] if values else None


class Client:
    """One connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._chunked = False
        self._left = 0

    @classmethod
    async def connect(cls, url: str, *, receive_buffer: int | None = None) -> "Client":
        """`receive_buffer`: bytes that the system may hold for a client that does not read."""
        parts = urlsplit(url)
        connection = socket.socket()
        connection.setblocking(False)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(connection, (parts.hostname, parts.port))
        except OSError:
            connection.close()
            raise
        return cls(*await asyncio.open_connection(sock=connection, limit=receive_buffer or 2**20))

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def request(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a request; `body`: bytes as they are, anything else as JSON."""
        raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"host": "gateway"}
        if body is not None:
            fields |= {"content-type": "application/json", "content-length": str(len(raw))}
        fields |= headers or {}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
        await self.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + raw)

    async def post(self, path: str, body: Any, *, headers: Mapping[str, str] | None = None) -> Answer:
        await self.request("POST", path, body, headers=headers)
        return await self.answer()

    async def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        await self.request("GET", path, headers=headers)
        return await self.answer()

    async def head(self) -> Answer:
        """Status and headers of the next answer; its body is read with `piece` or `rest`."""
        raw = await self._reader.readuntil(b"\r\n\r\n")
        line, *lines = raw.decode("latin-1").rstrip().split("\r\n")
        headers = [(name.lower(), value.strip()) for name, _, value in (one.partition(":") for one in lines)]
        fields = dict(headers)
        self._chunked = fields.get("transfer-encoding") == "chunked"
        self._left = int(fields.get("content-length", "0"))
        return Answer(int(line.split(" ")[1]), headers)

    async def piece(self) -> bytes | None:
        """The next chunk; None at the end of the body."""
        if self._chunked:
            size = int(await self._reader.readline(), 16)
            data = await self._reader.readexactly(size + 2)
            return data[:-2] or None
        size, self._left = self._left, 0
        return await self._reader.readexactly(size) or None

    async def rest(self) -> bytes:
        """The body from here on."""
        parts = []
        while (part := await self.piece()) is not None:
            parts.append(part)
        return b"".join(parts)

    async def answer(self) -> Answer:
        head = await self.head()
        return Answer(head.status, head.headers, await self.rest())

    async def ended(self) -> bytes:
        """Everything until the gateway closes the connection."""
        with contextlib.suppress(ConnectionError):
            return await self._reader.read()
        return b""

    def leave(self) -> None:
        """Close at once, as a browser does whose tab is closed."""
        self._writer.transport.abort()

    def reset(self) -> None:
        """Cut the connection."""
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()
