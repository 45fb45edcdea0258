"""What limits count by: requests and tokens in the last minute, and requests at once. Here: in memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import msgspec

from fairlead_serve.gateway.auth import Caller

WINDOW_SECONDS = 60

Limit = Literal["requests", "tokens", "concurrency"]
End = Callable[[int], None]
"""Ends a request that took so many tokens, at once or in the background; never waits."""


class Window(msgspec.Struct, frozen=True, gc=False):
    """A sliding window counter: what the running minute has counted (`current`), and the one before (`previous`).

    The one before counts by as much of it as the last 60 s reach into it, as if it had been spread evenly. Two numbers
    however much is counted, and no burst of twice the limit around the end of a minute, which fixed windows allow.
    `left`: seconds until the running minute is the one before.
    """

    previous: int
    current: int
    left: float

    @property
    def used(self) -> int:
        return int(self.previous * self.left / WINDOW_SECONDS) + self.current

    def seconds_until_below(self, limit: int) -> float:
        """When `used` is less than `limit` (1 or more) again if nothing more is counted."""
        if self.used < limit:
            return 0.0
        if self.current < limit:
            return self.left - WINDOW_SECONDS * (limit - self.current) / self.previous
        return self.left + WINDOW_SECONDS * (1 - limit / self.current)

    def seconds_until_empty(self) -> float:
        """When nothing is left of what was counted if nothing more is."""
        if self.current:
            return self.left + WINDOW_SECONDS
        return self.left if self.previous else 0.0


class Standing(msgspec.Struct, frozen=True):
    """What a caller has used, with the request at hand unless `full` names the limit that refuses it.

    `end` is to be called once for a request that was not refused.
    """

    requests: Window
    tokens: Window
    full: Limit | None
    end: End


class Counters(Protocol):
    """Where limits are counted."""

    async def begin(self, caller: Caller) -> Standing:
        """Count a request of `caller` if every limit allows it, and nothing if one does not."""

    async def close(self) -> None:
        """Called once, when no more requests come."""


@dataclass
class _Counts:
    minute: int
    requests: int = 0
    requests_before: int = 0
    tokens: int = 0
    tokens_before: int = 0
    ongoing: int = 0

    def move_to(self, minute: int) -> None:
        follows = minute == self.minute + 1
        self.requests_before = self.requests if follows else 0
        self.tokens_before = self.tokens if follows else 0
        self.requests = self.tokens = 0
        self.minute = minute


class LocalCounters:
    """Counters of this process alone. Kept are six numbers for every key that was used."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: dict[str, _Counts] = {}

    async def begin(self, caller: Caller) -> Standing:
        """See Counters. Does not wait."""
        now = self._clock()
        counts = self._at(caller.owner, now)
        left = (counts.minute + 1) * WINDOW_SECONDS - now
        tokens = Window(counts.tokens_before, counts.tokens, left)
        full = _full(caller, Window(counts.requests_before, counts.requests, left), tokens, counts.ongoing)
        if full is None:
            counts.requests += 1
            counts.ongoing += 1
        requests = Window(counts.requests_before, counts.requests, left)
        return Standing(requests, tokens, full, partial(self._end, caller.owner))

    async def close(self) -> None:
        """See Counters. Nothing is held elsewhere."""

    def charge(self, owner: str, tokens: int) -> None:
        """Count `tokens`, whatever the limit."""
        self._at(owner, self._clock()).tokens += tokens

    def _end(self, owner: str, tokens: int) -> None:
        self.charge(owner, tokens)
        self._counts[owner].ongoing -= 1

    def _at(self, owner: str, now: float) -> _Counts:
        minute = int(now // WINDOW_SECONDS)
        counts = self._counts.get(owner)
        if counts is None:
            counts = self._counts[owner] = _Counts(minute)
        elif counts.minute != minute:
            counts.move_to(minute)
        return counts


def _full(caller: Caller, requests: Window, tokens: Window, ongoing: int) -> Limit | None:
    if caller.requests_per_minute is not None and requests.used >= caller.requests_per_minute:
        return "requests"
    if caller.tokens_per_minute is not None and tokens.used >= caller.tokens_per_minute:
        return "tokens"
    if caller.concurrent_requests is not None and ongoing >= caller.concurrent_requests:
        return "concurrency"
    return None
