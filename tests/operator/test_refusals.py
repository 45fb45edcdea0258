"""What the API server says against pods that nobody may make, and what becomes of it in a status."""

from typing import Any

import pytest

from fairlead_operator.refusals import refusal
from tests.kube.resources import Manifest

SINCE = "2026-01-01T00:00:00Z"
NAMED = 'pods "m-5d9-abcde" is '
QUOTA = (
    'pods "m-5d9-abcde" is forbidden: exceeded quota: team, requested: requests.nvidia.com/gpu=2, '
    "used: requests.nvidia.com/gpu=3, limited: requests.nvidia.com/gpu=4"
)
SEVERAL = (
    'pods "m-5d9-abcde" is forbidden: exceeded quota: team, requested: pods=1,requests.memory=64Gi, '
    "used: pods=10,requests.memory=200Gi, limited: pods=10,requests.memory=256Gi"
)


def refused(message: str, *, kind: str = "Deployment", reason: str = "FailedCreate", **status: Any) -> Manifest:
    said = {"type": "ReplicaFailure", "status": "True", "reason": reason, "message": message}
    return {
        "kind": kind,
        "metadata": {"name": "m", "generation": 2},
        "status": {"observedGeneration": 2, "conditions": [{**said, "lastTransitionTime": SINCE}], **status},
    }


def test_a_quota_is_told_by_what_it_lacks() -> None:
    found = refusal(refused(QUOTA))
    assert found is not None
    assert (found.reason, found.pod, found.time, found.told_by) == ("Unschedulable", "", SINCE, "Deployment")
    assert found.message == (
        "needs 1 more nvidia.com/gpu: 3 of 4 are in use by the quota team (raise it, or free some) "
        f"(API server: {QUOTA.removeprefix(NAMED)})"
    )
    several = refusal(refused(SEVERAL))
    assert several is not None
    assert several.message.startswith("needs 1 more pods: 10 of 10 are in use by the quota team")
    assert "; needs 8Gi more memory: 200Gi of 256Gi are in use by the quota team" in several.message


@pytest.mark.parametrize(
    ("words", "passing"),
    [
        (f"{NAMED}forbidden: no PriorityClass with name urgent was found", False),
        (f'{NAMED}forbidden: violates PodSecurity "restricted:latest": seccompProfile', False),
        ('admission webhook "policy.example" denied the request: no owner label', False),
        (f"{NAMED}forbidden: failed quota: team: must specify limits.cpu", False),
        ('Internal error occurred: failed calling webhook "policy.example": connection refused', True),
        ('failed calling webhook "policy.example": expected webhook response: the server is forbidden: x', True),
        (f"{NAMED}forbidden: status unknown for quota: team, resources: pods", True),
        (f"{NAMED}forbidden: not yet ready to handle request", True),
    ],
)
def test_the_rest_is_told_in_the_words_of_the_api_server(words: str, passing: bool) -> None:
    found = refusal(refused(words))
    assert found is not None
    assert (found.reason, found.passing) == ("ContainerStartError", passing)
    assert found.message == f"its pods cannot be made (API server: {words.removeprefix(NAMED)})"


def test_a_quota_that_does_not_say_how_much_is_one_all_the_same() -> None:
    for words in ("exceeded quota: team", "exceeded quota: team, requested: a=x, used: a=x, limited: a=x"):
        found = refusal(refused(f"{NAMED}forbidden: {words}"))
        assert found is not None
        assert (found.reason, found.passing) == ("Unschedulable", True)
        assert found.message == f"its pods cannot be made (API server: forbidden: {words})"


def test_a_ray_cluster_says_it_with_a_word_before() -> None:
    found = refusal(refused(f"FailedCreateWorkerPod\n{QUOTA}", kind="RayCluster", reason="FailedCreateWorkerPod"))
    assert found is not None
    assert found.told_by == "RayCluster"
    assert found.message.startswith("needs 1 more nvidia.com/gpu: 3 of 4 are in use by the quota team")


@pytest.mark.parametrize(
    "workload",
    [
        refused(QUOTA, conditions=[]),
        refused(QUOTA, observedGeneration=1),
        refused("pods cannot be deleted", reason="FailedDelete"),
        {"kind": "Deployment", "metadata": {"name": "m", "generation": 1}},
    ],
    ids=["nothing", "of the specification before", "a deletion", "not looked at yet"],
)
def test_nothing_is_said_where_no_pod_is_refused(workload: Manifest) -> None:
    assert refusal(workload) is None


def test_what_is_secret_is_not_shown() -> None:
    found = refusal(refused("failed calling webhook: Post https://user:secret@policy.example/?token=secret: timeout"))
    assert found is not None
    assert "secret" not in found.message
