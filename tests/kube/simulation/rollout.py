"""The numbers of a rolling update: what a Deployment and its replica sets allow at one moment. No I/O."""

import hashlib
import json
import math
from typing import Any

from fairlead_operator.render import Manifest
from tests.kube.simulation.objects import annotations_of, encoded, labels_of, oldest_first, uid_of, without_zeros

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_NO_DEADLINE = 2**31 - 1


class Rollout:
    """A Deployment and its replica sets at one moment, and what the numbers of both allow."""

    def __init__(self, deployment: Manifest, replica_sets: list[Manifest], hash_of_template: str) -> None:
        self.deployment = deployment
        self.template = deployment["spec"]["template"]
        self.hash = hash_of_template
        self.all = oldest_first(replica_sets)
        self.wanted: int = deployment["spec"].get("replicas", 1)
        numbers = deployment["spec"].get("strategy", {}).get("rollingUpdate") or {}
        self.surge = math.ceil(_number(numbers.get("maxSurge", "25%"), self.wanted))
        self.unavailable = min(math.floor(_number(numbers.get("maxUnavailable", "25%"), self.wanted)), self.wanted)
        if self.surge == self.unavailable == 0:
            self.unavailable = 1  # percentages of small numbers
        deadline = deployment["spec"].get("progressDeadlineSeconds", _NO_DEADLINE)
        self.deadline: int | None = None if deadline == _NO_DEADLINE else deadline

    @property
    def new(self) -> Manifest | None:
        return next((one for one in self.all if labels_of(one).get(HASH_LABEL) == self.hash), None)

    @property
    def the_new(self) -> Manifest:
        """The new replica set once it is there."""
        assert self.new is not None
        return self.new

    @property
    def old(self) -> list[Manifest]:
        return [one for one in self.all if labels_of(one).get(HASH_LABEL) != self.hash]

    @property
    def active(self) -> list[Manifest]:
        return [one for one in self.all if one["spec"]["replicas"]]

    @property
    def count(self) -> int:
        return sum(one["spec"]["replicas"] for one in self.all)

    @property
    def old_count(self) -> int:
        return sum(one["spec"]["replicas"] for one in self.old)

    @property
    def next_revision(self) -> int:
        return max(map(revision_of, self.all), default=0) + 1

    def latest(self, replica_set: Manifest) -> Manifest:
        return next(one for one in self.all if uid_of(one) == uid_of(replica_set))

    def replace(self, replica_set: Manifest) -> None:
        """Go on with a new state of one of them."""
        self.all = [replica_set if uid_of(one) == uid_of(replica_set) else one for one in self.all]

    def size_of_new(self) -> int:
        """How large the new replica set may be now, in a rolling update."""
        size: int = self.new["spec"]["replicas"] if self.new else 0
        room = self.wanted + self.surge - self.count
        if size > self.wanted:
            return self.wanted
        return size + min(room, self.wanted - size) if room > 0 else size

    def counts(self) -> dict[str, Any]:
        """The numbers of the status."""
        available = sum(map(available_of, self.all))
        statuses = [one.get("status", {}) for one in self.all]
        return without_zeros(
            {
                "observedGeneration": self.deployment["metadata"]["generation"],
                "replicas": sum(status.get("replicas", 0) for status in statuses),
                "updatedReplicas": self.the_new.get("status", {}).get("replicas", 0),
                "readyReplicas": sum(status.get("readyReplicas", 0) for status in statuses),
                "availableReplicas": available,
                "unavailableReplicas": max(0, self.count - available),
            }
        )

    def is_complete(self, status: dict[str, Any]) -> bool:
        counts = (status.get(name, 0) for name in ("updatedReplicas", "replicas", "availableReplicas"))
        return all(count == self.wanted for count in counts)


def template_hash(template: Manifest) -> str:
    """Ten letters that tell one pod template from another; other ones than in a real cluster."""
    return encoded(hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest())


def _number(value: int | str, whole: int) -> float:
    """A number, or a percentage of `whole`."""
    return int(value.removesuffix("%")) * whole / 100 if isinstance(value, str) else value


def available_of(replica_set: Manifest) -> int:
    return int(replica_set.get("status", {}).get("availableReplicas", 0))


def revision_of(replica_set: Manifest) -> int:
    return int(annotations_of(replica_set).get(REVISION, 0))
