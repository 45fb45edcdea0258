"""Requests to upstreams, over connections that are kept."""

import asyncio
import ssl

from fairlead_serve.gateway.upstream.answer import Answer
from fairlead_serve.gateway.upstream.connection import Connection, Pool
from fairlead_serve.gateway.upstream.errors import UpstreamBroken, UpstreamError, UpstreamUnreachable
from fairlead_serve.gateway.upstream.origin import Headers, Origin


class UpstreamClient:
    """Keep-alive connections to any number of origins, on one event loop.

    `connect_seconds` bounds the making of a connection; `max_idle` how many unused ones are kept an origin.
    """

    def __init__(self, *, connect_seconds: float, max_idle: int, tls: ssl.SSLContext | None = None) -> None:
        self._connect_seconds = connect_seconds
        self._max_idle = max_idle
        self._tls = tls
        self._pools: dict[tuple[str, int, bool], Pool] = {}

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
        head = origin.head(method, path, headers, len(body))
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
        pool = self._pools.pop(origin.address, None)
        if pool is not None:
            pool.close()

    def close(self) -> None:
        """Close every unused connection, and those in use as soon as they are unused."""
        for pool in self._pools.values():
            pool.close()

    def _pool(self, origin: Origin) -> Pool:
        key = origin.address
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(self._max_idle)
        return pool

    async def _connect(self, origin: Origin, pool: Pool) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, pool), origin.host, origin.port, ssl=self._tls_of(origin)
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
