"""What goes wrong on purpose: errors, slowness, cut connections. Set from a test, or over HTTP."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.kube.calls import Call
from tests.kube.errors import StatusError

_REASONS = {
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class FaultError(StatusError):
    """The answer that a fault gives."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.reason = _REASONS.get(code, "")
        super().__init__("a fault of the test", {"retryAfterSeconds": 1} if code == 429 else None)


@dataclass
class Fault:
    """What happens to the requests that match: a wait, then an answer of failure where `code` is given.

    Empty texts match all. It ends after `times` requests or `seconds`, where those are given.
    """

    code: int = 0
    delay_seconds: float = 0
    verb: str = ""
    resource: str = ""
    """As `deployments.apps`; `models.fairlead.dev/status` for a subresource."""
    name: str = ""
    user: str = ""
    times: int | None = None
    seconds: float | None = None
    after: bool = False
    """Whether the request takes effect first: the client then only hears that it failed."""
    hang_up: bool = False
    """Whether the connection is cut instead of an answer."""
    since: float = field(default=0, repr=False)

    def matches(self, call: Call) -> bool:
        resource = call.resource.qualified + (f"/{call.subresource}" if call.subresource else "")
        asked = {"verb": call.verb, "resource": resource, "name": call.name, "user": call.user.name}
        return all(getattr(self, name) in ("", value) for name, value in asked.items())


class Faults:
    """The faults at hand; the first that matches a request is its."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._faults: list[Fault] = []
        self._clock = clock

    def add(self, fault: Fault) -> Fault:
        fault.since = self._clock()
        self._faults.append(fault)
        return fault

    def add_document(self, document: Mapping[str, Any]) -> Fault:
        """A fault from JSON with the names of its fields. Raises TypeError for others."""
        return self.add(Fault(**document))

    def remove(self, fault: Fault) -> None:
        self._faults = [one for one in self._faults if one is not fault]

    def clear(self) -> None:
        self._faults.clear()

    def take(self, call: Call) -> Fault | None:
        """The fault of this request, which it has used up once."""
        self._faults = [one for one in self._faults if not self._over(one)]
        fault = next((one for one in self._faults if one.matches(call)), None)
        if fault is not None and fault.times is not None:
            fault.times -= 1
        return fault

    def _over(self, fault: Fault) -> bool:
        late = fault.seconds is not None and self._clock() - fault.since > fault.seconds
        return late or fault.times == 0
