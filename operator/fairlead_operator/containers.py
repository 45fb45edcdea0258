"""What a container of a pod failed of, and what to change. Pure."""

import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

from fairlead_operator.conditions import WorkloadReason
from fairlead_operator.fields import Fields, items, moment, part, text
from fairlead_operator.render import Manifest
from fairlead_operator.words import last_line, quoted, with_words

ENGINE_CONTAINERS = ("engine", "ray-worker")
"""What the engine's container is called: Standalone, and with KubeRay."""


@dataclass(frozen=True)
class ContainerFailure:
    """Why one container does not run. `time` (RFC 3339) is when it ended; empty where it never ran."""

    reason: WorkloadReason
    message: str
    exit_code: int | None = None
    time: str = ""


# Waiting reasons of pkg/kubelet/images and pkg/kubelet/container.
_IMAGE_REASONS = frozenset(
    {
        "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
        "RegistryUnavailable", "SignatureValidationFailed",
    }
)  # fmt: skip
# The last two are how containerd and Docker say that a container ended before its first instruction.
_START_REASONS = frozenset(
    {
        "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError",
        "PreStartHookError", "PostStartHookError", "StartError", "ContainerCannotRun",
    }
)  # fmt: skip


def statuses(pod: Manifest) -> list[Fields]:
    """The status of each container, those of the initialisation first."""
    return [*items(pod, "status", "initContainerStatuses"), *items(pod, "status", "containerStatuses")]


def ending(status: Fields) -> Fields:
    """The latest end of a container, empty once it has started anew: what explains that it does not run."""
    if status.get("ready") or status.get("started"):
        return {}
    return part(status, "state", "terminated") or part(status, "lastState", "terminated")


def container_failure(pod: Manifest, status: Fields, events: Sequence[Manifest]) -> ContainerFailure | None:
    """Why the container with `status` does not run; None while it is on its way. `events` are about `pod`."""
    end, waiting = ending(status), part(status, "state", "waiting")
    code, time = _exit_code(end), text(end, "finishedAt")
    if end.get("reason") == "OOMKilled":
        return ContainerFailure(WorkloadReason.CONTAINER_OOM_KILLED, _out_of_memory(pod, status), code, time)
    if waiting.get("reason") in _IMAGE_REASONS:
        return ContainerFailure(WorkloadReason.IMAGE_PULL_ERROR, _image_message(status, events))
    unable = next((state for state in (waiting, end) if state.get("reason") in _START_REASONS), None)
    if unable is not None:
        message = with_words(f"{_called(status)} cannot be started", text(unable, "message"))
        return ContainerFailure(WorkloadReason.CONTAINER_START_ERROR, message, code, time)
    if end.get("exitCode") or waiting.get("reason") == "CrashLoopBackOff" or _late(pod, status, end):
        return ContainerFailure(WorkloadReason.CONTAINER_CRASH_LOOP_BACK_OFF, _crash(pod, status, end), code, time)
    return None


def _called(status: Fields) -> str:
    name = text(status, "name")
    return "the engine" if name in ENGINE_CONTAINERS else f"the container {name}"


def _spec(pod: Manifest, status: Fields) -> Fields:
    both = [*items(pod, "spec", "containers"), *items(pod, "spec", "initContainers")]
    return next((container for container in both if container.get("name") == status.get("name")), {})


def _exit_code(end: Fields) -> int | None:
    code = end.get("exitCode")
    # What the status of a Model can hold; Windows has others.
    return code if isinstance(code, int) and abs(code) <= 255 else None


def _out_of_memory(pod: Manifest, status: Fields) -> str:
    limit = part(_spec(pod, status), "resources", "limits").get("memory")
    why = f"used more memory than its limit of {limit}" if limit else "was killed because its node ran out of memory"
    return f"{_called(status)} {why}; ask for more in spec.resources or the resource profile"


_SIGNALS: Mapping[int, str] = MappingProxyType({128 + one.value: one.name for one in signal.Signals})


def _crash(pod: Manifest, status: Fields, end: Fields) -> str:
    code = end.get("exitCode")
    with_code = "" if code is None else f" with exit code {code}" + (f" ({_SIGNALS[code]})" if code in _SIGNALS else "")
    restarts = status.get("restartCount") or 0
    again = f", restarted {restarts} times" if restarts > 1 else ""
    ended = f"{_called(status)} ended{with_code}{again}"
    if late := _late(pod, status, end):
        return f"{ended}: it was not ready after {late} s; raise spec.startupTimeoutSeconds, or see its log for why"
    said = last_line(text(end, "message"))
    return f"{ended}: {said}" if said else f"{ended} without a word; see its log with kubectl logs --previous"


def _late(pod: Manifest, status: Fields, end: Fields) -> int | None:
    """Seconds that the container had to start, where it was ended just when they were over."""
    probe = part(_spec(pod, status), "startupProbe")
    began, ended = moment(text(end, "startedAt")), moment(text(end, "finishedAt"))
    # Told to end, or killed after that.
    if not probe or not began or not ended or end.get("exitCode") not in (0, 143, 137):
        return None
    # The API server fills in both numbers.
    budget = timedelta(seconds=(probe.get("periodSeconds") or 10) * (probe.get("failureThreshold") or 3))
    grace = timedelta(seconds=part(pod, "spec").get("terminationGracePeriodSeconds") or 30)
    slack = timedelta(seconds=probe.get("periodSeconds") or 10)
    in_time = budget - slack <= ended - began <= budget + grace + slack
    return int(budget.total_seconds()) if in_time else None


def _image_message(status: Fields, events: Sequence[Manifest]) -> str:
    image, waiting = text(status, "image"), part(status, "state", "waiting")
    if waiting.get("reason") == "ErrImageNeverPull":
        return (
            f"the image {image} is not on the node, and images.pullPolicy is Never; put it there, or change the policy"
        )
    words = quoted(_registry_words(image, text(waiting, "message"), events))
    advice = next((advice for pattern, advice in _IMAGE_ADVICE.items() if re.search(pattern, words, re.IGNORECASE)), "")
    return with_words(f"the image {image} cannot be pulled{f' ({advice})' if advice else ''}", words)


def _registry_words(image: str, message: str, events: Iterable[Manifest]) -> str:
    """What the registry or the runtime said, without what the kubelet says around it."""
    if "rpc error" not in message:
        # Before Kubernetes 1.32 the kubelet, while it waits, says nothing but that it waits.
        failed = (text(event, "message") for event in events if event.get("reason") == "Failed")
        message = next((words for words in failed if words.startswith(f'Failed to pull image "{image}"')), message)
    return re.sub(r"^.*?\brpc error: code = \w+ desc = ", "", message, flags=re.DOTALL)


# What registries and container runtimes say, and what to do about it; the first that fits.
_IMAGE_ADVICE: Mapping[str, str] = MappingProxyType(
    {
        r"unauthori[sz]ed|authentication required|authorization failed|denied|forbidden|\b40[13]\b|no basic auth": (
            "give the registry's credentials by images.pullSecrets in the operator's settings"
        ),
        r"toomanyrequests|too many requests|\b429\b": "the registry refuses more pulls for now",
        r"not found|manifest unknown|does not exist|\b404\b": "correct spec.engine.image, or push the image",
        r"invalid reference|couldn't parse image|failed to apply default image tag|InvalidImageName": (
            "correct spec.engine.image"
        ),
        r"no space left": "free disk on the node",
        r"no such host|i/o timeout|timed? ?out|connection refused|x509|deadline exceeded|unreachable": (
            "let the nodes reach the registry"
        ),
    }
)
