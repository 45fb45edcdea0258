"""Why a pod is not ready."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.conditions import WorkloadReason
from fairlead_operator.pods import (
    PRIORITY,
    PodFailure,
    engine_status,
    engine_verdict,
    failure,
    is_leaving,
    is_over,
    is_ready,
    missing_secret,
    revision_of,
    worst,
)
from fairlead_operator.render import Manifest
from tests.operator.pod_samples import (
    BROKEN_CONTAINERS,
    GPU,
    NOT_FOUND,
    NOW,
    event,
    pod,
    terminated,
    unschedulable,
    waiting,
    with_engine,
)


def evicted(reason: str, message: str) -> Manifest:
    return pod(phase="Failed", reason=reason, message=message, containerStatuses=[waiting("")])


def disrupted(reason: str, message: str) -> Manifest:
    found = pod()
    target = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    found["status"]["conditions"].append({**target, "lastTransitionTime": "2026-03-01T11:40:00Z"})
    found["metadata"]["deletionTimestamp"] = "2026-03-01T11:41:00Z"
    return found


FAILURES: list[tuple[Manifest, WorkloadReason, str]] = [
    (
        evicted(
            "Evicted", "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 9Gi."
        ),
        WorkloadReason.POD_EVICTED,
        "its node evicted it: The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available",
    ),
    (
        evicted("Terminated", "Pod was terminated in response to imminent node shutdown."),
        WorkloadReason.POD_EVICTED,
        "its node was shut down: Pod was terminated",
    ),
    (
        evicted("NodeLost", "Node node-1 which was running pod m is unresponsive"),
        WorkloadReason.POD_EVICTED,
        "its node is lost: Node node-1",
    ),
    (
        disrupted("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod"),
        WorkloadReason.POD_EVICTED,
        "a pod of higher priority took its place (raise spec.priorityClassName, or add nodes): default-scheduler: pre",
    ),
    (
        disrupted("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"),
        WorkloadReason.POD_EVICTED,
        "its node does not answer, or was taken out of use: Taint manager: deleting due to NoExecute taint",
    ),
    (
        evicted(
            "UnexpectedAdmissionError",
            "Pod was rejected: Allocate failed due to no healthy devices present; cannot allocate unhealthy devices "
            "nvidia.com/gpu, which is unexpected",
        ),
        WorkloadReason.CONTAINER_START_ERROR,
        "its node refused it (UnexpectedAdmissionError): Pod was rejected: Allocate failed due to no healthy devices",
    ),
    (
        evicted(
            "OutOfnvidia.com/gpu",
            "Pod was rejected: Node didn't have enough resource: nvidia.com/gpu, requested: 1, used: 1, capacity: 1",
        ),
        WorkloadReason.UNSCHEDULABLE,
        "its node refused it (OutOfnvidia.com/gpu): Pod was rejected: Node didn't have enough resource: nvidia.com/gpu",
    ),
    (
        unschedulable("0/1 nodes are available: 1 Insufficient nvidia.com/gpu."),
        WorkloadReason.UNSCHEDULABLE,
        "needs 1 nvidia.com/gpu, which no node has free (scheduler: 0/1 nodes are available: 1 Insufficient",
    ),
]


@pytest.mark.parametrize(("sample", "reason", "words"), FAILURES)
def test_a_failure_is_named_and_told(sample: Manifest, reason: WorkloadReason, words: str) -> None:
    found = failure(sample, now=NOW)
    assert found is not None
    assert found.reason == reason
    assert words in found.message
    assert found.pod == "m-5d8f-abcde"


@pytest.mark.parametrize(
    "sample",
    [
        {},
        pod(),
        pod(conditions=[]),
        with_engine(waiting("ContainerCreating")),
        with_engine(waiting("PodInitializing")),
        with_engine({"name": "engine", "state": {"running": {}}, "started": False}),
        with_engine({"name": "engine", "state": {"running": {}}, "started": True}, phase="Running"),
        pod(phase="Succeeded", containerStatuses=[{"name": "engine", "state": terminated(0, "Completed")}]),
    ],
)
def test_what_every_pod_goes_through_is_no_failure(sample: Manifest) -> None:
    assert failure(sample, now=NOW) is None


def test_a_pod_that_is_ready_has_not_failed() -> None:
    sample = with_engine(waiting("CrashLoopBackOff", lastState=terminated(1)))
    sample["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    assert is_ready(sample)
    assert failure(sample, now=NOW) is None


def test_a_pod_that_is_told_to_leave_does_not_fail_by_it() -> None:
    sample = with_engine({"name": "engine", "state": terminated(137)})
    sample["metadata"]["deletionTimestamp"] = "2026-03-01T11:58:00Z"
    assert is_leaving(sample)
    assert failure(sample, now=NOW) is None


def test_a_wait_is_dated_from_when_it_began() -> None:
    found = failure(with_engine(waiting("ErrImagePull", NOT_FOUND)), now=NOW)
    assert found is not None
    assert (found.exit_code, found.time) == (None, "2026-03-01T11:00:01Z")


MOUNT = 'MountVolume.SetUp failed for volume "config" : configmap "m-model-0badc0de" not found'


@pytest.mark.parametrize(
    ("reason", "words", "told"),
    [
        ("FailedMount", MOUNT, f"a volume of the pod cannot be mounted: {MOUNT}"),
        (
            "FailedAttachVolume",
            'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) m-1',
            "a volume of the pod cannot be attached to its node: Multi-Attach error",
        ),
        (
            "FailedCreatePodSandBox",
            'Failed to create pod sandbox: rpc error: code = Unknown desc = plugin type="calico" failed (add)',
            "the pod's network or sandbox cannot be set up: Failed to create pod sandbox",
        ),
    ],
)
def test_what_stands_in_the_way_of_the_containers_is_a_start_error(reason: str, words: str, told: str) -> None:
    found = failure(pod(), [event(reason, words, first="11:50:00", last="11:59:00")], now=NOW)
    assert found is not None
    assert found.reason == WorkloadReason.CONTAINER_START_ERROR
    assert told in found.message
    assert found.time == "2026-03-01T11:50:00Z"


@pytest.mark.parametrize(
    ("sample", "warning"),
    [
        (pod(), event("FailedMount", MOUNT, first="11:59:40", last="11:59:50")),
        (pod(), event("FailedMount", MOUNT, first="11:30:00", last="11:45:00")),
        (pod(), event("FailedMount", MOUNT, first="11:50:00", last="11:59:00", about="m-5d8f-other")),
        (pod(), event("Unhealthy", "Startup probe failed", first="11:50:00", last="11:59:00")),
        (with_engine(waiting("")), event("FailedMount", MOUNT, first="11:50:00", last="11:59:00")),
        (
            pod(conditions=[{"type": "PodReadyToStartContainers", "status": "True"}]),
            event("FailedMount", MOUNT, first="11:50:00", last="11:59:00"),
        ),
    ],
    ids=["just begun", "long past", "another pod's", "a probe", "container made", "sandbox made"],
)
def test_what_has_passed_is_no_failure(sample: Manifest, warning: Manifest) -> None:
    assert failure(sample, [warning], now=NOW) is None


def test_events_of_the_newer_form_have_their_times_in_a_series() -> None:
    told = event("FailedMount", MOUNT, first="11:50:00", last="11:50:00")
    told |= {"firstTimestamp": None, "lastTimestamp": None, "eventTime": "2026-03-01T11:50:00.123456Z"}
    told["series"] = {"count": 9, "lastObservedTime": "2026-03-01T11:59:00.123456Z"}
    assert failure(pod(), [told], now=NOW) is not None


def one(reason: WorkloadReason, *, time: str | None = None, name: str = "a") -> PodFailure:
    return PodFailure(reason, "", name, time=time)


def test_the_gravest_failure_is_spoken_of_whatever_its_time() -> None:
    failures = [one(reason, time=f"2026-03-01T12:00:0{place}Z") for place, reason in enumerate(PRIORITY)]
    while failures:
        assert worst(reversed(failures)) == failures.pop(0)
    assert worst([]) is None


def test_of_equally_grave_failures_the_newest_is_spoken_of() -> None:
    reason = WorkloadReason.CONTAINER_CRASH_LOOP_BACK_OFF
    old, new = one(reason, time="2026-03-01T11:00:00Z"), one(reason, time="2026-03-01T12:00:00Z")
    assert worst([old, new]) == worst([new, old]) == new
    assert worst([one(reason), old]) == old


def test_the_order_of_pods_does_not_change_what_is_spoken_of() -> None:
    a, b = (one(WorkloadReason.POD_EVICTED, name=name) for name in "ab")
    assert worst([a, b]) == worst([b, a])


@pytest.mark.parametrize(
    ("words", "secret"),
    [
        ('secret "hf" not found', ("hf", None)),
        ('secrets "hf" not found', ("hf", None)),
        ("couldn't find key token in Secret models/hf", ("hf", "token")),
        ('configmap "hf" not found', None),
        ("couldn't find key token in ConfigMap models/hf", None),
        ("failed to sync secret cache: timed out waiting for the condition", None),
    ],
)
def test_a_secret_that_is_missing_is_named(words: str, secret: tuple[str, str | None] | None) -> None:
    assert missing_secret(with_engine(waiting("CreateContainerConfigError", words)), now=NOW) == secret


@pytest.mark.parametrize(
    ("words", "secret"),
    [
        ('MountVolume.SetUp failed for volume "s3" : secret "aws" not found', ("aws", None)),
        (
            'MountVolume.SetUp failed for volume "s3" : references non-existent secret key: credentials',
            ("aws", "credentials"),
        ),
        ('MountVolume.SetUp failed for volume "x" : references non-existent secret key: credentials', None),
        (MOUNT, None),
    ],
)
def test_a_secret_that_cannot_be_mounted_is_named(words: str, secret: tuple[str, str | None] | None) -> None:
    told = event("FailedMount", words, first="11:50:00", last="11:59:00")
    assert missing_secret(pod(), [told], now=NOW) == secret


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        ("AuthFailed: hf://a/b wants a token", ("AuthFailed", "hf://a/b wants a token")),
        ("a log line\nDiskFull: 3 GiB are missing\n", ("DiskFull", "3 GiB are missing")),
        ("ValueError: bad", None),
        ("AuthFailed", None),
        ("", None),
    ],
)
def test_an_engine_says_itself_what_it_ended_of(message: str, verdict: tuple[str, str] | None) -> None:
    for status in (
        {"name": "engine", "state": terminated(1, message=message)},
        waiting("CrashLoopBackOff", lastState=terminated(1, message=message)),
    ):
        assert engine_verdict(with_engine(status)) == verdict


def test_an_engine_that_came_up_again_takes_back_what_it_said() -> None:
    status = {"name": "engine", "started": True, "lastState": terminated(1, message="DiskFull: 3 GiB are missing")}
    assert engine_verdict(with_engine(status)) is None


def test_the_engine_is_found_among_the_containers() -> None:
    other = {"name": "proxy"}
    for name in ("engine", "ray-worker"):
        assert engine_status(pod(containerStatuses=[other, {"name": name}])) == {"name": name}
    assert engine_status(pod(containerStatuses=[other])) == other
    assert engine_status({}) == {}


def test_a_pod_knows_its_revision_and_its_end() -> None:
    assert revision_of(pod()) == "0123456789abcdef"
    assert revision_of({}) == ""
    assert [is_over(pod(phase=phase)) for phase in ("Pending", "Running", "Succeeded", "Failed")] == [
        False, False, True, True,
    ]  # fmt: skip


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*path, key)
        yield from _places(inner, (*path, key))


def _without(sample: Manifest, path: tuple[str | int, ...], *, null: bool) -> Manifest:
    copied: Any = copy.deepcopy(sample)
    inner = copied
    for step in path[:-1]:
        inner = inner[step]
    if null:
        inner[path[-1]] = {} if isinstance(path[-1], int) else None
    else:
        del inner[path[-1]]
    found: Manifest = copied
    return found


SAMPLES = [sample for sample, _, _ in (*FAILURES, *BROKEN_CONTAINERS)]
WARNINGS = [
    event("FailedMount", MOUNT, first="11:50:00", last="11:59:00"),
    event("Failed", f'Failed to pull image "r/e:1": {NOT_FOUND}', first="11:50:00", last="11:59:00"),
]


@given(st.data())
def test_whatever_is_missing_of_a_pod_and_its_events_something_is_said_or_nothing(data: st.DataObject) -> None:
    sample, *warnings = (_shrunk(data, one) for one in (data.draw(st.sampled_from(SAMPLES)), *copy.deepcopy(WARNINGS)))
    found = failure(sample, warnings, now=NOW)
    assert found is None or (found.reason in PRIORITY and found.message)
    missing_secret(sample, warnings, now=NOW)
    engine_verdict(sample)
    assert revision_of(sample) in ("", "0123456789abcdef")


def _shrunk(data: st.DataObject, sample: Manifest) -> Manifest:
    for _ in range(data.draw(st.integers(0, 4))):
        places = list(_places(sample))
        if places:
            sample = _without(sample, data.draw(st.sampled_from(places)), null=data.draw(st.booleans()))
    return sample


def test_the_words_on_devices_name_the_device_of_the_pod() -> None:
    found = failure(unschedulable(f"0/1 nodes are available: 1 Insufficient {GPU}.", gpus=4), now=NOW)
    assert found is not None
    assert found.message.startswith(f"needs 4 {GPU}")
