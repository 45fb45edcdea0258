"""What an upstream answers, for who reads it: status, headers, and the body as it comes."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from fairlead_serve.asgi import header_of
from fairlead_serve.gateway.upstream.errors import AnswerTooLarge, UpstreamBroken

# Above this many buffered bytes of an answer the socket is not read, until the client has taken them.
_HIGH_WATER = 256 * 1024


class Wire(Protocol):
    """What an answer comes over, until it is whole."""

    def pause(self) -> None:
        """Read no more for now."""

    def resume(self) -> None:
        """Read on."""

    def close(self) -> None:
        """Read no more at all."""


class Answer:
    """One upstream answer: `status` and `headers` are there, the body is read with `chunk`, `read` or `pipe`."""

    def __init__(self, wire: Wire, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        self.sent = 1
        self.headers: list[tuple[bytes, bytes]] = []
        self._wire = wire
        self._loop = loop
        self._parts: list[bytes] = []
        self._buffered = 0
        self._waiter: asyncio.Future[None] | None = None
        self._poked = False
        self._sink: Callable[[bytes], bool] | None = None
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
            await self._wait()
            poked, self._poked = self._poked, False
            if poked and not self._parts:
                return b""
        data = self._take()
        if not self._complete:  # else the connection may be somebody else's by now
            self._wire.resume()
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
        self.release()  # what paused reading, a `hold` or too much in the buffer, may be over without having told
        if self._parts and not sink(self._take()):
            return False
        self._sink = sink
        try:
            while self._sink is not None and not self._complete:
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
            self._wire.pause()

    def release(self) -> None:
        """Go on after `hold`."""
        if not self._complete:
            self._wire.resume()

    def poke(self) -> None:
        """Make a waiting `chunk` return b"", or a waiting `pipe` return False, now."""
        if self._waiter is not None:
            self._poked = True
            self._wake()

    def abort(self) -> None:
        """Give the answer up. Closes the connection unless the answer is whole: the upstream stops working."""
        if not self._complete:
            self.fail("given up")
            self._wire.close()

    # --- for the connection ------------------------------------------------------------------------

    async def begun(self) -> None:
        """Wait until status and headers are there. Raises UpstreamBroken."""
        while not self.status:
            await self._wait()

    def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Status and headers have come."""
        self.status = status
        self.headers = headers

    def receive(self, body: bytes) -> None:
        """Bytes have come that held this much of the body: maybe nothing, but the head, the end or a part of them."""
        self._answered = True
        if self._sink is not None:
            if body and not self._sink(body):
                self._sink = None
            if self._sink is None or self._complete or self._failure is not None:
                self._wake()
            return
        if body:
            self._parts.append(body)
            self._buffered += len(body)
        # A whole answer may wait as long as it likes: its connection is free, and may be in use again.
        if self._buffered > _HIGH_WATER and not self._complete:
            self._wire.pause()
        self._wake()

    def end(self) -> None:
        """What has come, and what comes with the next `receive`, is all of it."""
        self._complete = True

    def fail(self, why: str) -> None:
        """Nothing more will come, though something is missing."""
        self._failure = self._failure or why
        self._wake()

    def _take(self) -> bytes:
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._buffered = 0
        return data

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        """Wait for anything to happen. Raises UpstreamBroken where nothing more will."""
        if self._failure is not None:
            message = f"the upstream ended the connection: {self._failure}"
            raise UpstreamBroken(message, sent=self.sent, answered=self._answered)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
