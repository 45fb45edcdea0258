"""Every metric of the gateway, declared in one place, in a registry of its own.

Engines report theirs through Ray's exporter (`ray_vllm_*`); see docs/operations.md. Labels are bounded: `model`
is one of the served names, never what a client sent.
"""

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Protocol

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

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


class _Histogram:
    """How many durations fell between which of `_SECONDS`, and their sum."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(_SECONDS, seconds)] += 1
        self._sum += seconds

    def add_to(self, family: HistogramMetricFamily, model: str) -> None:
        bounds = (*map(floatToGoString, _SECONDS), "+Inf")
        family.add_metric([model], list(zip(bounds, accumulate(self._counts), strict=True)), self._sum)


class RequestMeter:
    """Notes what happens to requests of one model, as plain numbers: several are noted for every request."""

    def __init__(self) -> None:
        self.first_bytes = _Histogram()
        self.durations = _Histogram()
        self.statuses: Counts[int] = Counts()
        self.retries: Counts[str] = Counts()
        self.fallbacks: Counts[str] = Counts()

    def first_byte(self, seconds: float) -> None:
        self.first_bytes.observe(seconds)

    def done(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        self.durations.observe(seconds)

    def retried(self, reason: str) -> None:
        self.retries[reason] += 1

    def fell_back(self, served_by: str) -> None:
        self.fallbacks[served_by] += 1


class _RequestCollector(Collector):
    """What the meters (by model) have noted when Prometheus asks."""

    def __init__(self, meters: Mapping[str, RequestMeter]) -> None:
        self._meters = meters

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "fairlead_requests",
            "Requests answered, by model and HTTP status (499: the client left).",
            labels=["model", "status"],
        )
        first_byte = HistogramMetricFamily(
            "fairlead_time_to_first_byte_seconds",
            "From the request to the first byte of its answer.",
            labels=["model"],
        )
        duration = HistogramMetricFamily(
            "fairlead_request_duration_seconds",
            "From the request to the last byte of its answer.",
            labels=["model"],
        )
        retries = CounterMetricFamily(
            "fairlead_retries",
            "Attempts repeated before the first byte (lost: the backend may have seen it; not_loaded: an adapter).",
            labels=["model", "reason"],
        )
        fallbacks = CounterMetricFamily(
            "fairlead_fallbacks",
            "Requests handed to another model, which `spec.fallback` names, before their first byte.",
            labels=["model", "served_by"],
        )
        for model, meter in self._meters.items():
            meter.first_bytes.add_to(first_byte, model)
            meter.durations.add_to(duration, model)
            for family, counts in ((requests, meter.statuses), (retries, meter.retries), (fallbacks, meter.fallbacks)):
                for label, count in counts.items():
                    family.add_metric([model, str(label)], count)
        yield from (requests, first_byte, duration, retries, fallbacks)


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
        self._meters: dict[str, RequestMeter] = {}
        self.registry.register(_RequestCollector(self._meters))
        self.registry.register(_LoadCollector(loads))

    def meter(self, model: str) -> RequestMeter:
        """The meter of `model`, which must be a served name."""
        meter = self._meters.get(model)
        if meter is None:
            meter = self._meters[model] = RequestMeter()
        return meter

    def forget(self, model: str) -> None:
        """Drop the series of a model that is no more, and what still ends of it: names come and go all the time."""
        self._meters.pop(model, None)
        for meter in self._meters.values():
            meter.fallbacks.pop(model, None)

    def follow(self, cluster: Followed) -> None:
        """Tell of `cluster` too, which is asked at every scrape."""
        self.registry.register(_ClusterCollector(cluster))

    def render(self) -> bytes:
        """The text exposition format of Prometheus."""
        return generate_latest(self.registry)
