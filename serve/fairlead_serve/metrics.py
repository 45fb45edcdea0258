"""Every metric of the gateway, declared in one place, in a registry of its own.

Engines report theirs through Ray's exporter (`ray_vllm_*`); see docs/operations.md. Labels are bounded: `model`
is one of the served names, never what a client sent.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

Load = tuple[str, int, int, bool]
"""(model, requests at its backends, requests waiting, whether an endpoint is ready)"""


class RequestMeter:
    """Notes what happens to requests of one model. Its metrics are looked up once, not once a request."""

    def __init__(self, metrics: "GatewayMetrics", model: str) -> None:
        self._metrics = metrics
        self._model = model
        self._first_byte = metrics.first_byte.labels(model)
        self._duration = metrics.duration.labels(model)
        self._by_status: dict[int, Counter] = {}

    def first_byte(self, seconds: float) -> None:
        self._first_byte.observe(seconds)

    def done(self, status: int, seconds: float) -> None:
        counter = self._by_status.get(status)
        if counter is None:
            counter = self._by_status[status] = self._metrics.requests.labels(self._model, str(status))
        counter.inc()
        self._duration.observe(seconds)

    def retried(self, reason: str) -> None:
        self._metrics.retries.labels(self._model, reason).inc()


class _LoadCollector(Collector):
    """Gauges read off the backends when Prometheus asks, instead of being kept with every request."""

    def __init__(self, loads: Callable[[], Iterable[Load]]) -> None:
        self._loads = loads

    def collect(self) -> Iterator[GaugeMetricFamily]:
        ongoing = GaugeMetricFamily("fairlead_ongoing_requests", "Requests at a backend now.", labels=["model"])
        queued = GaugeMetricFamily("fairlead_queued_requests", "Requests waiting for a place.", labels=["model"])
        ready = GaugeMetricFamily("fairlead_model_ready", "1 when a backend answers.", labels=["model"])
        for model, at_backend, waiting, is_ready in self._loads():
            ongoing.add_metric([model], at_backend)
            queued.add_metric([model], waiting)
            ready.add_metric([model], float(is_ready))
        yield from (ongoing, queued, ready)


class GatewayMetrics:
    """The gateway's metrics. `loads` is asked at every scrape."""

    def __init__(self, loads: Callable[[], Iterable[Load]]) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "fairlead_requests",
            "Requests answered, by model and HTTP status (499: the client left).",
            ["model", "status"],
            registry=self.registry,
        )
        self.first_byte = Histogram(
            "fairlead_time_to_first_byte_seconds",
            "From the request to the first byte of its answer.",
            ["model"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.duration = Histogram(
            "fairlead_request_duration_seconds",
            "From the request to the last byte of its answer.",
            ["model"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.retries = Counter(
            "fairlead_retries",
            "Attempts repeated before the first byte (lost: the backend may have seen it).",
            ["model", "reason"],
            registry=self.registry,
        )
        self.fallbacks = Counter(
            "fairlead_fallbacks",
            "Requests handed to another model, which `spec.fallback` names, before their first byte.",
            ["model", "served_by"],
            registry=self.registry,
        )
        self.registry.register(_LoadCollector(loads))
        self._meters: dict[str, RequestMeter] = {}

    def meter(self, model: str) -> RequestMeter:
        """The meter of `model`, which must be a served name."""
        meter = self._meters.get(model)
        if meter is None:
            meter = self._meters[model] = RequestMeter(self, model)
        return meter

    def render(self) -> bytes:
        """The text exposition format of Prometheus."""
        return generate_latest(self.registry)
