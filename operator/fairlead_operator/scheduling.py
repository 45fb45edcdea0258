"""The scheduler's words as a sentence that says what is missing and what to change. Pure.

The words are those of FitError and of the plugins in k8s.io/kubernetes/pkg/scheduler/framework, versions 1.27 to 1.36.
What is not known here stays as the scheduler said it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from fairlead_operator.capacity import Capacity, requests_of
from fairlead_operator.fields import condition, items, text
from fairlead_operator.quantities import shown
from fairlead_operator.render import Manifest
from fairlead_operator.words import cut

# Every taint of a large cluster may be there.
_MOST_CAUSES = 4
_LONGEST_WORDS = 1024


@dataclass(frozen=True)
class Clause:
    """One reason of the scheduler, and how many nodes it is true of; 0 where it is of the pod alone."""

    nodes: int
    words: str


def sentence(pod: Manifest, capacity: Capacity | None) -> str:
    """Why no node takes `pod` and what to change, then the scheduler's own words.

    `capacity` is what there is of the device that the pod asks for; None where nodes may not be listed.
    """
    verdict = condition(pod, "PodScheduled")
    if verdict.get("reason") == "SchedulingGated":
        gates = ", ".join(text(gate, "name") for gate in items(pod, "spec", "schedulingGates"))
        return f"held back by its scheduling gates ({gates}); whatever set them has to remove them"
    words = own_words(text(verdict, "message"))
    causes = list(dict.fromkeys(_causes(pod, clauses(words), capacity)))
    said = "; ".join(causes[:_MOST_CAUSES]) or "no node takes it"
    return f"{said} (scheduler: {cut(words, _LONGEST_WORDS)})" if words else said


def own_words(message: str) -> str:
    """What the scheduler says of the pod itself, without what it says of preemption."""
    return re.sub(r"\.[^.]*\bpreemption: .*$", "", message, flags=re.DOTALL).strip().rstrip(".")


def clauses(words: str) -> list[Clause]:
    """`0/4 nodes are available: 1 node(s) were unschedulable, 3 Insufficient cpu` as its two reasons."""
    told = re.sub(r"^\d+/\d+ nodes are available: ?", "", words)
    parts = (re.fullmatch(r"(?:(\d+) )?(.+)", part, re.DOTALL) for part in re.split(r", (?=\d+ )", told))
    return [Clause(int(part[1] or 0), part[2]) for part in parts if part]


def _causes(pod: Manifest, found: Sequence[Clause], capacity: Capacity | None) -> Iterator[str]:
    """What is known of `found`, the most decisive first."""
    resources = [clause.words.partition(" ")[2] for clause in found if clause.words.startswith("Insufficient ")]
    needs = requests_of(pod)
    for resource in sorted(resources, key=lambda name: "/" not in name):
        yield _shortage(resource, needs.get(resource, Decimal(0)), capacity)
    for clause in found:
        if not resources or _matters_beside_a_shortage(clause, capacity):
            yield from _explanations(clause)


def _matters_beside_a_shortage(clause: Clause, capacity: Capacity | None) -> bool:
    # There are nodes of another kind in most clusters. They are of interest only where the right kind is not to be had.
    if not clause.nodes:
        return True
    if capacity is not None:
        return capacity.total == 0
    return "untolerated taint" in clause.words or "were unschedulable" in clause.words


def _shortage(resource: str, needed: Decimal, capacity: Capacity | None) -> str:
    if "/" not in resource:
        amount = f"{shown(needed)} {resource}" if needed else f"more {resource}"
        return (
            f"needs {amount}, which no node that it may run on has free (ask for less in spec.resources or the profile)"
        )
    count = int(needed) or 1
    if capacity is None or capacity.resource != resource:
        return f"needs {count} {resource}, which no node has free"
    return f"needs {_shortage_of_devices(count, capacity)}"


def _shortage_of_devices(count: int, capacity: Capacity) -> str:
    devices = f"{count} {capacity.resource}"
    if capacity.nodes == 0:
        return f"{devices}, and there is no node that it may run on"
    if capacity.total == 0:
        return f"{devices}, and no node that it may run on has any"
    if capacity.largest_node < count:
        return f"{devices}, and no node that it may run on has more than {capacity.largest_node}"
    if capacity.largest_free >= count:
        return f"{devices}, and the scheduler finds no node with as many free"
    return (
        f"{count - capacity.largest_free} more {capacity.resource}{' on one node' if count > 1 else ''}: "
        f"{capacity.total - capacity.free} of {capacity.total} are in use on the {_nodes(capacity.nodes)} it may run on"
    )


def _explanations(clause: Clause) -> Iterator[str]:
    for pattern, explanation in _EXPLANATIONS.items():
        words = re.search(pattern, clause.words)
        if words:
            yield explanation.format(nodes=_nodes(clause.nodes), **words.groupdict())
            return


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


# The first that fits. The taints by name are Kubernetes' own, which a Model has no business to tolerate.
_EXPLANATIONS: Mapping[str, str] = MappingProxyType(
    {
        r'persistentvolumeclaim "(?P<claim>[^"]+)" not found': (
            "there is no claim {claim} (create it, or name another in spec.cache.claimName)"
        ),
        r'persistentvolumeclaim "(?P<claim>[^"]+)" is being deleted': (
            "the claim {claim} is being deleted (wait until it is gone, or name another in spec.cache.claimName)"
        ),
        r"unbound immediate PersistentVolumeClaims": (
            "a claim of the pod has no volume (see its events, and whether spec.cache.storageClassName exists)"
        ),
        r"no nodes available to schedule pods": "the cluster has no nodes",
        r"didn't find available persistent volumes": (
            "{nodes} without a volume for the claim (see spec.cache.storageClassName and spec.cache.size)"
        ),
        r"volume node affinity conflict|didn't match PersistentVolume's node affinity": (
            "{nodes} out of reach of the claim's volume (free a node where the volume is, or name another claim)"
        ),
        r"exceed max volume count": "{nodes} with as many volumes as a node can have (add nodes)",
        r"taint \{node\.kubernetes\.io/not-ready": "{nodes} not ready",
        r"taint \{node\.kubernetes\.io/unreachable": "{nodes} out of reach",
        r"taint \{node\.kubernetes\.io/(?P<what>disk|memory|pid)-pressure": "{nodes} with {what} pressure",
        r"taint \{node\.cloudprovider\.kubernetes\.io/uninitialized": "{nodes} not set up yet",
        r"taint \{node-role\.kubernetes\.io/(?P<role>[^:}]+)": "{nodes} kept for {role}",
        r"were unschedulable|taint \{node\.kubernetes\.io/unschedulable": "{nodes} cordoned (uncordon, or add nodes)",
        r"untolerated taint \{(?P<taint>[^}]*?)(?:: )?\}": (
            "{nodes} with the taint {taint} (tolerate it in spec.podTemplate.tolerations if the model belongs there)"
        ),
        r"untolerated taint": (
            "{nodes} with a taint (tolerate it in spec.podTemplate.tolerations if the model belongs there)"
        ),
        r"didn't match Pod's node affinity/selector": (
            "{nodes} without a label that the pod wants "
            "(correct the resource profile, or nodeSelector and affinity in spec.podTemplate)"
        ),
        r"pod affinity|anti-affinity|topology spread": (
            "{nodes} ruled out by the pods that run there (correct spec.podTemplate.affinity, or add nodes)"
        ),
        r"Too many pods": "{nodes} with as many pods as a node can have (add nodes)",
    }
)
