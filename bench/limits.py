"""Counting a request against a key's limits in memory: the gateway's own counters against the `limits` library.

Both count the same three things with the same algorithm, a sliding window counter: requests and tokens a minute, and
(the library has none, so it is spared that) requests at once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from fairlead_serve.gateway.auth import Caller
from fairlead_serve.gateway.limits import Limits

FEW, MANY = 1, 1000
_PLENTY = 1_000_000_000
_TOKENS = 100
# Enough that the library, the slower one, takes a good part of a second.
_REQUESTS = 3000

Ask = Callable[[str], Awaitable[None]]
"""One request of the key with this name, from its admission to its charge."""


@dataclass(frozen=True)
class LimitsResult:
    """CPU microseconds a request, by (`own` or `library`, how many keys have been used)."""

    microseconds: dict[tuple[str, int], float]

    def figures(self) -> dict[str, float]:
        """The numbers by the names of the JSON line."""
        found = {f"limits_{who}_us_{keys}_keys": value for (who, keys), value in self.microseconds.items()}
        for keys in (FEW, MANY):
            found[f"limits_own_to_library_{keys}_keys"] = (
                self.microseconds["own", keys] / self.microseconds["library", keys]
            )
        return found


async def measure() -> LimitsResult:
    """Measure both with few keys and with many."""
    found = {}
    for keys in (FEW, MANY):
        names = [f"key_{number}" for number in range(keys)]
        found["own", keys] = await _cost(_own(names), names)
        found["library", keys] = await _cost(_library(), names)
    return LimitsResult(found)


def _own(names: list[str]) -> Ask:
    limits = Limits("memory://")
    callers = {
        name: Caller(
            name,
            name,
            requests_per_minute=_PLENTY,
            tokens_per_minute=_PLENTY,
            concurrent_requests=_PLENTY,
        )
        for name in names
    }

    async def ask(name: str) -> None:
        grant = await limits.admit(callers[name])
        grant.charge(_TOKENS)
        grant.release()

    return ask


def _library() -> Ask:
    limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
    requests = RateLimitItemPerMinute(_PLENTY, namespace="requests")
    tokens = RateLimitItemPerMinute(_PLENTY, namespace="tokens")

    async def ask(name: str) -> None:
        # As the gateway has to: nothing is counted of a request that one of the limits refuses, and headers tell
        # what is left of both.
        await limiter.get_window_stats(requests, name)
        await limiter.get_window_stats(tokens, name)
        await limiter.hit(requests, name)
        await limiter.hit(tokens, name, cost=_TOKENS)

    return ask


async def _cost(ask: Ask, names: list[str]) -> float:
    for name in names:
        await ask(name)
    began = time.process_time()
    for number in range(_REQUESTS):
        await ask(names[number % len(names)])
        await asyncio.sleep(0)  # as between two requests: what a library does in the background is its cost too
    return (time.process_time() - began) / _REQUESTS * 1e6
