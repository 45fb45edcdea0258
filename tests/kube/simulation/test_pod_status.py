"""Statuses of pods by themselves, as tests write them on an API server without nodes."""

from collections.abc import Callable
from functools import partial

import pytest

from fairlead_operator.render import Manifest
from tests.charts.schemas import check
from tests.kube.simulation import pod_status
from tests.kube.simulation.pod_status import Status
from tests.kube.simulation.world import condition, state, template

AT, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"
SIDECAR = {"name": "sidecar", "image": "s:1"}
Write = Callable[[Manifest], Status]

ALL: dict[str, Write] = {
    "unschedulable": partial(pod_status.unschedulable, message="0/1 nodes are available", at=AT),
    "placed": partial(pod_status.placed, host_ip="10.0.0.1", pod_ip="127.1.1.1", at=AT),
    "image pull error": partial(pod_status.image_pull_error, error="not found", at=AT),
    "image pull back-off": partial(pod_status.image_pull_back_off, error="not found", at=AT),
    "config error": partial(pod_status.config_error, message='secret "x" not found', at=AT),
    "create error": partial(pod_status.create_error, message="no command specified", at=AT),
    "run error": partial(pod_status.run_error, message="exec format error", at=AT),
    "running": partial(pod_status.running, ready=False, at=AT),
    "ready": partial(pod_status.running, ready=True, at=AT),
    "out of memory": partial(pod_status.out_of_memory, at=AT),
    "start error": partial(pod_status.start_error, message="exec format error", at=AT),
    "crash loop": partial(pod_status.crash_loop, at=AT),
    "evicted": partial(pod_status.evicted, message="The node was low on resource: memory. ", at=AT),
}


def pod(**status: object) -> Manifest:
    metadata = {"name": "m-1", "namespace": "models", "uid": "u"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template()["spec"], "status": status}


def after(*steps: Write) -> Manifest:
    """A pod to which all this has happened."""
    found = pod()
    for step in steps:
        found = {**found, "status": step(found)}
    return found


@pytest.mark.parametrize("write", ALL.values(), ids=ALL)
def test_every_status_is_one_that_kubernetes_knows(write: Write) -> None:
    for before in ((), (ALL["placed"],), (ALL["placed"], ALL["ready"])):
        check(after(*before, write))


def test_a_pod_with_a_sidecar_has_a_status_for_it() -> None:
    found = pod()
    found["spec"]["containers"].append(SIDECAR)
    status = pod_status.running(found, ready=False, at=AT)
    check({**found, "status": status})
    assert [(one["name"], one["ready"]) for one in status["containerStatuses"]] == [
        ("engine", False),
        ("sidecar", True),
    ]


def test_a_restart_is_counted_when_the_container_runs_again() -> None:
    found = after(ALL["placed"], ALL["ready"], ALL["out of memory"])
    assert (state(found)["restartCount"], found["status"]["phase"]) == (0, "Running")
    found = after(ALL["placed"], ALL["ready"], ALL["out of memory"], ALL["running"])
    assert state(found)["restartCount"] == 1
    assert state(found)["lastState"]["terminated"]["exitCode"] == 137


def test_a_condition_keeps_its_time_while_it_stays_the_same() -> None:
    later = partial(pod_status.running, ready=True, at=LATER)
    found = after(ALL["placed"], ALL["running"], later)
    assert condition(found, "Ready")["lastTransitionTime"] == LATER
    assert condition(found, "Initialized")["lastTransitionTime"] == AT
    assert state(found)["state"]["running"]["startedAt"] == AT


@pytest.mark.parametrize(("exit_code", "phase"), [(0, "Succeeded"), (1, "Failed")])
def test_a_pod_that_is_never_restarted_is_over_when_its_container_is(exit_code: int, phase: str) -> None:
    found = pod()
    found["spec"]["restartPolicy"] = "Never"
    status = pod_status.terminated(found, exit_code, at=AT)
    assert status["phase"] == phase
    assert pod_status.is_ended({**found, "status": status})


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}, "Burstable"),
    ],
)
def test_the_quality_of_service_follows_from_the_resources(resources: dict[str, object], expected: str) -> None:
    found = pod()
    found["spec"]["containers"][0]["resources"] = resources
    assert pod_status.qos_class(found) == expected
