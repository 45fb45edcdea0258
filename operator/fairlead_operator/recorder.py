"""Events of Kubernetes about Models: what `kubectl describe` shows at the end."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from fairlead_operator.api import Api
from fairlead_operator.errors import ClusterError
from fairlead_operator.kinds import EVENT
from fairlead_serve.api_server import Manifest

COMPONENT = "fairlead-operator"
"""What Events name as their source."""

_logger = logging.getLogger(__name__)
# Those of Kubernetes' own components: a burst of 25 for each object, then one in five minutes.
_BURST = 25
_REFILL_SECONDS = 300.0
_MOST_KEPT = 4096
_LONGEST_MESSAGE = 1024


K = TypeVar("K")
V = TypeVar("V")


@dataclass
class _Kept:
    """An Event that was written, and how often."""

    name: str
    count: int


@dataclass
class _Allowance:
    """How many Events there may still be about one Model."""

    left: float
    since: float


class Recorder:
    """Writes Events. One that comes again is counted in the old one, and a flood of them about one Model is dropped."""

    def __init__(
        self,
        api: Api,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._now = now
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ...], _Kept] = OrderedDict()
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()

    def record(self, model: Manifest, *, type: str, reason: str, message: str) -> None:  # noqa: A002 - Kubernetes' word
        """Note that something happened to `model`. `type`: Normal or Warning. What fails is logged and nothing else."""
        metadata = model["metadata"]
        message = message[:_LONGEST_MESSAGE]
        key = (metadata["uid"], type, reason, message)
        if not self._may_write(metadata["uid"]):
            return
        with self._lock:
            kept = self._kept.get(key)
        try:
            if kept is None or not self._count(metadata["namespace"], kept):
                kept = self._create(model, type, reason, message)
        except ClusterError as error:
            _logger.warning("the event %s about %s was not recorded: %s", reason, metadata["name"], error)
            return
        with self._lock:
            _keep(self._kept, key, kept)

    def _may_write(self, uid: str) -> bool:
        with self._lock:
            now = self._clock()
            allowance = self._allowances.get(uid) or _Allowance(_BURST, now)
            allowance.left = min(_BURST, allowance.left + (now - allowance.since) / _REFILL_SECONDS)
            allowance.since = now
            _keep(self._allowances, uid, allowance)
            if allowance.left < 1:
                return False
            allowance.left -= 1
            return True

    def _count(self, namespace: str, kept: _Kept) -> bool:
        """Count one more; False where Kubernetes has dropped the Event by now."""
        patch = {"count": kept.count + 1, "lastTimestamp": self._time()}
        if self._api.patch(EVENT, namespace, kept.name, patch) is None:
            return False
        kept.count += 1
        return True

    def _create(self, model: Manifest, type: str, reason: str, message: str) -> _Kept:  # noqa: A002
        metadata = model["metadata"]
        now = self._time()
        name = f"{metadata['name']}.{time.time_ns():x}"
        event = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {"name": name, "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": model["apiVersion"],
                "kind": model["kind"],
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "type": type,
            "reason": reason,
            "message": message,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": "",
        }
        self._api.create(event)
        return _Kept(name, 1)

    def _time(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")


def _keep(cache: "OrderedDict[K, V]", key: K, value: V) -> None:
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > _MOST_KEPT:
        cache.popitem(last=False)
