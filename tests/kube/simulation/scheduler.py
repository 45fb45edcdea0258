"""The scheduler: pods get the first node that has room for them, or its own words about why none has.

Of its filters those that engines meet: cordons, taints, node selectors, resources and claims. It preempts nobody.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from fairlead_operator.render import Manifest
from tests.kube.quantities import amount
from tests.kube.simulation import pod_status
from tests.kube.simulation.api import Api
from tests.kube.simulation.clock import Clock, stamp
from tests.kube.simulation.container import claims_of
from tests.kube.simulation.events import Recorder
from tests.kube.simulation.objects import Key, is_deleted, key_of, labels_of, matches, oldest_first, with_spec
from tests.kube.simulation.work import Work

Amounts = dict[str, Decimal]

_REPELLING = ("NoSchedule", "NoExecute")
_NONE = Decimal(0)


class Scheduler:
    """Looks for nodes whenever a pod is new or there may be more room than before."""

    def __init__(self, api: Api, work: Work, clock: Clock, recorder: Recorder) -> None:
        self._api = api
        self._work = work
        self._clock = clock
        self._recorder = recorder
        self._waiting: dict[Key, None] = {}
        self._untried: dict[Key, None] = {}
        self._taken: dict[Key, tuple[str, Amounts]] = {}
        self._used: dict[str, Amounts] = defaultdict(dict)

    def observe(self, event: str, plural: str, manifest: Manifest) -> None:
        if plural == "pods":
            self._observe_pod(event, manifest)
        elif plural in ("nodes", "persistentvolumeclaims", "storageclasses"):
            self._try_all()

    def _observe_pod(self, event: str, pod: Manifest) -> None:
        key = key_of(pod)
        if event == "DELETED" or pod_status.is_ended(pod):
            self._waiting.pop(key, None)
            if key in self._taken:
                node, requests = self._taken.pop(key)
                _add(self._used[node], requests, -1)
                self._try_all()
        elif "nodeName" in pod["spec"]:
            if key not in self._taken:
                self._take(pod, pod["spec"]["nodeName"])
        elif not is_deleted(pod) and key not in self._waiting:
            self._waiting[key] = self._untried[key] = None
            self._work.add(self._schedule)

    def _take(self, pod: Manifest, node: str) -> None:
        requests = requests_of(pod)
        self._taken[key_of(pod)] = node, requests
        _add(self._used[node], requests, 1)
        self._waiting.pop(key_of(pod), None)

    def _try_all(self) -> None:
        if self._waiting:
            self._untried.update(self._waiting)
            self._work.add(self._schedule)

    def _schedule(self) -> None:
        untried = [pod for key in self._untried if key in self._waiting and (pod := self._api.get("pods", key))]
        self._untried.clear()
        for pod in oldest_first(untried):
            self._place(pod)

    def _place(self, pod: Manifest) -> None:
        nodes = self._api.all("nodes")
        requests = requests_of(pod)
        obstacle = self._claims(pod)
        reasons: list[list[str]] = []
        for node in () if obstacle else nodes:
            name = node["metadata"]["name"]
            against = _against(pod, node, requests, self._used[name])
            if not against:
                self._take(pod, name)
                self._api.update("pods", with_spec(pod, nodeName=name))
                return
            reasons.append(against)
        self._refuse(pod, _words(len(nodes), obstacle, reasons))

    def _refuse(self, pod: Manifest, message: str) -> None:
        conditions = pod.get("status", {}).get("conditions") or [{}]
        if conditions[0].get("message") == message:
            return
        status = pod_status.unschedulable(pod, message, at=stamp(self._clock.now()))
        self._recorder.record_scheduling(self._api.write_status("pods", pod, status), message)

    def _claims(self, pod: Manifest) -> str:
        """Why the pod has to wait for its claims, whatever the node."""
        for name in claims_of(pod):
            claim = self._api.get("persistentvolumeclaims", (pod["metadata"]["namespace"], name))
            if claim is None:
                return f'persistentvolumeclaim "{name}" not found'
            if claim.get("status", {}).get("phase") != "Bound" and not self._waits_for_consumer(claim):
                return "pod has unbound immediate PersistentVolumeClaims"
        return ""

    def _waits_for_consumer(self, claim: Manifest) -> bool:
        storage_class = self._api.get("storageclasses", ("", claim["spec"].get("storageClassName") or ""))
        return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def requests_of(pod: Manifest) -> Amounts:
    """What the pod takes of a node: the sum over its containers, a place among the pods included."""
    total: Amounts = defaultdict(Decimal, {"pods": Decimal(1)})
    for container in pod["spec"]["containers"]:
        resources = container.get("resources") or {}
        for name, quantity in {**resources.get("limits", {}), **resources.get("requests", {})}.items():
            total[name] += amount(str(quantity))
    return total


def _add(amounts: Amounts, requests: Amounts, sign: int) -> None:
    for name, wanted in requests.items():
        amounts[name] = amounts.get(name, _NONE) + sign * wanted


def _against(pod: Manifest, node: Manifest, requests: Amounts, used: Amounts) -> list[str]:
    """What speaks against `node`: the first filter's words, as the scheduler stops there."""
    spec = pod["spec"]
    if node.get("spec", {}).get("unschedulable"):
        return ["node(s) were unschedulable"]
    for taint in node.get("spec", {}).get("taints", ()):
        if taint["effect"] in _REPELLING and not any(_tolerates(one, taint) for one in spec.get("tolerations") or ()):
            return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"]
    if not matches(spec.get("nodeSelector") or {}, labels_of(node)):
        return ["node(s) didn't match Pod's node affinity/selector"]
    there = node.get("status", {}).get("allocatable", {})
    short = [name for name, wanted in requests.items() if wanted + used.get(name, _NONE) > amount(there.get(name, "0"))]
    return ["Too many pods" if name == "pods" else f"Insufficient {name}" for name in short]


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect", taint["effect"]) != taint["effect"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return bool(toleration.get("key", taint["key"]) == taint["key"])
    return (toleration.get("key"), toleration.get("value", "")) == (taint["key"], taint.get("value", ""))


def _words(nodes: int, obstacle: str, reasons: list[list[str]]) -> str:
    """The message of the scheduler's FitError and of the preemption that it tried next."""
    if nodes == 0:
        return "no nodes available to schedule pods"
    there_are = f"0/{nodes} nodes are available:"
    if obstacle:
        return f"{there_are} {obstacle}. preemption: {there_are} {nodes} Preemption is not helpful for scheduling."
    counts = Counter(reason for against in reasons for reason in against)
    why = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
    short = sum(1 for against in reasons if against[0].startswith(("Insufficient", "Too many")))
    helpless = {"Preemption is not helpful for scheduling": nodes - short}
    helpless |= {"No preemption victims found for incoming pod": short}
    preemption = ", ".join(sorted(f"{count} {reason}" for reason, count in helpless.items() if count))
    return f"{there_are} {why}. preemption: {there_are} {preemption}."
