"""Runs the engines of some Models from start to drain, in this process: weights, Ray, loading, serving, leaving."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

from fairlead_serve.engine.adapters import AdapterKeeper
from fairlead_serve.engine.cluster import LocalCluster
from fairlead_serve.engine.fetcher import Cancelled, EngineFiles, Fetcher
from fairlead_serve.errors import EngineStartError
from fairlead_serve.model import Model
from fairlead_serve.progress import Report, Reporter
from fairlead_serve.stopping import Stopping

# Ray Serve announces nothing. Slept and not waited for `stopping`: the main thread, whose signal handler sets those
# events, must not be inside one of them at that moment.
_POLL_SECONDS = 0.25
# Two fetches at once fill most lines; the hub and the disk gain nothing from more.
_FETCHES = 2
ADAPTER_SECONDS = 30.0
"""As long as a gateway looks for an engine that has an adapter; what takes longer is not worth holding up the model."""


@dataclass(frozen=True)
class EngineRunner:
    """One run of some Models' engines; `stopping` ends it, with a drain or without.

    `adapters` keeps the LoRA adapters of one Model's engine while it serves; without it engines have those of their
    Model files. `adapter_seconds`: the longest that it is not said to be ready for their sake.
    """

    models: Sequence[Model]
    fetcher: Fetcher
    cluster: LocalCluster
    report: Reporter
    stopping: Stopping
    adapters: AdapterKeeper | None = None
    adapter_seconds: float = ADAPTER_SECONDS

    def run(self, *, on_ready: Callable[[], None]) -> None:
        """Serve until told to stop. Calls `on_ready` once all engines and their adapters are loaded; an adapter that
        fails, or takes long, is not waited for.

        Raises WeightsError and EngineStartError; nothing is left running then.
        """
        try:
            engines = self._fetch()
            if not self._stopping:
                self._start(engines)
                self._wait_ready()
            self._serve(on_ready)
        except Cancelled:
            return
        finally:
            self.cluster.stop()

    @property
    def _stopping(self) -> bool:
        return self.stopping.drain.is_set()

    def _fetch(self) -> list[EngineFiles]:
        with ThreadPoolExecutor(_FETCHES, thread_name_prefix="weights") as pool:
            return list(pool.map(self.fetcher.model, self.models))

    def _start(self, engines: Sequence[EngineFiles]) -> None:
        self.report(Report("ray", "Starting"))
        with self.stopping.kept():  # Ray takes SIGTERM for itself
            self.cluster.start(slots=sum(model.max_replicas for model in self.models))
        self.report(Report("ray", "Starting", final=True))
        if self.adapters is not None:
            self.adapters.begin_with(engines[0])
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

    def _wait_adapters(self) -> None:
        latest = time.monotonic() + self.adapter_seconds
        while self.adapters and not (self.adapters.settled or self._stopping or time.monotonic() > latest):
            time.sleep(_POLL_SECONDS)

    def _serve(self, on_ready: Callable[[], None]) -> None:
        with self.adapters.kept() if self.adapters and not self._stopping else nullcontext():
            self._wait_adapters()
            if not self._stopping:
                on_ready()
            while not self._stopping:
                time.sleep(_POLL_SECONDS)
        if not self.stopping.leave.is_set():
            self.cluster.drain([model.name for model in self.models], give_up=self.stopping.leave.is_set)
