"""The operator at work: follows the cluster, waits to lead, and keeps workers at the queue of Models."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fairlead_operator.caches import Caches
from fairlead_operator.errors import Away, ClusterError, Conflict, NotAllowed, Refused
from fairlead_operator.kinds import Key, key_of
from fairlead_operator.leader import Leader
from fairlead_operator.metrics import Metrics
from fairlead_operator.work_queue import WorkQueue

_logger = logging.getLogger(__name__)
_SYNC_POLL_SECONDS = 0.1
_SYNC_COMPLAINT_SECONDS = 10.0
# The reconciles at hand may end; what takes longer is cut off by the process' end, and done by the next leader.
_END_SECONDS = 10.0
# Every request of a reconcile has a bound, so that one that takes longer hangs.
_HANGING_SECONDS = 300.0
_RESULTS = {Conflict: "conflict", NotAllowed: "not_allowed", Refused: "refused", Away: "away"}


class Reconciler(Protocol):
    """Makes of one Model what it should be."""

    def reconcile(self, key: Key) -> float | None:
        """Seconds after which to come again; None: when something changes. Raises ClusterError."""


@dataclass
class _Hand:
    """One worker, and since when it is at one Model."""

    name: str
    since: float | None = None


class Manager:
    """Runs a reconciler over every Model of the followed namespaces."""

    def __init__(
        self,
        caches: Caches,
        queue: WorkQueue,
        reconciler: Reconciler,
        leader: Leader,
        metrics: Metrics,
        *,
        workers: int,
        resync_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`caches` must add to `queue` what changes. Each Model is looked at every `resync_seconds` anyway."""
        self._caches = caches
        self._queue = queue
        self._reconciler = reconciler
        self._leader = leader
        self._metrics = metrics
        self._workers = workers
        self._resync_seconds = resync_seconds
        self._clock = clock
        self._hands: Sequence[_Hand] = ()
        self._complaints = _Complaints()

    def run(self, stopping: threading.Event) -> None:
        """Work until `stopping`. Then the reconciles at hand end, and the lease is given back."""
        self._caches.start()
        try:
            if not self._wait_synced(stopping):
                return
            # One that leads no longer is a candidate again, with caches that are warm.
            while self._leader.acquire(stopping):
                self._lead(stopping)
        finally:
            self._caches.stop()

    def hanging(self) -> list[str]:
        """What does not move any more, a sentence each: reasons to start this process anew."""
        now = self._clock()
        stuck = [f"{one.name} hangs" for one in self._hands if now - (one.since or now) > _HANGING_SECONDS]
        dead = [f"{one.path} is not followed any more" for one in self._caches.informers() if not one.alive]
        return stuck + dead

    def lacking(self) -> list[str]:
        """What is not known yet, a sentence each: reasons not to be ready."""
        missing = [one for one in self._caches.informers() if not one.synced]
        return [f"{one.path} is not listed yet{f': {one.failure}' if one.failure else ''}" for one in missing]

    def _wait_synced(self, stopping: threading.Event) -> bool:
        complained = self._clock()
        while not self._caches.synced:
            if stopping.wait(_SYNC_POLL_SECONDS):
                return False
            if self._clock() - complained > _SYNC_COMPLAINT_SECONDS:
                complained = self._clock()
                _logger.warning("waiting for the cluster: %s", "; ".join(self.lacking()))
        return True

    def _lead(self, stopping: threading.Event) -> None:
        for model in self._caches.models():
            key = key_of(model)
            if key is not None:
                self._queue.add(key)
        self._queue.open()
        self._hands = [_Hand(f"worker {number}") for number in range(self._workers)]
        threads = [threading.Thread(target=self._work, args=(one,), name=one.name, daemon=True) for one in self._hands]
        for thread in threads:
            thread.start()
        try:
            self._leader.hold(stopping)
        finally:
            self._queue.close()
            deadline = self._clock() + _END_SECONDS
            for thread in threads:
                thread.join(max(0.0, deadline - self._clock()))
            self._leader.release()

    def _work(self, hand: _Hand) -> None:
        while (key := self._queue.get()) is not None:
            hand.since = self._clock()
            try:
                self._reconcile(key)
            finally:
                hand.since = None
                self._queue.done(key)

    def _reconcile(self, key: Key) -> None:
        began = self._clock()
        result = "ok"
        try:
            after = self._reconciler.reconcile(key)
        except ClusterError as error:
            result = _RESULTS.get(type(error), "refused")
            self._complaints.about(key, error)
            self._retry(key)
        except Exception:
            # A fault with one Model must not end the work on the others.
            result = "crashed"
            seconds = self._retry(key)
            _logger.exception("%s: the reconcile crashed, and is tried again in %.3g s", key, seconds)
        else:
            self._complaints.none(key)
            self._queue.forget(key)
            if after is not None or self._caches.model(key) is not None:
                self._queue.add_after(key, self._resync_seconds if after is None else min(after, self._resync_seconds))
        self._metrics.reconciled(result, self._clock() - began)

    def _retry(self, key: Key) -> float:
        self._metrics.retried()
        return self._queue.retry(key)


class _Complaints:
    """What was said of failures, so that it is said once. One away server has as many failures as there are Models."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: dict[Key, str] = {}
        self._away = False

    def about(self, key: Key, error: ClusterError) -> None:
        if isinstance(error, Conflict):
            return
        with self._lock:
            known = self._away if isinstance(error, Away) else self._said.get(key) == str(error)
            if isinstance(error, Away):
                self._away = True
            else:
                self._said[key] = str(error)
        if not known:
            _logger.warning("%s: %s", key, error)

    def none(self, key: Key) -> None:
        with self._lock:
            self._said.pop(key, None)
            self._away = False
