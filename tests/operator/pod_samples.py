"""Pods, nodes and Events as the API server gives them."""

from datetime import UTC, datetime
from typing import Any

from fairlead_operator.conditions import WorkloadReason
from fairlead_operator.render import Manifest

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GPU = "nvidia.com/gpu"
PROBE = {"periodSeconds": 10, "failureThreshold": 360}


def pod(name: str = "m-5d8f-abcde", /, *, gpus: int = 1, memory: str = "32Gi", **status: Any) -> Manifest:
    """An engine's pod; its `status` is what is given, with PodScheduled and Ready as long as no conditions are."""
    conditions = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-01T11:00:00Z"},
        {"type": "Ready", "status": "False", "lastTransitionTime": "2026-03-01T11:00:01Z"},
    ]
    limits = {"memory": memory, **({GPU: str(gpus)} if gpus else {})}
    engine = {"name": "engine", "image": "r/e:1", "startupProbe": PROBE, "resources": {"limits": limits}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "models",
            "uid": f"uid-of-{name}",
            "labels": {"fairlead.dev/model": "m", "fairlead.dev/revision": "0123456789abcdef"},
        },
        "spec": {
            "nodeName": "node-1",
            "terminationGracePeriodSeconds": 185,
            "containers": [engine],
            "volumes": [{"name": "s3", "secret": {"secretName": "aws"}}],
        },
        "status": {"phase": "Pending", "conditions": conditions, **status},
    }


def with_engine(status: Manifest, **more: Any) -> Manifest:
    """A pod with the status of its engine's container."""
    return pod(containerStatuses=[status], **more)


def waiting(reason: str, message: str = "", **more: Any) -> Manifest:
    """The status of an engine's container that waits."""
    return {"name": "engine", "image": "r/e:1", "state": {"waiting": {"reason": reason, "message": message}}, **more}


def terminated(code: int, reason: str = "Error", message: str = "", **more: Any) -> Manifest:
    """One end of a container, for `state` or `lastState`; after a minute as long as nothing else is given."""
    times = {"startedAt": "2026-03-01T11:58:00Z", "finishedAt": "2026-03-01T11:59:00Z"}
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, **times, **more}}


def unschedulable(message: str, *, gpus: int = 1, reason: str = "Unschedulable") -> Manifest:
    """A pod that the scheduler has said `message` of."""
    found = pod(gpus=gpus)
    del found["spec"]["nodeName"]
    found["status"]["conditions"] = [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastTransitionTime": "2026-03-01T11:30:00Z",
        }
    ]
    return found


def event(reason: str, message: str, *, first: str, last: str, about: str = "m-5d8f-abcde") -> Manifest:
    """A Warning about a pod; `first` and `last` are times of the day."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "type": "Warning",
        "reason": reason,
        "message": message,
        "involvedObject": {"kind": "Pod", "namespace": "models", "name": about, "uid": f"uid-of-{about}"},
        "firstTimestamp": f"2026-03-01T{first}Z",
        "lastTimestamp": f"2026-03-01T{last}Z",
    }


def node(name: str = "node-1", /, *, gpus: int = 2, labels: dict[str, str] | None = None, **spec: Any) -> Manifest:
    """A node with devices."""
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}},
        "spec": spec,
        "status": {"allocatable": {"cpu": "32", "memory": "128Gi", GPU: str(gpus)}},
    }


DRIVER = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: error during container init: error running hook #0: nvidia-container-cli: "
    "initialization error: nvml error: driver not loaded: unknown"
)
NOT_FOUND = (
    'rpc error: code = NotFound desc = failed to pull and unpack image "r/e:1": failed to resolve reference "r/e:1": '
    "r/e:1: not found"
)

BROKEN_CONTAINERS: list[tuple[Manifest, WorkloadReason, str]] = [
    (
        with_engine(waiting("CrashLoopBackOff", lastState=terminated(137, "OOMKilled"), restartCount=3)),
        WorkloadReason.CONTAINER_OOM_KILLED,
        "the engine used more memory than its limit of 32Gi; ask for more in spec.resources or the resource profile",
    ),
    (
        with_engine({"name": "engine", "state": terminated(137, "OOMKilled")}),
        WorkloadReason.CONTAINER_OOM_KILLED,
        "the engine used more memory",
    ),
    (
        with_engine({"name": "engine", "state": {"running": {}}, "started": False, "lastState": terminated(1)}),
        WorkloadReason.CONTAINER_CRASH_LOOP_BACK_OFF,
        "the engine ended with exit code 1 without a word; see its log with kubectl logs --previous",
    ),
    (
        with_engine(waiting("ErrImagePull", NOT_FOUND)),
        WorkloadReason.IMAGE_PULL_ERROR,
        "the image r/e:1 cannot be pulled (correct spec.engine.image, or push the image): failed to pull and unpack",
    ),
    (
        with_engine(waiting("ImagePullBackOff", f'Back-off pulling image "r/e:1": ErrImagePull: {NOT_FOUND}')),
        WorkloadReason.IMAGE_PULL_ERROR,
        '(correct spec.engine.image, or push the image): failed to pull and unpack image "r/e:1": failed to resolve',
    ),
    (
        with_engine(
            waiting(
                "ErrImagePull",
                'rpc error: code = Unknown desc = failed to pull and unpack image "r/e:1": failed to resolve reference '
                '"r/e:1": pull access denied, repository does not exist or may require authorization: server message: '
                "insufficient_scope: authorization failed",
            )
        ),
        WorkloadReason.IMAGE_PULL_ERROR,
        "(give the registry's credentials by images.pullSecrets in the operator's settings)",
    ),
    (
        with_engine(
            waiting(
                "ErrImagePull",
                'rpc error: code = Unknown desc = Error response from daemon: Get "https://u:p4ss@registry.corp/v2/": '
                "dial tcp: lookup registry.corp on 10.0.0.10:53: no such host",
            )
        ),
        WorkloadReason.IMAGE_PULL_ERROR,
        '(let the nodes reach the registry): Error response from daemon: Get "https://registry.corp/v2/": dial tcp',
    ),
    (
        with_engine(
            waiting("InvalidImageName", 'Failed to apply default image tag "R/E:1": couldn\'t parse image name "R/E:1"')
        ),
        WorkloadReason.IMAGE_PULL_ERROR,
        "(correct spec.engine.image): Failed to apply default image tag",
    ),
    (
        with_engine(waiting("ErrImageNeverPull", 'Container image "r/e:1" is not present with pull policy of Never')),
        WorkloadReason.IMAGE_PULL_ERROR,
        "the image r/e:1 is not on the node, and images.pullPolicy is Never",
    ),
    (
        with_engine(waiting("CreateContainerConfigError", 'secret "hf" not found')),
        WorkloadReason.CONTAINER_START_ERROR,
        'the engine cannot be started: secret "hf" not found',
    ),
    (
        with_engine(waiting("RunContainerError", DRIVER, lastState=terminated(128, "StartError", DRIVER))),
        WorkloadReason.CONTAINER_START_ERROR,
        "nvml error: driver not loaded: unknown",
    ),
    (
        with_engine(
            waiting("CrashLoopBackOff", "back-off 5m0s", lastState=terminated(128, "StartError", 'exec: "fairlead": x'))
        ),
        WorkloadReason.CONTAINER_START_ERROR,
        'the engine cannot be started: exec: "fairlead": x',
    ),
    (
        with_engine(
            waiting(
                "CrashLoopBackOff",
                "back-off 40s restarting failed container=engine pod=m",
                lastState=terminated(1, "Error", "Traceback (most recent call last):\n  File x\nValueError: bad\n\n"),
                restartCount=4,
            )
        ),
        WorkloadReason.CONTAINER_CRASH_LOOP_BACK_OFF,
        "the engine ended with exit code 1, restarted 4 times: ValueError: bad",
    ),
    (
        with_engine({"name": "engine", "state": terminated(139)}),
        WorkloadReason.CONTAINER_CRASH_LOOP_BACK_OFF,
        "the engine ended with exit code 139 (SIGSEGV) without a word",
    ),
    (
        with_engine(waiting("CrashLoopBackOff", lastState=terminated(0, "Completed"))),
        WorkloadReason.CONTAINER_CRASH_LOOP_BACK_OFF,
        "the engine ended with exit code 0 without a word",
    ),
    (
        with_engine(
            {
                "name": "engine",
                "started": False,
                "state": {"running": {"startedAt": "2026-03-01T11:59:01Z"}},
                "lastState": terminated(0, "Completed", startedAt="2026-03-01T10:58:55Z"),
            }
        ),
        WorkloadReason.CONTAINER_CRASH_LOOP_BACK_OFF,
        "the engine ended with exit code 0: it was not ready after 3600 s; raise spec.startupTimeoutSeconds",
    ),
    (
        pod(
            initContainerStatuses=[{"name": "wait-gcs-ready", "state": terminated(1, message="no head")}],
            containerStatuses=[waiting("PodInitializing")],
        ),
        WorkloadReason.CONTAINER_CRASH_LOOP_BACK_OFF,
        "the container wait-gcs-ready ended with exit code 1: no head",
    ),
]
"""A pod, what its container failed of, and words of what is said."""
