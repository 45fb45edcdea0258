"""The gateway's metrics."""

from prometheus_client.parser import text_string_to_metric_families

from fairlead_serve.metrics import GatewayMetrics, Load


def values(metrics: GatewayMetrics) -> dict[tuple[str, str], float]:
    """(sample, its labels besides the model) -> value."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (
            one.name,
            ",".join(f"{key}={value}" for key, value in one.labels.items() if key not in {"model", "le"}),
        ): one.value
        for family in families
        for one in family.samples
        if not one.name.endswith("_created")
    }


def test_a_request_is_counted_with_its_status_and_its_times() -> None:
    metrics = GatewayMetrics(list)
    meter = metrics.meter("m")
    meter.first_byte(0.02)
    meter.done(200, 1.5)
    meter.done(200, 0.5)
    meter.done(499, 0.1)
    found = values(metrics)
    assert found["fairlead_requests_total", "status=200"] == 2
    assert found["fairlead_requests_total", "status=499"] == 1
    assert found["fairlead_time_to_first_byte_seconds_sum", ""] == 0.02
    assert found["fairlead_request_duration_seconds_count", ""] == 3
    assert found["fairlead_request_duration_seconds_sum", ""] == 2.1


def test_a_duration_is_counted_in_every_bucket_that_it_fits_into() -> None:
    metrics = GatewayMetrics(list)
    for seconds in (0.005, 0.2, 1000):
        metrics.meter("m").first_byte(seconds)
    shown = metrics.render().decode()
    for bound, count in (("0.005", 1), ("0.1", 1), ("0.25", 2), ("600.0", 2), ("+Inf", 3)):
        assert f'fairlead_time_to_first_byte_seconds_bucket{{le="{bound}",model="m"}} {count}.0\n' in shown


def test_retries_are_counted_by_reason() -> None:
    metrics = GatewayMetrics(list)
    metrics.meter("m").retried("lost")
    metrics.meter("m").retried("lost")
    metrics.meter("m").retried("unreachable")
    found = values(metrics)
    assert found["fairlead_retries_total", "reason=lost"] == 2
    assert found["fairlead_retries_total", "reason=unreachable"] == 1


def test_loads_are_read_when_they_are_asked_for() -> None:
    load: list[Load] = [("m", 3, 2, True)]
    metrics = GatewayMetrics(lambda: load)
    first = values(metrics)
    load[0] = ("m", 0, 0, False)
    second = values(metrics)
    names = ("fairlead_ongoing_requests", "fairlead_queued_requests", "fairlead_model_ready")
    assert [first[name, ""] for name in names] == [3, 2, 1]
    assert [second[name, ""] for name in names] == [0, 0, 0]


def test_a_model_has_one_meter() -> None:
    metrics = GatewayMetrics(list)
    assert metrics.meter("m") is metrics.meter("m")
    assert metrics.meter("m") is not metrics.meter("n")


def test_a_model_that_is_forgotten_stays_so_whatever_still_ends_of_it() -> None:
    metrics = GatewayMetrics(list)
    gone, other = metrics.meter("gone"), metrics.meter("other")
    gone.done(200, 1)
    gone.fell_back("other")
    other.fell_back("gone")
    other.done(200, 1)
    metrics.forget("gone")
    gone.first_byte(0.1)
    gone.done(200, 1)
    gone.done(404, 1)
    gone.retried("lost")
    gone.fell_back("other")
    shown = metrics.render().decode()
    assert '"gone"' not in shown
    assert 'fairlead_requests_total{model="other",status="200"} 1.0' in shown
    metrics.meter("gone").done(200, 1)
    assert 'fairlead_requests_total{model="gone",status="200"} 1.0' in metrics.render().decode()


def test_two_gateways_in_one_process_count_for_themselves() -> None:
    one, other = GatewayMetrics(list), GatewayMetrics(list)
    one.meter("m").done(200, 1)
    assert ("fairlead_requests_total", "status=200") not in values(other)
