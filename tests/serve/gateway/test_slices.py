"""Where engines answer, as EndpointSlices tell it."""

from typing import Any

import pytest

from fairlead_serve.gateway.slices import engine_urls, what_matters
from tests.serve.gateway.cluster import engine_slice


def test_every_ready_pod_is_an_engine_below_its_model_s_path() -> None:
    slices = [engine_slice("qwen", "10.0.0.2", "10.0.0.1"), engine_slice("qwen", "10.0.0.3", port=8001)]
    assert engine_urls(slices, "qwen") == (
        "http://10.0.0.1:8000/engines/qwen",
        "http://10.0.0.2:8000/engines/qwen",
        "http://10.0.0.3:8001/engines/qwen",
    )


@pytest.mark.parametrize(
    ("conditions", "takes_requests"),
    [
        ({"ready": True}, True),
        ({"ready": None}, True),  # not known: the API says to take it for ready
        ({"ready": False}, False),
        ({"ready": False, "serving": True, "terminating": True}, False),
        ({"ready": True, "terminating": True}, False),  # a Service that publishes what is not ready
    ],
)
def test_what_is_not_ready_or_leaves_gets_no_request(conditions: dict[str, bool | None], takes_requests: bool) -> None:
    assert bool(engine_urls([engine_slice("qwen", "10.0.0.1", conditions=conditions)], "qwen")) is takes_requests


def test_a_pod_with_two_addresses_is_one_engine() -> None:
    both = [engine_slice("qwen", "fd00::1", family="IPv6", name="a"), engine_slice("qwen", "10.0.0.1", name="b")]
    for one in both:
        one["endpoints"][0]["targetRef"] = {"kind": "Pod", "uid": "same"}
    assert engine_urls(both, "qwen") == ("http://10.0.0.1:8000/engines/qwen",)


def test_a_pod_that_is_in_two_slices_for_a_moment_is_one_engine() -> None:
    both = [engine_slice("qwen", "10.0.0.1", name="a"), engine_slice("qwen", "10.0.0.1", name="b")]
    assert len(engine_urls(both, "qwen")) == 1


def test_addresses_of_version_6_stand_in_brackets() -> None:
    slices = [engine_slice("qwen", "fd00::1", family="IPv6")]
    assert engine_urls(slices, "qwen") == ("http://[fd00::1]:8000/engines/qwen",)


@pytest.mark.parametrize(
    "change",
    [
        {"ports": [{"name": "metrics", "port": 8080}]},
        {"ports": None},
        {"endpoints": None},
        {"metadata": {"name": "x", "labels": {"kubernetes.io/service-name": "qwen-head-svc"}}},
    ],
)
def test_slices_of_other_services_and_ports_are_passed_over(change: dict[str, Any]) -> None:
    assert engine_urls([{**engine_slice("qwen", "10.0.0.1"), **change}], "qwen") == ()


def test_only_who_takes_requests_matters() -> None:
    one, other = engine_slice("qwen", "10.0.0.1"), engine_slice("qwen", "10.0.0.1")
    other["metadata"]["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": "now"}
    other["endpoints"][0]["nodeName"] = "node"
    assert what_matters(one) == what_matters(other)
    assert what_matters(one) != what_matters(engine_slice("qwen", "10.0.0.1", conditions={"ready": False}))
