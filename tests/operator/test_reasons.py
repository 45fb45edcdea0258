"""Every reason that a Model's status can have, from what a cluster says of its pods.

The pods are made by hand and belong to nobody, so that these tests need no kubelet and run against a bare API server.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from fairlead_operator.reconcile import DEFAULT_WAITS
from tests.kube.resources import Manifest
from tests.kube.simulation import pod_status
from tests.operator.hands import Hands
from tests.operator.waiting import until
from tests.operator.world import World, now

Status = Mapping[str, Any]


@pytest.fixture
def served(world: World) -> Iterator[World]:
    """A world with an operator at work and a Model in it."""
    with world.operator():
        world.model()
        world.wait_observed()
        yield world


WAITS_FOR_GPUS = "0/3 nodes are available: 1 node(s) had untolerated taint {team: a}, 2 Insufficient nvidia.com/gpu."
NO_IMAGE = 'failed to resolve reference "registry/engine:9": not found'
NO_SECRET = 'secret "hf" not found'


def after(*steps: Callable[[Manifest], Status]) -> Callable[[Manifest], Status]:
    """The status of a pod that one thing after another has happened to."""

    def status(pod: Manifest) -> Status:
        for step in steps:
            pod = {**pod, "status": dict(step(pod))}
        return dict(pod["status"])

    return status


def placed(pod: Manifest) -> Status:
    return pod_status.placed(pod, host_ip="10.0.0.1", at=now(), pod_ip="127.0.0.1")


def running(pod: Manifest) -> Status:
    return pod_status.running(pod, ready=False, at=now())


def crashed(pod: Manifest) -> Status:
    return pod_status.terminated(pod, 1, at=now(), reason="Error", message="EngineStartFailed: the kernel is too old")


def crash_loop(pod: Manifest) -> Status:
    return pod_status.crash_loop(pod, at=now())


CASES: dict[str, tuple[Callable[[Manifest], Status], list[str]]] = {
    "Unschedulable": (
        lambda pod: pod_status.unschedulable(pod, WAITS_FOR_GPUS, at=now()),
        ["needs 1 ", "nvidia.com/gpu", WAITS_FOR_GPUS.rstrip(".")],
    ),
    "ImagePullError": (
        after(placed, lambda pod: pod_status.image_pull_error(pod, NO_IMAGE, at=now())),
        ["registry/engine:9", "not found"],
    ),
    "ContainerOOMKilled": (
        after(placed, running, lambda pod: pod_status.out_of_memory(pod, at=now()), crash_loop),
        ["memory"],
    ),
    "ContainerCrashLoopBackOff": (after(placed, running, crashed, crash_loop), ["the kernel is too old"]),
    "ContainerStartError": (
        after(placed, lambda pod: pod_status.create_error(pod, "no command specified", at=now())),
        ["no command specified"],
    ),
    "PodEvicted": (
        after(placed, running, lambda pod: pod_status.evicted(pod, "The node was low on resource: memory.", at=now())),
        ["low on resource: memory"],
    ),
}


@pytest.mark.parametrize("reason", CASES)
def test_a_pod_that_fails_is_named_in_the_status_within_seconds(served: World, reason: str) -> None:
    status, words = CASES[reason]
    served.pod_status("m-0", status(served.pod("m-0")))
    found = served.wait_condition("WorkloadReady", "False", reason)
    assert "pod m-0" in found["message"]
    assert all(word in found["message"] for word in words), found["message"]
    assert served.wait_condition("Ready", "False", reason)
    failure = served.status()["lastFailure"]
    assert (failure["reason"], failure["pod"]) == (reason, "m-0")
    until(lambda: ("Warning", reason) in served.events())


def test_engines_that_cannot_be_made_are_looked_at_again_though_nothing_changes(world: World) -> None:
    world.model()
    with Hands(world) as hands:
        hands.settle()
        pod = world.pod("m-0", revision=world.status()["updatedRevision"])
        world.pod_status("m-0", CASES["ImagePullError"][0](pod))
        until(lambda: hands.reconcile() == DEFAULT_WAITS.stuck)


def test_a_container_that_is_being_created_is_no_failure(served: World) -> None:
    waiting = after(placed, lambda pod: pod_status.waiting(pod, "ContainerCreating", at=now()))
    served.pod_status("m-0", waiting(served.pod("m-0")))
    served.model(replicas=1, drainTimeoutSeconds=7)
    served.wait_observed()
    assert served.wait_condition("WorkloadReady", "False")["reason"] == "Starting"
    assert "lastFailure" not in served.status()


def test_the_last_failure_outlives_its_pod(served: World) -> None:
    served.pod_status("m-0", CASES["ContainerOOMKilled"][0](served.pod("m-0")))
    served.wait_condition("WorkloadReady", "False", "ContainerOOMKilled")
    served.cluster.delete("v1/pods", "m-0", gracePeriodSeconds=0)
    served.wait_condition("WorkloadReady", "False", "Starting")
    assert served.status()["lastFailure"]["exitCode"] == 137


def test_a_secret_that_goes_missing_later_is_named(served: World) -> None:
    status = after(placed, lambda pod: pod_status.config_error(pod, NO_SECRET, at=now()))
    served.pod_status("m-0", status(served.pod("m-0", secret="hf")))
    assert "Secret hf" in served.wait_condition("SpecValid", "False", "SecretNotFound")["message"]
    served.wait_condition("WorkloadReady", "False", "ContainerStartError")


UNOBTAINABLE = ("AuthFailed", "NotFound", "DiskFull", "DownloadFailed")


@pytest.mark.parametrize("reason", UNOBTAINABLE)
def test_weights_that_cannot_be_had_are_named(served: World, reason: str) -> None:
    said = f"{reason}: the hub says no"
    ended = after(placed, running, lambda pod: pod_status.terminated(pod, 1, at=now(), reason="Error", message=said))
    served.pod_status("m-0", ended(served.pod("m-0")))
    assert served.wait_condition("ModelCached", "False", reason)["message"] == "the hub says no"


def test_an_engine_argument_that_nobody_knows_is_a_fault_of_the_spec(served: World) -> None:
    said = "UnknownArgument: spec.engine.args.max_lenght: vLLM knows no such argument"
    ended = after(placed, running, lambda pod: pod_status.terminated(pod, 1, at=now(), reason="Error", message=said))
    served.pod_status("m-0", ended(served.pod("m-0")))
    assert "max_lenght" in served.wait_condition("SpecValid", "False", "UnknownArgument")["message"]


def test_a_claim_without_a_storage_class_is_named(served: World) -> None:
    served.model(cache={"storageClassName": "fast"})
    served.cluster.wait_until("v1/persistentvolumeclaims", "m-cache", lambda found: found is not None)
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "m-cache.1"},
        "involvedObject": {
            "kind": "PersistentVolumeClaim",
            "name": "m-cache",
            "namespace": served.cluster.namespace,
            "apiVersion": "v1",
        },
        "type": "Warning",
        "reason": "ProvisioningFailed",
        "message": 'storageclass.storage.k8s.io "fast" not found',
        "lastTimestamp": now(),
    }
    served.cluster.create(event)
    found = served.wait_condition("ModelCached", "False", "StorageClassNotFound")
    assert 'the claim m-cache has no volume: storageclass.storage.k8s.io "fast" not found' in found["message"]
