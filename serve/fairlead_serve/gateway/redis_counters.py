"""What limits count by, in a Redis that gateways share, and what is done while it is away."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable
from functools import partial
from typing import TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from fairlead_serve.errors import ConfigurationError
from fairlead_serve.gateway.auth import Caller
from fairlead_serve.gateway.counters import WINDOW_SECONDS, Limit, LocalCounters, Standing, Window

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")
# Longest that a request waits for Redis; then it is counted here.
_PATIENCE_SECONDS = 0.25
_CONNECTIONS = 64
_PREFIX = "fairlead"

# One script for each end of a request, so that each is one round trip and happens as a whole. KEYS: what one caller
# has used, which is a hash a minute with the minute's number at the end of its key; and its ongoing requests, a sorted
# set by the millisecond at which each one's lease runs out. ARGV[1]: the milliseconds of a minute. Redis's own clock is
# the one that all gateways share.
_CLOCK = """
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local length = tonumber(ARGV[1])
local minute = math.floor(now / length)
local left = (minute + 1) * length - now
local current = KEYS[1] .. ':' .. minute
"""
# ARGV, besides: the limits of requests, tokens and requests at once (0: none), how long a lease lasts, its name.
_BEGIN = (
    _CLOCK
    + """
local before = redis.call('hmget', KEYS[1] .. ':' .. (minute - 1), 'requests', 'tokens')
local counted = redis.call('hmget', current, 'requests', 'tokens')
local full = 0
for index = 1, 2 do
    before[index] = tonumber(before[index] or 0)
    counted[index] = tonumber(counted[index] or 0)
    local used = math.floor(before[index] * left / length) + counted[index]
    local limit = tonumber(ARGV[index + 1])
    if full == 0 and limit > 0 and used >= limit then
        full = index
    end
end
if full == 0 and tonumber(ARGV[4]) > 0 then
    redis.call('zremrangebyscore', KEYS[2], '-inf', now)
    if redis.call('zcard', KEYS[2]) >= tonumber(ARGV[4]) then
        full = 3
    else
        redis.call('zadd', KEYS[2], now + ARGV[5], ARGV[6])
        redis.call('pexpire', KEYS[2], ARGV[5])
    end
end
if full == 0 then
    counted[1] = redis.call('hincrby', current, 'requests', 1)
    redis.call('pexpire', current, 2 * length)
end
return {full, left, before[1], counted[1], before[2], counted[2]}
"""
)
# ARGV, besides: the tokens that the request took, the name of its lease.
_END = (
    _CLOCK
    + """
if tonumber(ARGV[2]) > 0 then
    redis.call('hincrby', current, 'tokens', ARGV[2])
    redis.call('pexpire', current, 2 * length)
end
redis.call('zrem', KEYS[2], ARGV[3])
"""
)
# XX: a lease that was given back meanwhile must not come to life again.
_RENEW = """
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for index, key in ipairs(KEYS) do
    redis.call('zadd', key, 'XX', now + ARGV[1], ARGV[index + 1])
    redis.call('pexpire', key, ARGV[1])
end
"""
_FULL: tuple[Limit | None, ...] = (None, "requests", "tokens", "concurrency")


class RedisCounters:
    """Counters that gateways share, and `instead` of them those of this process while Redis is away.

    A request holds a place by a lease. One that its gateway does not renew, because it was killed, runs out after
    `lease_seconds`. Redis is asked no more once it failed, until it was seen to work: that is tried every
    `retry_seconds`, in the background.
    """

    def __init__(
        self, url: str, *, instead: LocalCounters, lease_seconds: float = 30.0, retry_seconds: float = 2.0
    ) -> None:
        """Raises ConfigurationError, which does not quote `url`: it may have a password."""
        try:
            self._pool = BlockingConnectionPool.from_url(
                url,
                max_connections=_CONNECTIONS,
                # It is `_asked` that bounds every wait. The client would do it with asyncio.wait_for, which before
                # Python 3.12 may lose a cancellation (python/cpython#86296).
                timeout=None,
                socket_timeout=None,
                socket_connect_timeout=None,
                # Once and at once: a connection that was closed while nobody used it says nothing of Redis.
                retry=Retry(NoBackoff(), 1),
            )
        except (ValueError, TypeError):
            message = "limitsUrl is not the URL of a Redis; write it as redis://user:password@host:6379/0"
            raise ConfigurationError(message) from None
        self._redis = Redis(connection_pool=self._pool)
        self._begin_script = self._redis.register_script(_BEGIN)
        self._end_script = self._redis.register_script(_END)
        self._renew_script = self._redis.register_script(_RENEW)
        self._instead = instead
        self._lease_seconds = lease_seconds
        self._retry_seconds = retry_seconds
        self._leases: dict[str, str] = {}
        self._there = True
        self._renewing: asyncio.Task[None] | None = None
        self._returning: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def begin(self, caller: Caller) -> Standing:
        """See Counters. Waits for Redis a quarter of a second at most."""
        if self._there:
            with contextlib.suppress(_Away):
                return await self._asked(self._begin_there(caller))
        return await self._instead.begin(caller)

    async def close(self) -> None:
        """Give back the places that are still held, and close every connection."""
        for lease, owner in tuple(self._leases.items()):
            self._end(owner, lease, 0)
        await _cancel(self._renewing)
        await asyncio.gather(*self._ending)
        self._there = False
        await _cancel(self._returning)
        with contextlib.suppress(TimeoutError):  # a Redis that hangs does not say goodbye
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._pool.aclose()

    async def _begin_there(self, caller: Caller) -> Standing:
        lease = ""
        if caller.concurrent_requests is not None:
            lease = secrets.token_hex(8)
            self._leases[lease] = caller.owner
        ending = tuple(self._ending)
        try:
            standing = await self._try_to_begin(caller, lease)
            if standing.full == "concurrency" and ending:
                # The place was on its way back already: who asks again right after an answer is no crowd.
                await asyncio.wait(ending)
                standing = await self._try_to_begin(caller, lease)
        except BaseException:
            self._end(caller.owner, lease, 0)  # nobody knows whether Redis came to it
            raise
        if standing.full is not None:
            self._leases.pop(lease, None)
        elif lease and (self._renewing is None or self._renewing.done()):
            self._renewing = asyncio.create_task(self._keep_renewing(), name="renew leases")
        return standing

    async def _try_to_begin(self, caller: Caller, lease: str) -> Standing:
        limits = (caller.requests_per_minute, caller.tokens_per_minute, caller.concurrent_requests)
        answer = await self._begin_script(
            keys=_keys(caller.owner),
            args=[WINDOW_SECONDS * 1000, *(limit or 0 for limit in limits), self._lease_milliseconds, lease],
        )
        full, left, requests_before, requests, tokens_before, tokens = map(int, answer)
        seconds = left / 1000
        return Standing(
            Window(requests_before, requests, seconds),
            Window(tokens_before, tokens, seconds),
            _FULL[full],
            partial(self._end, caller.owner, lease),
        )

    def _end(self, owner: str, lease: str, tokens: int) -> None:
        self._leases.pop(lease, None)
        if not self._there:
            self._instead.charge(owner, tokens)  # and the lease runs out
        elif lease or tokens:
            task = asyncio.create_task(self._end_there(owner, lease, tokens))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _end_there(self, owner: str, lease: str, tokens: int) -> None:
        try:
            await self._asked(self._end_script(keys=_keys(owner), args=[WINDOW_SECONDS * 1000, tokens, lease]))
        except _Away:
            self._instead.charge(owner, tokens)

    async def _keep_renewing(self) -> None:
        """Three times as often as need be, so that one failure costs no place."""
        while self._leases:
            await asyncio.sleep(self._lease_seconds / 3)
            leases = dict(self._leases)
            if leases and self._there:
                keys = [_keys(owner)[1] for owner in leases.values()]
                with contextlib.suppress(_Away):  # which has been logged
                    await self._asked(self._renew_script(keys=keys, args=[self._lease_milliseconds, *leases]))

    @property
    def _lease_milliseconds(self) -> int:
        return int(self._lease_seconds * 1000)

    async def _asked(self, answer: Awaitable[_T]) -> _T:
        """The one boundary to Redis: what it answers, within the time there is. Raises _Away."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await answer
        except TimeoutError as error:
            raise self._lost(f"no answer within {_PATIENCE_SECONDS:g} s") from error
        except (RedisError, OSError) as error:
            raise self._lost(str(error)) from error

    def _lost(self, why: str) -> "_Away":
        if self._there:
            self._there = False
            self._returning = asyncio.create_task(self._wait_until_back(), name="wait for Redis")
            _logger.warning("Redis is away, so this gateway counts the limits of its keys by itself: %s", why)
        return _Away(why)

    async def _wait_until_back(self) -> None:
        back = False
        while not back:
            await asyncio.sleep(self._retry_seconds)
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    # A write: a replica, or a Redis that is full, would answer a ping.
                    await self._redis.set(f"{_PREFIX}:probe", "", px=1)
                back = True
        self._there = True
        _logger.info("Redis is back: limits are counted there again")


class _Away(Exception):  # noqa: N818 - named for what happened
    """Redis did not answer, or not in time."""


def _keys(owner: str) -> list[str]:
    # In braces what decides about a cluster's node: keys of one script have to be together.
    used = f"{_PREFIX}:{{{owner}}}"
    return [used, f"{used}:ongoing"]


async def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
