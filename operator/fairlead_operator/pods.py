"""Why a pod is not ready, as a constant reason and a sentence that says what to change. Pure.

What a pod goes through on its way (ContainerCreating, PodInitializing, loading weights) is no failure, and neither is
one that was ready and is not just now. What others say is quoted without what may be secret.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from fairlead_operator.capacity import Capacity
from fairlead_operator.conditions import WorkloadReason
from fairlead_operator.containers import ENGINE_CONTAINERS, container_failure, ending, statuses
from fairlead_operator.events import about, first_seen, span
from fairlead_operator.fields import Fields, condition, items, name_of, part, text
from fairlead_operator.ownership import REVISION_LABEL
from fairlead_operator.render import Manifest
from fairlead_operator.scheduling import sentence
from fairlead_operator.words import last_line, with_words

PRIORITY = (
    WorkloadReason.CONTAINER_OOM_KILLED,
    WorkloadReason.IMAGE_PULL_ERROR,
    WorkloadReason.CONTAINER_START_ERROR,
    WorkloadReason.CONTAINER_CRASH_LOOP_BACK_OFF,
    WorkloadReason.POD_EVICTED,
    WorkloadReason.UNSCHEDULABLE,
)
"""The reasons of failures: what somebody has to change comes before what may pass."""

ENGINE_REASONS = frozenset(
    {"AuthFailed", "NotFound", "DiskFull", "DownloadFailed", "UnknownArgument", "EngineStartFailed"}
)
"""What an engine may say that it ended of."""


@dataclass(frozen=True)
class PodFailure:
    """Why one pod is not ready. `time` (RFC 3339) is when it failed, or since when it waits; None where unknown.

    Of no pod in particular it is `told_by` a workload, by its kind. `passing`: it may end without a change of the
    Model, and so says nothing against the revision.
    """

    reason: WorkloadReason
    message: str
    pod: str
    exit_code: int | None = None
    time: str | None = None
    told_by: str = ""
    passing: bool = False


def is_ready(pod: Manifest) -> bool:
    """Whether the kubelet says that all its containers are ready; one that is leaving may be so still."""
    return condition(pod, "Ready").get("status") == "True"


def is_leaving(manifest: Manifest) -> bool:
    """Whether somebody has deleted it, and it only ends what it does."""
    return bool(text(manifest, "metadata", "deletionTimestamp"))


def is_over(pod: Manifest) -> bool:
    """Whether none of its containers will run again; whoever made it makes another in its place."""
    return text(pod, "status", "phase") in ("Succeeded", "Failed")


def revision_of(pod: Manifest) -> str:
    """The revision of the Model that it runs; empty where it bears none."""
    return text(pod, "metadata", "labels", REVISION_LABEL)


def engine_status(pod: Manifest) -> Fields:
    """The status of the engine's container, or of the first; empty before the kubelet has seen the pod."""
    found: list[Fields] = items(pod, "status", "containerStatuses")
    by_name = {text(status, "name"): status for status in found}
    return next((by_name[name] for name in ENGINE_CONTAINERS if name in by_name), found[0] if found else {})


def failure(
    pod: Manifest, warnings: Sequence[Manifest] = (), *, now: datetime, capacity: Capacity | None = None
) -> PodFailure | None:
    """Why `pod` is not ready; None when it is, while it is only starting, and when it leaves as it was told to.

    `warnings` are Events, of this pod and of others; `capacity` is what there is of the device that it asks for.
    """
    if is_ready(pod):
        return None
    eviction = _eviction(pod)
    # Its containers end because they are told to.
    if eviction is not None or is_leaving(pod):
        return eviction
    found = [_unschedulable(pod, capacity), _refused_by_node(pod), _not_set_up(pod, warnings, now)]
    found += _of_containers(pod, warnings)
    return worst(one for one in found if one is not None)


def worst(failures: Iterable[PodFailure]) -> PodFailure | None:
    """The one to speak of: by `PRIORITY`, then the newest."""
    newest_first = sorted(failures, key=lambda one: (one.time or "", one.pod), reverse=True)
    return min(newest_first, key=lambda one: PRIORITY.index(one.reason), default=None)


def engine_verdict(pod: Manifest) -> tuple[str, str] | None:
    """What the engine said when it last ended, as a reason and a sentence; None once it has started anew.

    An engine writes `<Reason>: <sentence>` as the last line of its termination message.
    """
    reason, separator, said = last_line(text(ending(engine_status(pod)), "message")).partition(": ")
    return (reason, said) if separator and reason in ENGINE_REASONS else None


def missing_secret(pod: Manifest, warnings: Sequence[Manifest] = (), *, now: datetime) -> tuple[str, str | None] | None:
    """Name and key of the Secret that `pod` waits for; the key is None where the whole Secret is missing."""
    said = [text(status, "state", "waiting", "message") for status in statuses(pod)]
    said += [text(event, "message") for event in _standing(pod, warnings, now)]
    return next((found for words in said if (found := _missing_secret(pod, words))), None)


def _missing_secret(pod: Manifest, words: str) -> tuple[str, str | None] | None:
    # The kubelet's words. It says `secrets` where it is set to ask the API server each time.
    if found := re.search(r'\bsecrets? "(?P<name>[^"]+)" not found', words):
        return found["name"], None
    if found := re.search(r"couldn't find key (?P<key>\S+) in Secret [^/\s]+/(?P<name>[^\s,]+)", words):
        return found["name"], found["key"]
    if found := re.search(r'volume "(?P<volume>[^"]+)" ?: references non-existent secret key: (?P<key>\S+)', words):
        volumes = {
            text(volume, "name"): text(volume, "secret", "secretName") for volume in items(pod, "spec", "volumes")
        }
        name = volumes.get(found["volume"])
        return (name, found["key"]) if name else None
    return None


# Reasons of a pod's status, and of its condition DisruptionTarget.
_EVICTIONS: Mapping[str, str] = MappingProxyType(
    {
        "Evicted": "its node evicted it",
        "Preempting": "its node evicted it",
        "TerminationByKubelet": "its node evicted it",
        "NodeLost": "its node is lost",
        "NodeShutdown": "its node was shut down",
        "Shutdown": "its node was shut down",
        "Terminated": "its node was shut down",
        "DeletionByPodGC": "its node is gone",
        "DeletionByTaintManager": "its node does not answer, or was taken out of use",
        "EvictionByEvictionAPI": "it was evicted, as by a drain of its node",
        "PreemptionByScheduler": "a pod of higher priority took its place (raise spec.priorityClassName, or add nodes)",
    }
)


def _eviction(pod: Manifest) -> PodFailure | None:
    status, target = part(pod, "status"), condition(pod, "DisruptionTarget")
    said: Fields
    if text(status, "reason") in _EVICTIONS:
        said = status
    elif target.get("status") == "True":
        said = target
    else:
        return None
    message = with_words(_EVICTIONS.get(text(said, "reason"), "it was evicted"), text(said, "message"))
    time = text(target, "lastTransitionTime") or _not_ready_since(pod)
    return PodFailure(WorkloadReason.POD_EVICTED, message, name_of(pod), time=time)


def _unschedulable(pod: Manifest, capacity: Capacity | None) -> PodFailure | None:
    verdict = condition(pod, "PodScheduled")
    if verdict.get("status") != "False":
        return None
    time = text(verdict, "lastTransitionTime") or None
    return PodFailure(WorkloadReason.UNSCHEDULABLE, sentence(pod, capacity), name_of(pod), time=time)


def _refused_by_node(pod: Manifest) -> PodFailure | None:
    """A pod that was placed, and that the kubelet did not admit."""
    refusal = text(pod, "status", "reason")
    if not refusal or text(pod, "status", "phase") != "Failed":
        return None
    # OutOfcpu, OutOfnvidia.com/gpu: what the scheduler counted on was gone already.
    full = refusal.startswith("OutOf")
    reason = WorkloadReason.UNSCHEDULABLE if full else WorkloadReason.CONTAINER_START_ERROR
    message = with_words(f"its node refused it ({refusal})", text(pod, "status", "message"))
    return PodFailure(reason, message, name_of(pod), time=_not_ready_since(pod), passing=True)


_SETUP: Mapping[str, str] = MappingProxyType(
    {
        "FailedMount": "a volume of the pod cannot be mounted",
        "FailedMapVolume": "a volume of the pod cannot be mounted",
        "FailedAttachVolume": "a volume of the pod cannot be attached to its node",
        "FailedCreatePodSandBox": "the pod's network or sandbox cannot be set up",
    }
)
# A volume or a network that comes late is no failure. The kubelet tries again within two minutes and tells of it, after
# the first 25 times, once in five minutes.
_PASSING = timedelta(seconds=30)
_STANDING = timedelta(minutes=10)


def _not_set_up(pod: Manifest, warnings: Sequence[Manifest], now: datetime) -> PodFailure | None:
    for event in _standing(pod, warnings, now):
        message = with_words(_SETUP[event["reason"]], text(event, "message"))
        time = first_seen(event)
        return PodFailure(WorkloadReason.CONTAINER_START_ERROR, message, name_of(pod), time=time, passing=True)
    return None


def _standing(pod: Manifest, warnings: Sequence[Manifest], now: datetime) -> list[Manifest]:
    """What keeps the containers of `pod` from being made, the newest first."""
    made = condition(pod, "PodReadyToStartContainers").get("status") == "True"
    if made or any(map(_was_made, statuses(pod))):
        return []
    setup = [event for event in about(pod, warnings) if event.get("reason") in _SETUP]
    times = [(event, span(event)) for event in setup]
    return [event for event, time in times if time and time[1] - time[0] >= _PASSING and now - time[1] <= _STANDING]


def _was_made(status: Fields) -> bool:
    waiting = text(status, "state", "waiting", "reason")
    return bool(part(status, "state")) and waiting not in ("ContainerCreating", "PodInitializing")


def _of_containers(pod: Manifest, warnings: Sequence[Manifest]) -> list[PodFailure]:
    events = about(pod, warnings)
    found = [container_failure(pod, status, events) for status in statuses(pod)]
    since = _not_ready_since(pod)
    return [
        PodFailure(one.reason, one.message, name_of(pod), one.exit_code, one.time or since)
        for one in found
        if one is not None
    ]


def _not_ready_since(pod: Manifest) -> str | None:
    return text(condition(pod, "Ready"), "lastTransitionTime") or None
