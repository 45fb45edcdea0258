"""Which of a Model's endpoints takes the next request. Pure state, no I/O."""

import asyncio
import hashlib
import math
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Protocol

from fairlead_serve.gateway.upstream import Origin


@dataclass
class Endpoint:
    """One address that serves a Model. `ready` is what the last contact showed; `doubt` asks for a probe now.

    `with endpoint:` counts one request there.
    """

    url: str
    origin: Origin
    ready: bool = False
    ongoing: int = 0
    last_used: int = 0
    doubt: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def at(cls, url: str) -> "Endpoint":
        return cls(url, Origin.parse(url))

    def __enter__(self) -> None:
        self.ongoing += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ongoing -= 1


class Balancer(Protocol):
    """A way to choose among `endpoints`."""

    endpoints: list[Endpoint]
    """May be changed, as long as it stays the same list."""

    def pick(self, *, tried: AbstractSet[str] = frozenset(), session: bytes = b"") -> Endpoint | None:
        """None when no endpoint is ready. `tried`: URLs to avoid as long as there is another."""


@dataclass
class LeastLoad:
    """The ready endpoint with the fewest requests of ours; among equals the one unused the longest."""

    endpoints: list[Endpoint]
    _turns: "count[int]" = field(default_factory=lambda: count(1))

    def pick(self, *, tried: AbstractSet[str] = frozenset(), session: bytes = b"") -> Endpoint | None:
        """See Balancer. `session` says nothing here."""
        del session
        return self.least(_fresh(self.endpoints, tried))

    def least(self, endpoints: list[Endpoint]) -> Endpoint | None:
        """The least loaded of some of the endpoints."""
        if len(endpoints) < 2:
            return endpoints[0] if endpoints else None
        chosen = min(endpoints, key=lambda endpoint: (endpoint.ongoing, endpoint.last_used))
        chosen.last_used = next(self._turns)
        return chosen


@dataclass
class PrefixHash:
    """Equal sessions to the same endpoint, whose prefix cache then knows their beginning, unless it is overloaded.

    Rendezvous hashing (Thaler and Ravishankar, 1998): when an endpoint comes or goes, only its own sessions move. Loads
    are bounded as by Mirrokni, Thorup and Zadimoghaddam (2016): no endpoint takes more than `_BOUND` times the average,
    so one popular beginning cannot bury its engine.
    """

    endpoints: list[Endpoint]
    _least: LeastLoad = field(init=False)

    def __post_init__(self) -> None:
        self._least = LeastLoad(self.endpoints)

    def pick(self, *, tried: AbstractSet[str] = frozenset(), session: bytes = b"") -> Endpoint | None:
        """See Balancer. Requests without a session go where the load is least."""
        fresh = _fresh(self.endpoints, tried)
        if len(fresh) < 2 or not session:
            return self._least.least(fresh)
        most = math.ceil(_BOUND * (sum(endpoint.ongoing for endpoint in fresh) + 1) / len(fresh))
        free = [endpoint for endpoint in fresh if endpoint.ongoing < most]
        return max(free, key=lambda endpoint: _weight(endpoint, session))


# How far above the average load an endpoint may go; the authors' own choice, and HAProxy's.
_BOUND = 1.25


def _weight(endpoint: Endpoint, session: bytes) -> bytes:
    return hashlib.blake2b(endpoint.url.encode() + b"\0" + session, digest_size=8).digest()


def _fresh(endpoints: list[Endpoint], tried: AbstractSet[str]) -> list[Endpoint]:
    ready = [endpoint for endpoint in endpoints if endpoint.ready]
    if not tried:
        return ready
    return [endpoint for endpoint in ready if endpoint.url not in tried] or ready
