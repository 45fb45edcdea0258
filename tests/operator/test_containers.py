"""What a container of a pod failed of."""

import pytest

from fairlead_operator.conditions import WorkloadReason
from fairlead_operator.pods import failure
from fairlead_operator.render import Manifest
from tests.operator.pod_samples import BROKEN_CONTAINERS, NOT_FOUND, NOW, event, terminated, waiting, with_engine


@pytest.mark.parametrize(("sample", "reason", "words"), BROKEN_CONTAINERS)
def test_a_container_that_failed_is_named_and_told(sample: Manifest, reason: WorkloadReason, words: str) -> None:
    found = failure(sample, now=NOW)
    assert found is not None
    assert found.reason == reason
    assert words in found.message


def test_no_password_is_quoted() -> None:
    for sample, _, _ in BROKEN_CONTAINERS:
        found = failure(sample, now=NOW)
        assert found is not None
        assert "p4ss" not in found.message


def test_a_failure_keeps_exit_code_and_time() -> None:
    found = failure(with_engine(waiting("CrashLoopBackOff", lastState=terminated(3))), now=NOW)
    assert found is not None
    assert (found.exit_code, found.time) == (3, "2026-03-01T11:59:00Z")


def test_an_exit_code_that_a_status_cannot_hold_is_left_out() -> None:
    found = failure(with_engine({"name": "engine", "state": terminated(-1073741515)}), now=NOW)
    assert found is not None
    assert found.exit_code is None


def test_where_no_limit_is_set_the_node_ran_out_of_memory() -> None:
    sample = with_engine({"name": "engine", "state": terminated(137, "OOMKilled")})
    del sample["spec"]["containers"][0]["resources"]["limits"]
    found = failure(sample, now=NOW)
    assert found is not None
    assert "was killed because its node ran out of memory" in found.message


def test_an_older_kubelet_tells_why_an_image_is_not_pulled_in_an_event_alone() -> None:
    sample = with_engine(waiting("ImagePullBackOff", 'Back-off pulling image "r/e:1"'))
    told = event("Failed", f'Failed to pull image "r/e:1": {NOT_FOUND}', first="11:50:00", last="11:59:00")
    found = failure(sample, [told], now=NOW)
    assert found is not None
    assert found.message.endswith("r/e:1: not found")
    assert "rpc error" not in found.message


def test_an_engine_that_came_up_again_is_not_blamed_for_its_last_end() -> None:
    status = {"name": "engine", "state": {"running": {}}, "started": True, "lastState": terminated(137, "OOMKilled")}
    assert failure(with_engine(status, phase="Running"), now=NOW) is None
