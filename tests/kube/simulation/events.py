"""Events as the parts of a cluster write them: the kubelet and the volume controller in the old form, the scheduler in
the new one. Only warnings, and what explains why something waits.
"""

from typing import Any

from fairlead_operator.render import Manifest
from tests.kube.simulation.api import Api
from tests.kube.simulation.clock import Clock, stamp, stamp_micro
from tests.kube.simulation.objects import letters, uid_of


class Recorder:
    """Writes Events; the same about the same object is counted."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._written: dict[tuple[str, str, str], Manifest] = {}

    def record(
        self, about: Manifest, reason: str, message: str, *, component: str, host: str = "", kind: str = "Warning"
    ) -> None:
        """As client-go's recorder does: with `count`, `firstTimestamp` and `lastTimestamp`."""
        at = stamp(self._clock.now())
        known = self._written.get((uid_of(about), reason, message))
        if known is not None:
            self._write({**known, "count": known["count"] + 1, "lastTimestamp": at})
            return
        source = {"component": component, **({"host": host} if host else {})}
        times = {"count": 1, "firstTimestamp": at, "lastTimestamp": at, "eventTime": None}
        self._create(about, reason, message, kind, {**times, "source": source, "reportingComponent": component})

    def record_scheduling(self, about: Manifest, message: str) -> None:
        """FailedScheduling, by the recorder of events.k8s.io: without the times and the count of the old form."""
        at = stamp_micro(self._clock.now())
        known = self._written.get((uid_of(about), "FailedScheduling", message))
        if known is not None:
            count = known.get("series", {}).get("count", 1) + 1
            self._write({**known, "series": {"count": count, "lastObservedTime": at}})
            return
        parts: dict[str, Any] = {
            "eventTime": at,
            "firstTimestamp": None,
            "lastTimestamp": None,
            "source": {},
            "action": "Scheduling",
            "reportingComponent": "default-scheduler",
            "reportingInstance": "default-scheduler-simulation",
        }
        self._create(about, "FailedScheduling", message, "Warning", parts)

    def _create(self, about: Manifest, reason: str, message: str, kind: str, parts: dict[str, Any]) -> None:
        metadata = about["metadata"]
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{letters(16)}", "namespace": metadata["namespace"]},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "reason": reason,
            "message": message,
            "type": kind,
            **parts,
        }
        self._written[uid_of(about), reason, message] = self._api.create("events", event)

    def _write(self, event: Manifest) -> None:
        involved = event["involvedObject"]
        self._written[involved["uid"], event["reason"], event["message"]] = self._api.update("events", event)
