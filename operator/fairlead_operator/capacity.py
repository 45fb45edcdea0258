"""What a pod asks for, the nodes that it may run on, and the devices that are free there. Pure.

This is no scheduler: it goes by node selectors, required node affinity and taints, and knows nothing of spreading,
ports and volumes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from fairlead_operator.fields import Fields, items, name_of, part, text
from fairlead_operator.quantities import number
from fairlead_operator.render import Manifest

Amounts = dict[str, Decimal]
"""How much of each resource: cores, bytes, devices."""


@dataclass(frozen=True)
class Capacity:
    """Devices of one resource, such as nvidia.com/gpu, on the nodes that a pod may run on."""

    resource: str
    nodes: int
    """Nodes that the pod may run on, with or without such devices."""
    total: int
    free: int
    largest_node: int
    """Devices of the node that has most."""
    largest_free: int
    """Free devices of the node that has most of them free."""
    room: int
    """Pods like this one for which devices are free."""


def requests_of(pod: Manifest) -> Amounts:
    """What the scheduler sets aside for `pod`; a limit without a request is one, as for the API server.

    Containers and sidecars together, or the largest moment of the initialisation where that is more, and the overhead
    (https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers).
    """
    spec = part(pod, "spec")
    running, sidecars, most = _sum(map(_container_requests, items(spec, "containers"))), Amounts(), Amounts()
    for container in items(spec, "initContainers"):
        own = _container_requests(container)
        if container.get("restartPolicy") == "Always":
            sidecars = _sum((sidecars, own))
            own = {}
        most = _largest(most, _sum((sidecars, own)))
    whole = _amounts(part(spec, "resources", "requests"))
    return _sum(({**_largest(_sum((running, sidecars)), most), **whole}, _amounts(part(spec, "overhead"))))


def device_of(pod: Manifest) -> str | None:
    """The device that `pod` asks for, such as nvidia.com/gpu; None for a pod without."""
    names = (name for name, amount in requests_of(pod).items() if "/" in name and amount > 0)
    return min(names, default=None)


def of_node(node: Manifest) -> Manifest:
    """What of a node is read here: the rest, such as the names of its images, is many times as much."""
    return {
        "metadata": _only(part(node, "metadata"), "name", "labels"),
        "spec": _only(part(node, "spec"), "unschedulable", "taints"),
        "status": _only(part(node, "status"), "allocatable"),
    }


def of_holder(pod: Manifest) -> Manifest | None:
    """What of a pod is read here, where it is on a node and has devices of it; None: it does not count."""
    spec = part(pod, "spec")
    if not spec.get("nodeName") or device_of(pod) is None:
        return None
    containers = {
        name: [_only(container, "resources", "restartPolicy") for container in items(spec, name)]
        for name in ("containers", "initContainers")
    }
    return {
        "spec": {**_only(spec, "nodeName", "resources", "overhead"), **containers},
        "status": _only(part(pod, "status"), "phase"),
    }


def free_gpus(nodes: Iterable[Manifest], pods: Iterable[Manifest], resource: str, pod: Manifest) -> Capacity:
    """What there is of `resource` on the nodes that `pod` may run on, when all `pods` keep what they have."""
    needed = int(requests_of(pod).get(resource, 0)) or 1
    used: dict[str, int] = {}
    for other in pods:
        node = text(other, "spec", "nodeName")
        if node and text(other, "status", "phase") not in ("Succeeded", "Failed"):
            used[node] = used.get(node, 0) + int(requests_of(other).get(resource, 0))
    fitting = [node for node in nodes if may_run_on(pod, node)]
    totals = [int(_amounts(part(node, "status", "allocatable")).get(resource, 0)) for node in fitting]
    # A device that broke is not allocatable any more, and may still be in use.
    free = [max(0, total - used.get(name_of(node), 0)) for total, node in zip(totals, fitting, strict=True)]
    return Capacity(
        resource=resource,
        nodes=len(fitting),
        total=sum(totals),
        free=sum(free),
        largest_node=max(totals, default=0),
        largest_free=max(free, default=0),
        room=sum(count // needed for count in free),
    )


def may_run_on(pod: Manifest, node: Manifest) -> bool:
    """Whether `node` has the labels that `pod` wants, and `pod` tolerates its taints."""
    spec = part(pod, "spec")
    labels = part(node, "metadata", "labels")
    if any(labels.get(name) != value for name, value in part(spec, "nodeSelector").items()):
        return False
    required = part(spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    # Of several terms one is enough.
    if required and not any(_term_matches(term, node) for term in items(required, "nodeSelectorTerms")):
        return False
    tolerations = items(spec, "tolerations")
    return all(any(_tolerates(one, taint) for one in tolerations) for taint in _taints(node))


def _taints(node: Manifest) -> Iterator[Manifest]:
    spec = part(node, "spec")
    if spec.get("unschedulable"):
        yield {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    for taint in items(spec, "taints"):
        if taint.get("effect") in ("NoSchedule", "NoExecute"):
            yield taint


def _tolerates(toleration: Manifest, taint: Manifest) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    everything = not toleration.get("key") and toleration.get("operator") == "Exists"
    same_key = toleration.get("key") == taint.get("key")
    same_value = (toleration.get("value") or "") == (taint.get("value") or "")
    return everything or (same_key and (toleration.get("operator") == "Exists" or same_value))


def _term_matches(term: Manifest, node: Manifest) -> bool:
    metadata = part(node, "metadata")
    labels, fields = part(metadata, "labels"), {"metadata.name": metadata.get("name")}
    asked = [(one, labels) for one in items(term, "matchExpressions")]
    asked += [(one, fields) for one in items(term, "matchFields")]
    # A term that asks for nothing matches no node.
    return bool(asked) and all(_expression_matches(one, values) for one, values in asked)


def _expression_matches(expression: Manifest, values: Fields) -> bool:
    found, wanted = values.get(expression.get("key", "")), items(expression, "values")
    operator = expression.get("operator")
    if operator in ("Gt", "Lt"):
        return _compares(found, wanted, above=operator == "Gt")
    matches = {
        "In": found in wanted,
        "NotIn": found not in wanted,
        "Exists": found is not None,
        "DoesNotExist": found is None,
    }
    return matches.get(str(operator), False)


def _compares(found: object, wanted: Sequence[object], *, above: bool) -> bool:
    try:
        value, bound = int(str(found)), int(str(wanted[0]))
    except (ValueError, IndexError):
        return False
    return value > bound if above else value < bound


def _container_requests(container: Manifest) -> Amounts:
    resources = part(container, "resources")
    return {**_amounts(part(resources, "limits")), **_amounts(part(resources, "requests"))}


def _amounts(quantities: Fields) -> Amounts:
    return {name: number(quantity) for name, quantity in quantities.items() if quantity is not None}


def _only(fields: Fields, *names: str) -> Manifest:
    return {name: fields[name] for name in names if name in fields}


def _sum(several: Iterable[Amounts]) -> Amounts:
    total = Amounts()
    for amounts in several:
        for name, amount in amounts.items():
            total[name] = total.get(name, Decimal(0)) + amount
    return total


def _largest(one: Amounts, other: Amounts) -> Amounts:
    zero = Decimal(0)
    return {name: max(one.get(name, zero), other.get(name, zero)) for name in {**one, **other}}
