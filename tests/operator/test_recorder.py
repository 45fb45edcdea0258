"""Events about Models: written once, counted after, never too many."""

import logging
from typing import Any

import pytest

from fairlead_operator.api import Api
from fairlead_operator.recorder import Recorder
from fairlead_serve.api_server import ApiServer, connect
from tests.kube.cluster import KubeCluster
from tests.kube.server import KubeServer


class Clock:
    """Time that a test makes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(cluster: KubeCluster, clock: Clock) -> Recorder:
    return Recorder(Api(ApiServer(connect(cluster.kubeconfig))), clock=clock)


def model(cluster: KubeCluster, uid: str = "1") -> dict[str, Any]:
    metadata = {"name": "m", "namespace": cluster.namespace, "uid": uid, "resourceVersion": "7"}
    return {"apiVersion": "fairlead.dev/v1alpha1", "kind": "Model", "metadata": metadata}


def test_an_event_says_what_happened_to_which_model(cluster: KubeCluster, recorder: Recorder) -> None:
    recorder.record(model(cluster), type="Warning", reason="Unschedulable", message="no GPU is free")
    [event] = cluster.list("v1/events")
    said = {name: event[name] for name in ("type", "reason", "message", "count")}
    assert said == {"type": "Warning", "reason": "Unschedulable", "message": "no GPU is free", "count": 1}
    about = event["involvedObject"]
    assert (about["kind"], about["name"], about["uid"]) == ("Model", "m", "1")
    assert event["source"] == {"component": "fairlead-operator"}


def test_what_happens_again_is_counted_and_something_else_is_an_event_of_its_own(
    cluster: KubeCluster, recorder: Recorder
) -> None:
    for message in ("a", "a", "b", "a"):
        recorder.record(model(cluster), type="Normal", reason="Ready", message=message)
    assert {event["message"]: event["count"] for event in cluster.list("v1/events")} == {"a": 3, "b": 1}


def test_an_event_that_kubernetes_has_dropped_is_written_anew(cluster: KubeCluster, recorder: Recorder) -> None:
    recorder.record(model(cluster), type="Normal", reason="Ready", message="a")
    [event] = cluster.list("v1/events")
    cluster.delete("v1/events", event["metadata"]["name"])
    recorder.record(model(cluster), type="Normal", reason="Ready", message="a")
    assert [event["count"] for event in cluster.list("v1/events")] == [1]


def test_a_flood_about_one_model_is_bounded_and_drowns_no_other(
    cluster: KubeCluster, recorder: Recorder, clock: Clock
) -> None:
    for number in range(100):
        recorder.record(model(cluster), type="Normal", reason="Flood", message=str(number))
    recorder.record(model(cluster, uid="2"), type="Normal", reason="Quiet", message="a")
    assert len(cluster.list("v1/events")) == 26
    clock.now += 600
    for number in range(100):
        recorder.record(model(cluster), type="Normal", reason="Later", message=str(number))
    assert len([event for event in cluster.list("v1/events") if event["reason"] == "Later"]) == 2


def test_an_event_that_cannot_be_written_is_logged_and_nothing_else(
    cluster: KubeCluster, standin: KubeServer, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    standin.fault(code=403, resource="events")
    recorder.record(model(cluster), type="Normal", reason="Ready", message="a")
    assert caplog.messages == ["the event Ready about m was not recorded: a fault of the test"]
    assert caplog.records[0].levelno == logging.WARNING
