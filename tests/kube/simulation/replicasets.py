"""The controller of replica sets: as many pods as are wanted."""

from fairlead_operator.render import Manifest
from tests.kube.simulation import pod_status
from tests.kube.simulation.api import Api
from tests.kube.simulation.clock import Clock, seconds_of, stamp
from tests.kube.simulation.objects import (
    Key,
    controller_of,
    is_deleted,
    key_of,
    labels_of,
    matches,
    pod_from,
    without_zeros,
)
from tests.kube.simulation.quota import FAILURE, Quotas, is_refused, makes_room
from tests.kube.simulation.work import Work


class ReplicaSets:
    """Makes pods of templates, and deletes those first that are of least use."""

    def __init__(self, api: Api, work: Work, clock: Clock) -> None:
        self._api = api
        self._work = work
        self._clock = clock
        self._quotas = Quotas(api)

    def observe(self, event: str, plural: str, manifest: Manifest) -> None:
        if plural == "replicasets" and event != "DELETED":
            self._work.add(self._sync, key_of(manifest))
        elif plural == "pods":
            owner = controller_of(manifest)
            if owner is not None and owner["kind"] == "ReplicaSet":
                self._work.add(self._sync, (manifest["metadata"]["namespace"], owner["name"]))
        if makes_room(event, plural):
            for one in filter(is_refused, self._api.all("replicasets")):
                self._work.add(self._sync, key_of(one))

    def _sync(self, key: Key) -> None:
        found = self._api.get("replicasets", key)
        if found is None or is_deleted(found):
            return
        pods = self._active(found)
        wanted = found["spec"].get("replicas", 1)
        refused = ""
        for _ in range(wanted - len(pods)):
            pod = pod_from(found["spec"]["template"], found, prefix=f"{key[1]}-")
            refused = self._quotas.refusal(pod)
            if refused:
                break
            self._api.create("pods", pod)
        for pod in sorted(pods, key=_use)[: max(0, len(pods) - wanted)]:
            self._api.delete("pods", pod)
        self._write_status(found, refused)

    def _active(self, replica_set: Manifest) -> list[Manifest]:
        """Its pods that are neither over nor on their way out."""
        pods = self._api.owned("pods", replica_set["metadata"]["uid"])
        return [pod for pod in pods if not pod_status.is_ended(pod) and not is_deleted(pod)]

    def _write_status(self, replica_set: Manifest, refused: str) -> None:
        pods = self._active(replica_set)
        labels = replica_set["spec"]["template"]["metadata"].get("labels", {})
        ready = sum(1 for pod in pods if pod_status.is_ready(pod))
        counts = {
            "fullyLabeledReplicas": sum(1 for pod in pods if matches(labels, labels_of(pod))),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "observedGeneration": replica_set["metadata"]["generation"],
        }
        known = replica_set.get("status", {}).get("conditions", [])
        failure = {"type": FAILURE, "status": "True", "reason": "FailedCreate", "message": refused}
        # What it said first stays.
        conditions = known or [{**failure, "lastTransitionTime": stamp(self._clock.now())}] if refused else []
        # The one count that is written when it is zero.
        self._api.write_status(
            "replicasets", replica_set, {"replicas": len(pods), **without_zeros({**counts, "conditions": conditions})}
        )


def _use(pod: Manifest) -> tuple[bool, bool, bool, int, float]:
    """Those go first that have no node, do not run, are not ready, were restarted often, or are young."""
    return (
        "nodeName" in pod["spec"],
        pod.get("status", {}).get("phase") == "Running",
        pod_status.is_ready(pod),
        -pod_status.restarts_of(pod),
        -seconds_of(pod["metadata"]["creationTimestamp"]),
    )
