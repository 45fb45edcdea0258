"""Why the API server lets nobody make the pods of a workload, and what to change. Pure.

A ReplicaSet tells it by the condition ReplicaFailure, which its Deployment repeats, and a RayCluster by one of the same
name (`rayv1.RayClusterReplicaFailure`). Both bear the API server's own sentence.
"""

import re
from collections.abc import Iterator
from decimal import Decimal

from fairlead_operator.conditions import WorkloadReason
from fairlead_operator.fields import condition, part, text
from fairlead_operator.pods import PodFailure
from fairlead_operator.quantities import number, shown
from fairlead_operator.render import Manifest
from fairlead_operator.words import quoted

# plugin/pkg/admission/resourcequota: what was asked for, was in use and is allowed, of every resource that is short.
_QUOTA = re.compile(
    r"exceeded quota: (?P<name>\S+), requested: (?P<requested>\S+), used: (?P<used>\S+), limited: (?P<limited>\S+)"
)
# What KubeRay says first, and a name that is another one at each attempt.
_NAMED = re.compile(r'^(?:FailedCreate\w+\s+)?pods "[^"]*" is ')
# What is said of the pod itself. All else, such as a webhook that does not answer, would be said of any other pod.
_OF_THE_POD = re.compile(r" is forbidden: | is invalid: | denied the request")
# Said in the same form while a webhook, or the API server itself, cannot tell yet.
_NOT_YET = re.compile(r"failed calling webhook|status unknown for quota|not yet ready to handle request")


def refusal(workload: Manifest) -> PodFailure | None:
    """What keeps the pods of a Deployment or RayCluster from being made; None where nothing does."""
    status, said = part(workload, "status"), condition(workload, "ReplicaFailure")
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        # Said of the specification before.
        return None
    # Pods that cannot be deleted are none that are missing. KubeRay says of which kind those are that cannot be made.
    if said.get("status") != "True" or not text(said, "reason").startswith("FailedCreate"):
        return None
    words = text(said, "message")
    full = "exceeded quota: " in words
    short = "; ".join(_shortages(words))
    return PodFailure(
        WorkloadReason.UNSCHEDULABLE if full else WorkloadReason.CONTAINER_START_ERROR,
        f"{short or 'its pods cannot be made'} (API server: {quoted(_NAMED.sub('', words))})",
        pod="",
        time=text(said, "lastTransitionTime") or None,
        told_by=workload["kind"],
        passing=full or bool(_NOT_YET.search(words)) or not _OF_THE_POD.search(words),
    )


def _shortages(words: str) -> Iterator[str]:
    """What a quota has too little of, a sentence each."""
    found = _QUOTA.search(words)
    if not found:
        return
    requested, used, limited = (_amounts(found[name]) for name in ("requested", "used", "limited"))
    for resource in (name for name in requested if name in used and name in limited):
        missing = requested[resource] + used[resource] - limited[resource]
        yield (
            f"needs {shown(missing)} more {resource.removeprefix('requests.')}: {shown(used[resource])} of "
            f"{shown(limited[resource])} are in use by the quota {found['name']} (raise it, or free some)"
        )


def _amounts(text: str) -> dict[str, Decimal]:
    """`requests.cpu=1500m,pods=2` by resource; without what is no quantity."""
    found = {}
    for entry in text.split(","):
        resource, _, amount = entry.partition("=")
        try:
            found[resource] = number(amount)
        except ValueError:
            continue
    return found
