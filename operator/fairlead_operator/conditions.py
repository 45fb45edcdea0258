"""What a Model's status says: conditions as Kubernetes has them, each with a constant reason. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from fairlead_operator.render import Manifest
from fairlead_operator.words import cut
from fairlead_serve.model import Condition

Status = Literal["True", "False", "Unknown"]

LONGEST_MESSAGE = 4096
"""Characters of a condition's message, and of that of the last failure."""


class SpecReason(StrEnum):
    """Why SpecValid is what it is: what only the cluster can say of a specification."""

    VALID = "Valid"
    UNKNOWN_RESOURCE_PROFILE = "UnknownResourceProfile"
    TOO_MANY_GPUS = "TooManyGPUs"
    UNKNOWN_IMAGE = "UnknownImage"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - the name of a reason
    UNKNOWN_FALLBACK = "UnknownFallback"
    UNKNOWN_ARGUMENT = "UnknownArgument"
    RENDER_FAILED = "RenderFailed"
    KUBERAY_NOT_FOUND = "KubeRayNotFound"
    NAME_CONFLICT = "NameConflict"
    NAME_TAKEN = "NameTaken"
    CACHE_IMMUTABLE = "CacheImmutable"
    REFUSED = "Refused"


class CacheReason(StrEnum):
    """Why ModelCached is what it is."""

    CACHED = "Cached"
    DOWNLOADING = "Downloading"
    AUTH_FAILED = "AuthFailed"
    NOT_FOUND = "NotFound"
    DISK_FULL = "DiskFull"
    DOWNLOAD_FAILED = "DownloadFailed"
    STORAGE_CLASS_NOT_FOUND = "StorageClassNotFound"
    CLAIM_PENDING = "ClaimPending"
    UPSTREAM = "Upstream"
    UNKNOWN = "Unknown"


class WorkloadReason(StrEnum):
    """Why WorkloadReady is what it is."""

    READY = "Ready"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_ERROR = "ImagePullError"
    CONTAINER_OOM_KILLED = "ContainerOOMKilled"
    CONTAINER_CRASH_LOOP_BACK_OFF = "ContainerCrashLoopBackOff"
    CONTAINER_START_ERROR = "ContainerStartError"
    POD_EVICTED = "PodEvicted"
    DOWNLOADING = "Downloading"
    LOADING = "Loading"
    NOT_ENOUGH_READY = "NotEnoughReady"
    STARTING = "Starting"
    IDLE = "Idle"
    SUSPENDED = "Suspended"
    UPSTREAM = "Upstream"


class RolloutReason(StrEnum):
    """Why Progressing is what it is."""

    ROLLOUT_COMPLETE = "RolloutComplete"
    ROLLOUT_IN_PROGRESS = "RolloutInProgress"
    BLOCKED = "Blocked"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    ROLLED_BACK = "RolledBack"
    SUSPENDED = "Suspended"


class ScalingReason(StrEnum):
    """Why ScalingReady is what it is."""

    FIXED = "Fixed"
    AUTOSCALED = "Autoscaled"
    NOT_AUTOSCALED = "NotAutoscaled"
    SUSPENDED = "Suspended"
    UPSTREAM = "Upstream"
    UNKNOWN = "Unknown"


class SuspendedReason(StrEnum):
    """Why Suspended is what it is."""

    SUSPENDED = "Suspended"
    NOT_SUSPENDED = "NotSuspended"
    UNKNOWN = "Unknown"


R = TypeVar("R", bound=StrEnum)


@dataclass(frozen=True)
class Aspect(Generic[R]):
    """One type of condition, and the reasons that it may have."""

    name: str
    reasons: type[R]


# Ready sums the others up and has the reason of whatever is the cause.
READY = Aspect("Ready", StrEnum)
SPEC_VALID = Aspect("SpecValid", SpecReason)
MODEL_CACHED = Aspect("ModelCached", CacheReason)
WORKLOAD_READY = Aspect("WorkloadReady", WorkloadReason)
PROGRESSING = Aspect("Progressing", RolloutReason)
SCALING_READY = Aspect("ScalingReady", ScalingReason)
SUSPENDED = Aspect("Suspended", SuspendedReason)

ASPECTS: tuple[Aspect[Any], ...] = (
    READY, SPEC_VALID, MODEL_CACHED, WORKLOAD_READY, PROGRESSING, SCALING_READY, SUSPENDED,
)  # fmt: skip
"""All of them, in the order in which a status has them."""


class Conditions:
    """The conditions of one Model, made from those it had.

    What is not set anew stays as it was, and so do types that somebody else wrote.
    """

    def __init__(self, previous: Sequence[Manifest], *, generation: int, now: datetime) -> None:
        """`generation` is that of the Model which is looked at, `now` an aware time."""
        self._previous = {str(condition.get("type")): condition for condition in previous}
        self._by_type = dict(self._previous)
        self._generation = generation
        self._now = timestamp(now)

    def set(self, aspect: Aspect[R], status: Status, reason: R, message: str = "") -> None:
        """Say what holds now. The time of transition moves only when the status does."""
        condition = Condition.model_validate(
            {
                "type": aspect.name,
                "status": status,
                "reason": reason.value,
                "message": cut(message, LONGEST_MESSAGE),
                "lastTransitionTime": self._since(aspect.name, status),
                "observedGeneration": self._generation,
            }
        )
        self._by_type[aspect.name] = condition.model_dump(mode="json", by_alias=True)

    def get(self, aspect: Aspect[Any]) -> Manifest | None:
        """The condition as it stands."""
        return self._by_type.get(aspect.name)

    def manifests(self) -> list[Manifest]:
        """All of them, as the API has them: ours in their order, then the others in theirs."""
        own = [aspect.name for aspect in ASPECTS]
        order = [*(name for name in own if name in self._by_type), *(name for name in self._by_type if name not in own)]
        return [self._by_type[name] for name in order]

    def _since(self, name: str, status: Status) -> str:
        previous = self._previous.get(name, {})
        unchanged = previous.get("status") == status
        return (previous.get("lastTransitionTime") if unchanged else None) or self._now


def timestamp(time: datetime) -> str:
    """An aware time as the API writes it: `2025-01-31T12:00:00Z`."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
