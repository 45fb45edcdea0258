"""Runs the engines of some Models from start to drain, in this process: weights, Ray, loading, serving, leaving."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fairlead_serve.engine.cluster import EngineFiles, LocalCluster
from fairlead_serve.engine.weights import Progress, WeightsStore
from fairlead_serve.errors import EngineStartError
from fairlead_serve.model import Model
from fairlead_serve.progress import Report, Reporter
from fairlead_serve.stopping import Stopping

# Ray Serve announces nothing. Slept and not waited for `stopping`: the main thread, whose signal handler sets those
# events, must not be inside one of them at that moment.
_POLL_SECONDS = 0.25
# Two fetches at once fill most lines; the hub and the disk gain nothing from more.
_FETCHES = 2


class Cancelled(Exception):  # noqa: N818 - not an error
    """The process was told to stop while weights were being fetched; what came is kept for the next start."""


@dataclass(frozen=True)
class EngineRunner:
    """One run of some Models' engines; `stopping` ends it, with a drain or without."""

    models: Sequence[Model]
    weights: WeightsStore
    cluster: LocalCluster
    token: str | None
    report: Reporter
    stopping: Stopping

    def run(self, *, on_ready: Callable[[], None]) -> None:
        """Serve until told to stop. Calls `on_ready` once all engines are loaded.

        Raises WeightsError and EngineStartError; nothing is left running then.
        """
        try:
            engines = self._fetch()
        except Cancelled:
            return
        try:
            if not self._stopping:
                self._start(engines)
                self._wait_ready()
            if not self._stopping:
                on_ready()
            self._serve()
        finally:
            self.cluster.stop()

    @property
    def _stopping(self) -> bool:
        return self.stopping.drain.is_set()

    def _fetch(self) -> list[EngineFiles]:
        with ThreadPoolExecutor(_FETCHES, thread_name_prefix="weights") as pool:
            return list(pool.map(self._fetch_model, self.models))

    def _fetch_model(self, model: Model) -> EngineFiles:
        source, lora = model.spec.model, model.spec.lora
        weights = self._fetch_one(model.name, source.uri, source.revision or None)
        adapters = {
            adapter.name: self._fetch_one(f"{model.name}/{adapter.name}", adapter.uri, None)
            for adapter in (lora.adapters if lora else ())
        }
        return EngineFiles(model, weights, adapters)

    def _fetch_one(self, who: str, uri: str, revision: str | None) -> Path:
        last = Progress("Cached", 0, 0)

        def show(progress: Progress) -> None:
            nonlocal last
            last = progress
            if self._stopping:
                raise Cancelled
            self.report(Report(who, progress.phase, progress.done, progress.total))

        path = self.weights.fetch(uri, revision=revision, token=self.token, progress=show)
        self.report(Report(who, last.phase, last.done, last.total, final=True))
        return path

    def _start(self, engines: Sequence[EngineFiles]) -> None:
        self.report(Report("ray", "Starting"))
        with self.stopping.kept():  # Ray takes SIGTERM for itself
            self.cluster.start(slots=sum(model.max_replicas for model in self.models))
        self.report(Report("ray", "Starting", final=True))
        self.cluster.deploy(engines)

    def _wait_ready(self) -> None:
        began = time.monotonic()
        waiting = {model.name: model for model in self.models}
        while waiting and not self._stopping:
            states = self.cluster.states()
            for name, model in list(waiting.items()):
                state = states.get(name)
                if state is not None and state.failed:
                    raise self.cluster.failure(name, state)
                if time.monotonic() - began > model.spec.startup_timeout_seconds:
                    message = (
                        f"the engine of {name} was not ready after spec.startupTimeoutSeconds "
                        f"({model.spec.startup_timeout_seconds} s); see {self.cluster.log_directory}"
                    )
                    raise EngineStartError(message)
                ready = state is not None and state.ready
                self.report(Report(name, "Loading the engine", final=ready))
                if ready:
                    del waiting[name]
            time.sleep(_POLL_SECONDS)

    def _serve(self) -> None:
        while not self._stopping:
            time.sleep(_POLL_SECONDS)
        if not self.stopping.leave.is_set():
            self.cluster.drain([model.name for model in self.models], give_up=self.stopping.leave.is_set)
