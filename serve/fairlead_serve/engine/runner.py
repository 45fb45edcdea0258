"""Runs the engines of some Models from start to drain, in this process: weights, Ray, loading, serving, leaving."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fairlead_serve.engine.cluster import LocalCluster
from fairlead_serve.engine.weights import Progress, WeightsStore
from fairlead_serve.errors import EngineStartError
from fairlead_serve.model import Model
from fairlead_serve.progress import Report, Reporter
from fairlead_serve.stopping import Stopping

_POLL_SECONDS = 0.25
# Two fetches at once fill most lines; the hub and the disk gain nothing from more.
_FETCHES = 2


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
        paths = self._fetch()
        try:
            if not self._stopping:
                self._start(paths)
                self._wait_ready()
            if not self._stopping:
                on_ready()
            self._serve()
        finally:
            self.cluster.stop()

    @property
    def _stopping(self) -> bool:
        return self.stopping.drain.is_set()

    def _fetch(self) -> list[Path]:
        with ThreadPoolExecutor(_FETCHES, thread_name_prefix="weights") as pool:
            return list(pool.map(self._fetch_one, self.models))

    def _fetch_one(self, model: Model) -> Path:
        source = model.spec.model

        def show(progress: Progress) -> None:
            self.report(Report(model.name, progress.phase, progress.done, progress.total))

        return self.weights.fetch(source.uri, revision=source.revision or None, token=self.token, progress=show)

    def _start(self, paths: Sequence[Path]) -> None:
        self.report(Report("ray", "Starting"))
        with self.stopping.kept():  # Ray takes SIGTERM for itself
            self.cluster.start(slots=sum(model.max_replicas for model in self.models))
        self.report(Report("ray", "Starting", final=True))
        self.cluster.deploy(list(zip(self.models, paths, strict=True)))

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
            self.stopping.drain.wait(_POLL_SECONDS)

    def _serve(self) -> None:
        while not self._stopping:
            self.stopping.drain.wait(_POLL_SECONDS)
        if not self.stopping.leave.is_set():
            self.cluster.drain([model.name for model in self.models], give_up=self.stopping.leave.is_set)
