"""The operator's metrics, as Prometheus reads them."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fairlead_operator.metrics import Metrics, Sources


@pytest.fixture
def models() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def metrics(models: list[dict[str, Any]]) -> Metrics:
    made = Metrics()
    made.watch(
        Sources(
            models=lambda: models,
            leading=lambda: True,
            queued=lambda: 3,
            delayed=lambda: 4,
            silences=lambda: [("/api/v1/events", 1.5), ("/api/v1/events", 0.5)],
        )
    )
    return made


def samples(metrics: Metrics, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Values by the values of `labels`."""
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == name
    }


def test_what_is_done_is_counted(metrics: Metrics) -> None:
    metrics.reconciled("ok", 0.1)
    metrics.reconciled("away", 5)
    metrics.waited(0.1)
    metrics.retried()
    metrics.requested("apply", "deployments", "200")
    metrics.drift_corrected("Service")
    assert samples(metrics, "fairlead_operator_reconcile_total", "result") == {("ok",): 1, ("away",): 1}
    assert samples(metrics, "fairlead_operator_reconcile_duration_seconds_sum") == {(): 5.1}
    assert samples(metrics, "fairlead_operator_queue_wait_seconds_count") == {(): 1}
    assert samples(metrics, "fairlead_operator_queue_retries_total") == {(): 1}
    requests = samples(metrics, "fairlead_operator_api_requests_total", "verb", "resource", "code")
    assert requests == {("apply", "deployments", "200"): 1}
    assert samples(metrics, "fairlead_operator_drift_corrected_total", "kind") == {("Service",): 1}


def test_what_is_now_is_read_at_the_scrape(metrics: Metrics) -> None:
    assert samples(metrics, "fairlead_operator_leader") == {(): 1}
    assert samples(metrics, "fairlead_operator_queue_depth") == {(): 3}
    assert samples(metrics, "fairlead_operator_queue_delayed") == {(): 4}
    assert samples(metrics, "fairlead_operator_informer_silence_seconds", "path") == {("/api/v1/events",): 1.5}


def test_the_series_of_a_model_say_what_its_status_says_and_end_with_it(
    metrics: Metrics, models: list[dict[str, Any]]
) -> None:
    condition = {"type": "Ready", "status": "False", "reason": "Unschedulable"}
    status = {"conditions": [condition], "replicas": 2, "desiredReplicas": 3}
    models.append({"metadata": {"namespace": "ns", "name": "m"}, "status": status})
    models.append({"metadata": {"namespace": "ns", "name": "new"}})
    conditions = samples(metrics, "fairlead_model_condition", "namespace", "model", "type", "status", "reason")
    assert conditions == {("ns", "m", "Ready", "False", "Unschedulable"): 1}
    replicas = samples(metrics, "fairlead_model_replicas", "namespace", "model", "state")
    assert [replicas["ns", "m", state] for state in ("desired", "total", "ready")] == [3, 2, 0]
    assert replicas["ns", "new", "ready"] == 0
    models.clear()
    assert samples(metrics, "fairlead_model_condition") == {}
    assert samples(metrics, "fairlead_model_replicas") == {}
