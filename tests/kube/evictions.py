"""May a pod be evicted: what PodDisruptionBudgets say (k8s.io/kubernetes/pkg/registry/core/pod/storage/eviction.go)."""

import math

from tests.kube.errors import StatusError
from tests.kube.resources import Manifest
from tests.kube.selectors import of_object
from tests.kube.store import Store


class TooManyRequests(StatusError):  # noqa: N818 - the reason that the API gives
    code, reason = 429, "TooManyRequests"


def check(store: Store, pod: Manifest) -> None:
    """Raises TooManyRequests when a budget needs the pod. The pods are counted now, not when a controller last did."""
    if not _ready(pod):
        return
    namespace = pod["metadata"]["namespace"]
    pods = store.all(store.resource("pods"), namespace)
    for budget in store.all(store.resource("poddisruptionbudgets", "policy"), namespace):
        chosen = of_object(budget["spec"].get("selector", {}))
        if not chosen.matches(pod):
            continue
        covered = [one for one in pods if chosen.matches(one)]
        healthy = sum(map(_ready, covered))
        needed = _needed(budget["spec"], len(covered))
        if healthy - 1 < needed:
            name = budget["metadata"]["name"]
            said = f"The disruption budget {name} needs {needed} healthy pods and has {healthy} currently"
            cause = {"reason": "DisruptionBudget", "message": said}
            message = "Cannot evict pod as it would violate the pod's disruption budget."
            raise TooManyRequests(message, {"causes": [cause]})


def _needed(spec: Manifest, count: int) -> int:
    if "minAvailable" in spec:
        return _number(spec["minAvailable"], count)
    return count - _number(spec.get("maxUnavailable", count), count)


def _number(value: int | str, count: int) -> int:
    return math.ceil(int(value.rstrip("%")) * count / 100) if isinstance(value, str) else value


def _ready(pod: Manifest) -> bool:
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
