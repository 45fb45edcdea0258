"""Which of several operators acts: the one that holds a Lease of coordination.k8s.io.

The official client's `kubernetes.leaderelection` (37.0) was looked at first. It sleeps where it should listen for the
end, never gives the lease back, so that every restart costs its whole duration, goes by the wall clock, and bounds no
request: a leader that is cut off learns of it after the next one has begun.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from fairlead_operator.api import Api
from fairlead_operator.errors import ClusterError, Conflict
from fairlead_operator.kinds import LEASE
from fairlead_serve.api_server import Manifest

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeaseTimes:
    """How long a lease is good for, in seconds.

    Between `writing` and `lasting` nobody writes: that is the time for writes under way to end, and for clocks to
    differ. An answer of the API server is waited for less than that.
    """

    lasting: float = 15.0
    """Others wait so long after the last renewal that they saw."""
    writing: float = 10.0
    """The holder acts so long after it asked for its last renewal."""
    renewing: float = 2.0
    """Between renewals."""
    asking: float = 1.0
    """Between looks at the lease of somebody else: a lease given back is taken within it."""


DEFAULT_TIMES = LeaseTimes()


class Leader:
    """A candidate for one lease. `leading` may be asked by every thread; the rest is for one."""

    def __init__(
        self,
        api: Api,
        *,
        namespace: str,
        name: str,
        identity: str,
        times: LeaseTimes = DEFAULT_TIMES,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`identity` must be of this process alone: one that starts anew is another candidate."""
        self._api = api
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._times = times
        self._clock = clock
        self._now = now
        self._until = -float("inf")
        # Goes by when a change was seen here, and not by the times that others wrote: clocks differ.
        self._seen: tuple[str, float] = ("", clock())
        self._complaint = ""

    @property
    def leading(self) -> bool:
        """Whether this process may write now. Needs no word of the server to become false."""
        return self._clock() < self._until

    def acquire(self, stopping: threading.Event) -> bool:
        """Wait until the lease is ours; False when `stopping` comes first."""
        while not stopping.is_set():
            if self._try():
                _logger.info("leading: %s holds the lease %s/%s", self._identity, self._namespace, self._name)
                return True
            stopping.wait(self._times.asking)
        return False

    def hold(self, stopping: threading.Event) -> None:
        """Keep the lease until `stopping`, or until it could not be renewed in time."""
        while not stopping.wait(self._times.renewing):
            self._try()
            if not self.leading:
                _logger.error("leading no longer: the lease %s/%s was not renewed", self._namespace, self._name)
                return

    def release(self) -> None:
        """Give the lease back, if it is ours, so that the next one need not wait for its end."""
        if not self.leading:
            return
        self._until = -float("inf")
        try:
            lease = self._api.get(LEASE, self._namespace, self._name)
            if lease is not None and lease["spec"].get("holderIdentity") == self._identity:
                spec = {key: value for key, value in lease["spec"].items() if key != "holderIdentity"}
                self._api.update({**lease, "spec": {**spec, "leaseDurationSeconds": 1}})
        except ClusterError as error:
            _logger.warning("the lease was not given back, so that it ends by itself: %s", error)

    def _try(self) -> bool:
        asked = self._clock()
        try:
            if not self._take_or_renew():
                return False
        except Conflict:
            return False
        except ClusterError as error:
            if str(error) != self._complaint:
                _logger.warning("the lease %s/%s cannot be had: %s", self._namespace, self._name, error)
            self._complaint = str(error)
            return False
        self._complaint = ""
        self._until = asked + self._times.writing
        return True

    def _take_or_renew(self) -> bool:
        lease = self._api.get(LEASE, self._namespace, self._name)
        if lease is None:
            self._api.create(self._lease({}))
            return True
        if not self._is_free(lease):
            self._until = -float("inf")
            return False
        self._api.update({**lease, "spec": self._lease(lease["spec"])["spec"]})
        return True

    def _is_free(self, lease: Manifest) -> bool:
        spec = lease["spec"]
        holder = spec.get("holderIdentity") or ""
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = version, self._clock()
        lasting = float(spec.get("leaseDurationSeconds") or self._times.lasting)
        return holder in {"", self._identity} or self._clock() >= self._seen[1] + lasting

    def _lease(self, before: Manifest) -> Manifest:
        now = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = before.get("holderIdentity") == self._identity
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.name,
            "metadata": {"namespace": self._namespace, "name": self._name},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": round(self._times.lasting),
                "acquireTime": before["acquireTime"] if ours else now,
                "renewTime": now,
                "leaseTransitions": int(before.get("leaseTransitions") or 0) + (not ours and bool(before)),
            },
        }
