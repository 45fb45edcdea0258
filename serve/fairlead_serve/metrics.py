"""Every metric of the gateway, declared in one place, in a registry of its own.

Engines report theirs through Ray's exporter (`ray_vllm_*`); see docs/operations.md. Labels are bounded: `model`
is one of the served names, never what a client sent.
"""

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

Load = tuple[str, int, int, bool]
"""(model, requests at its backends, requests waiting, whether an endpoint is ready)"""


class LeftOut(Protocol):
    """Something that a Model of a cluster wants and does not get."""

    @property
    def key(self) -> str: ...

    @property
    def reason(self) -> str: ...


class Followed(Protocol):
    """A cluster whose Models are served."""

    @property
    def left_out(self) -> Sequence[LeftOut]: ...

    @property
    def silence_seconds(self) -> float: ...


class RequestMeter:
    """Notes what happens to requests of one model. Its metrics are looked up once, not once a request.

    `forgotten`: the model is no more. Requests that end after it would bring its series back.
    """

    def __init__(self, metrics: "GatewayMetrics", model: str) -> None:
        self.forgotten = False
        self._metrics = metrics
        self._model = model
        self._first_byte = metrics.first_byte.labels(model)
        self._duration = metrics.duration.labels(model)
        self._by_status: dict[int, Counter] = {}

    def first_byte(self, seconds: float) -> None:
        self._first_byte.observe(seconds)

    def done(self, status: int, seconds: float) -> None:
        if self.forgotten:
            return
        counter = self._by_status.get(status)
        if counter is None:
            counter = self._by_status[status] = self._metrics.requests.labels(self._model, str(status))
        counter.inc()
        self._duration.observe(seconds)

    def retried(self, reason: str) -> None:
        if not self.forgotten:
            self._metrics.retries.labels(self._model, reason).inc()

    def fell_back(self, served_by: str) -> None:
        if not self.forgotten:
            self._metrics.fallbacks.labels(self._model, served_by).inc()


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


class _ClusterCollector(Collector):
    """What is known of the cluster when Prometheus asks."""

    def __init__(self, cluster: Followed) -> None:
        self._cluster = cluster

    def collect(self) -> Iterator[GaugeMetricFamily]:
        left_out = GaugeMetricFamily(
            "fairlead_model_left_out",
            "What a Model (namespace/name) wants and does not get, by reason.",
            labels=["resource", "reason"],
        )
        counts = Counts((one.key, one.reason) for one in self._cluster.left_out)
        for labels, count in counts.items():
            left_out.add_metric(labels, count)
        yield left_out
        silence = "Since the API server last said something. Routes stay as they are meanwhile."
        yield GaugeMetricFamily("fairlead_cluster_silence_seconds", silence, value=self._cluster.silence_seconds)


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
            "Attempts repeated before the first byte (lost: the backend may have seen it; not_loaded: an adapter).",
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

    def forget(self, model: str) -> None:
        """Drop the series of a model that is no more. In a cluster names come and go all the time."""
        if (meter := self._meters.pop(model, None)) is not None:
            meter.forgotten = True
        for metric in (self.requests, self.first_byte, self.duration, self.retries, self.fallbacks):
            metric.remove_by_labels({"model": model})
        self.fallbacks.remove_by_labels({"served_by": model})

    def follow(self, cluster: Followed) -> None:
        """Tell of `cluster` too, which is asked at every scrape."""
        self.registry.register(_ClusterCollector(cluster))

    def render(self) -> bytes:
        """The text exposition format of Prometheus."""
        return generate_latest(self.registry)
