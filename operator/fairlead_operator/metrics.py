"""Every metric of the operator, declared in one place, in a registry of its own.

What is said of Models is read off the cache when Prometheus asks, so that the series of a Model end with it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from fairlead_serve.api_server import Manifest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_REPLICAS = {"desired": "desiredReplicas", "total": "replicas", "ready": "readyReplicas"}


@dataclass(frozen=True)
class Sources:
    """What the gauges are read off."""

    models: Callable[[], Iterable[Manifest]]
    leading: Callable[[], bool]
    queued: Callable[[], int]
    delayed: Callable[[], int]
    silences: Callable[[], Iterable[tuple[str, float]]]
    """Path and seconds since the last word from the API server, for each informer."""


class Metrics:
    """The operator's metrics. Those of Models and of the queue need `watch` to be called once."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._reconciles = Counter(
            "fairlead_operator_reconcile",
            "Models looked at, by result: ok, conflict, not_allowed, refused, away or crashed.",
            ["result"],
            registry=self.registry,
        )
        self._reconcile_seconds = Histogram(
            "fairlead_operator_reconcile_duration_seconds",
            "Time to look at one Model and to do what was missing.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._queue_seconds = Histogram(
            "fairlead_operator_queue_wait_seconds",
            "Time from when a Model was to be looked at until it was.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._retries = Counter(
            "fairlead_operator_queue_retries", "Models to be looked at again after a failure.", registry=self.registry
        )
        self._requests = Counter(
            "fairlead_operator_api_requests",
            "Requests to the API server but lists and watches of caches; code is away where there was no answer.",
            ["verb", "resource", "code"],
            registry=self.registry,
        )
        self._drift = Counter(
            "fairlead_operator_drift_corrected",
            "Fields that somebody else had changed, put back, by kind of object.",
            ["kind"],
            registry=self.registry,
        )

    def watch(self, sources: Sources) -> None:
        """Read gauges off `sources` at every scrape."""
        self.registry.register(_Gauges(sources))

    def reconciled(self, result: str, seconds: float) -> None:
        """One Model was looked at."""
        self._reconciles.labels(result).inc()
        self._reconcile_seconds.observe(seconds)

    def waited(self, seconds: float) -> None:
        """A Model waited so long to be looked at."""
        self._queue_seconds.observe(seconds)

    def retried(self) -> None:
        """A Model is to be looked at again after a failure."""
        self._retries.inc()

    def requested(self, verb: str, resource: str, code: str) -> None:
        """The API server was asked."""
        self._requests.labels(verb, resource, code).inc()

    def drift_corrected(self, kind: str) -> None:
        """A field of an object of that kind was put back."""
        self._drift.labels(kind).inc()

    def render(self) -> bytes:
        """The text exposition format of Prometheus."""
        return generate_latest(self.registry)


class _Gauges(Collector):
    """Gauges read off the operator when Prometheus asks."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing: what there is, is known at a scrape only."""
        yield from ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield from self._own()
        models = list(self._sources.models())
        yield _conditions(models)
        yield _replicas(models)

    def _own(self) -> Iterator[GaugeMetricFamily]:
        sources = self._sources
        yield GaugeMetricFamily("fairlead_operator_leader", "1 where this operator acts.", float(sources.leading()))
        yield GaugeMetricFamily("fairlead_operator_queue_depth", "Models waiting to be looked at.", sources.queued())
        yield GaugeMetricFamily(
            "fairlead_operator_queue_delayed", "Models to be looked at at a later time.", sources.delayed()
        )
        silence = GaugeMetricFamily(
            "fairlead_operator_informer_silence_seconds",
            "Time since the last word of the API server about objects below a path.",
            labels=["path"],
        )
        longest: dict[str, float] = {}
        for path, seconds in sources.silences():
            # Several may follow one path, each a part of it.
            longest[path] = max(seconds, longest.get(path, 0.0))
        for path, seconds in longest.items():
            silence.add_metric([path], seconds)
        yield silence


def _conditions(models: Iterable[Manifest]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "fairlead_model_condition",
        "1 for what each condition of a Model is now.",
        labels=["namespace", "model", "type", "status", "reason"],
    )
    for model in models:
        for condition in (model.get("status") or {}).get("conditions") or ():
            values = (condition.get("type", ""), condition.get("status", ""), condition.get("reason", ""))
            family.add_metric([*_name(model), *values], 1)
    return family


def _replicas(models: Iterable[Manifest]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "fairlead_model_replicas",
        "Engines of a Model: desired, total (those there are) and ready.",
        labels=["namespace", "model", "state"],
    )
    for model in models:
        status = model.get("status") or {}
        for state, field in _REPLICAS.items():
            family.add_metric([*_name(model), state], status.get(field, 0))
    return family


def _name(model: Manifest) -> tuple[str, str]:
    return model["metadata"]["namespace"], model["metadata"]["name"]
