"""Which of a Model's endpoints takes the next request. Pure state, no I/O."""

import asyncio
from dataclasses import dataclass, field
from itertools import count

from fairlead_serve.gateway.upstream import Origin


@dataclass
class Endpoint:
    """One address that serves a Model. `ready` is what the last contact showed; `doubt` asks for a probe now."""

    url: str
    origin: Origin
    ready: bool = False
    ongoing: int = 0
    last_used: int = 0
    doubt: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def at(cls, url: str) -> "Endpoint":
        return cls(url, Origin.parse(url))


@dataclass
class LeastLoad:
    """The ready endpoint with the fewest requests of ours; among equals the one unused the longest."""

    endpoints: list[Endpoint]
    _turns: "count[int]" = field(default_factory=lambda: count(1))

    def pick(self, *, tried: frozenset[str] | set[str] = frozenset()) -> Endpoint | None:
        """None when no endpoint is ready. `tried`: URLs to avoid as long as there is another."""
        ready = [endpoint for endpoint in self.endpoints if endpoint.ready]
        fresh = [endpoint for endpoint in ready if endpoint.url not in tried] or ready
        if not fresh:
            return None
        chosen = min(fresh, key=lambda endpoint: (endpoint.ongoing, endpoint.last_used))
        chosen.last_used = next(self._turns)
        return chosen
