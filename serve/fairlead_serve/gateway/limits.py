"""How much a caller may use: requests and tokens a minute, and requests at once.

Tokens are known when an answer has ended, so a request is admitted while any are left and charged afterwards: one
request may overdraw, and the next ones wait until the window has moved on.
"""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from fairlead_serve.errors import ApiError, ConfigurationError
from fairlead_serve.gateway.auth import Caller
from fairlead_serve.gateway.counters import Counters, End, Limit, LocalCounters, Standing, Window
from fairlead_serve.gateway.redis_counters import RedisCounters
from fairlead_serve.gateway.upstream import Headers


class Limits:
    """Admits requests within the limits of their callers.

    Counted in memory, or in a Redis that gateways share; while that is away, each gateway counts by itself.
    """

    def __init__(self, url: str) -> None:
        """`url`: `memory://`, `redis://...` or `rediss://...`. Raises ConfigurationError, which does not quote it."""
        self._counters = _counters_at(url)

    async def admit(self, caller: Caller) -> "Grant":
        """Count one request of `caller`. Raises ApiError 429 `rate_limit_exceeded` or `concurrency_exceeded`.

        A request that is refused counts nowhere.
        """
        if caller.unlimited:
            return _UNLIMITED
        standing = await self._counters.begin(caller)
        rates = _rates(caller, standing)
        if standing.full is not None:
            raise _refusal(caller, standing.full, rates)
        headers = [pair for rate in rates for pair in rate.headers()]
        return Grant(headers, standing.end, counts_tokens=caller.tokens_per_minute is not None)

    async def close(self) -> None:
        """Give back what is held elsewhere. Called once, when no more requests come."""
        await self._counters.close()


class Grant:
    """What an admitted request has until it is released.

    `headers`, `x-ratelimit-...`, go on its answer. `counts_tokens`: the caller's tokens are limited, so `charge` has to
    be told what the answer took. Redis is told in the background.
    """

    def __init__(self, headers: Headers, end: End, *, counts_tokens: bool) -> None:
        self.headers = headers
        self.counts_tokens = counts_tokens
        self._end: End | None = end
        self._tokens = 0

    def charge(self, tokens: int) -> None:
        """Add to what the request took, in tokens of prompt and answer together. Counts with the release."""
        if self.counts_tokens:
            self._tokens += tokens

    def release(self) -> None:
        """Give the place back and count the tokens. More than once is as once."""
        end, self._end = self._end, None
        if end is not None:
            end(self._tokens)


class _Rate(msgspec.Struct, frozen=True, gc=False):
    """One limit a minute and how much of it is used. `unit`: as OpenAI's headers have it."""

    unit: Literal["requests", "tokens"]
    limit: int
    window: Window

    def headers(self) -> Headers:
        limit, remaining, reset = _HEADERS[self.unit]
        return (
            (limit, b"%d" % self.limit),
            (remaining, b"%d" % max(0, self.limit - self.window.used)),
            (reset, _duration(self.window.seconds_until_empty())),
        )


_HEADERS = {
    unit: tuple(f"x-ratelimit-{what}-{unit}".encode() for what in ("limit", "remaining", "reset"))
    for unit in ("requests", "tokens")
}


def _counters_at(url: str) -> Counters:
    if url == "memory://":
        return LocalCounters()
    if url.startswith(("redis://", "rediss://")):
        return RedisCounters(url, instead=LocalCounters())
    message = "limitsUrl is none of memory://, redis://... and rediss://...; write one of them"
    raise ConfigurationError(message)


def _rates(caller: Caller, standing: Standing) -> list[_Rate]:
    rates = []
    if caller.requests_per_minute is not None:
        rates.append(_Rate("requests", caller.requests_per_minute, standing.requests))
    if caller.tokens_per_minute is not None:
        rates.append(_Rate("tokens", caller.tokens_per_minute, standing.tokens))
    return rates


def _refusal(caller: Caller, full: Limit, rates: Sequence[_Rate]) -> ApiError:
    # The next whole second after all of them have room: who comes back then is not a moment early.
    seconds = max((math.floor(rate.window.seconds_until_below(rate.limit)) + 1 for rate in rates), default=1)
    headers = {name.decode(): value.decode() for rate in rates for name, value in rate.headers()}
    headers["retry-after"] = str(seconds)
    if full == "concurrency":
        most = caller.concurrent_requests
        message = f"the key {caller.name} has {most} requests at once already; try again when one of them has ended"
        return ApiError(429, message, code="concurrency_exceeded", headers=headers)
    limit = caller.requests_per_minute if full == "requests" else caller.tokens_per_minute
    message = f"the key {caller.name} is at its limit of {limit} {full} a minute; try again in {seconds} s"
    return ApiError(429, message, code="rate_limit_exceeded", headers=headers)


def _duration(seconds: float) -> bytes:
    """As OpenAI writes one: `120ms`, `1s`, `6m0s`."""
    if seconds < 1:
        return b"%dms" % math.ceil(seconds * 1000)
    minutes, rest = divmod(math.ceil(seconds), 60)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest


def _end_nothing(tokens: int) -> None:
    """End a request that nothing was counted of."""


_UNLIMITED = Grant((), _end_nothing, counts_tokens=False)
