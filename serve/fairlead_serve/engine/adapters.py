"""The LoRA adapters that an engine is to have, kept so while it runs.

What is wanted is said as a whole; a pass brings the engine there, by fetching what is not here yet and by telling the
engine what to hold. There is a pass after every change and one every few seconds, because an engine that Ray Serve
replaced holds none of them.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fairlead_serve.engine.fetcher import Cancelled, EngineFiles
from fairlead_serve.errors import WeightsError

_log = logging.getLogger(__name__)

PASS_SECONDS = 5.0
RETRY_SECONDS = 30.0
"""How long an adapter that failed is left alone."""

MAX_MESSAGE = 1024
"""The longest message that the status of a Model takes, in characters; vLLM may list every layer of the model."""

# A pass may be inside a load, which nothing can end; the engine is about to go anyway.
_END_SECONDS = 5.0

State = Literal["Pending", "Loading", "Loaded", "Failed"]
Fetch = Callable[[str, str], Path]
"""The directory of the adapter of this name and URI. Raises WeightsError and Cancelled."""

Hold = Callable[[Mapping[str, Path]], Mapping[str, str] | None]
"""Makes these directories, by name, the adapters that the engine holds; answers what went wrong with which of them.
None: the engine cannot be asked now."""


@dataclass(frozen=True)
class AdapterState:
    """Where one adapter stands; `message` says why it failed."""

    name: str
    uri: str
    state: State = "Pending"
    message: str = ""


@dataclass
class _Adapter:
    """One wanted adapter: `directory` holds its weights, `held` is what the engine last took under its name."""

    uri: str
    held: Path | None = None
    directory: Path | None = None
    state: State = "Pending"
    message: str = ""
    retry_at: float = 0.0


class AdapterKeeper:
    """Keeps one engine's adapters as they are wanted. `want` and `states` may be called from any thread."""

    def __init__(self, fetch: Fetch, hold: Hold, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._hold = hold
        self._clock = clock
        self._lock = threading.Lock()
        self._wanted: dict[str, _Adapter] = {}
        # An engine that was never to have one is not asked.
        self._used = False
        self._ended = False
        self._changed = threading.Event()

    def want(self, adapters: Sequence[tuple[str, str]]) -> None:
        """These adapters (name, URI) and no others. A changed one answers as before until the new one is there."""
        with self._lock:
            before = self._wanted
            self._wanted = {}
            for name, uri in adapters:
                known = before.get(name)
                if known is None or known.uri != uri:
                    known = _Adapter(uri, held=known.held if known else None)
                self._wanted[name] = known
            self._used = self._used or bool(adapters)
        self._changed.set()

    def states(self) -> list[AdapterState]:
        """Every wanted adapter, in the order given."""
        with self._lock:
            return [AdapterState(name, one.uri, one.state, one.message) for name, one in self._wanted.items()]

    @property
    def settled(self) -> bool:
        """Whether each wanted adapter is loaded, or has failed at least once."""
        return all(one.state in ("Loaded", "Failed") for one in self.states())

    def begin_with(self, files: EngineFiles) -> None:
        """The engine starts with these files, and holds their adapters from the first."""
        lora = files.model.spec.lora
        with self._lock:
            for given in lora.adapters if lora else ():
                adapter = self._wanted.get(given.name)
                if adapter is None:
                    continue
                adapter.held = files.adapters[given.name]
                if adapter.uri == given.uri:
                    adapter.directory = adapter.held

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Make passes, in a thread, while the block runs."""
        thread = threading.Thread(target=self._run, name="adapters", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended = True
            self._changed.set()
            thread.join(_END_SECONDS)

    def _run(self) -> None:
        with contextlib.suppress(Cancelled):
            while not self._ended:
                self._try_pass()
                self._changed.wait(PASS_SECONDS)

    def _try_pass(self) -> None:
        try:
            self.make_pass()
        except Cancelled:
            raise
        except Exception:  # noqa: BLE001 - logged, and the thread has to live
            # Without this thread the status would go on saying what once was true.
            _log.exception("a pass over the LoRA adapters failed; there is another one in %.0f s", PASS_SECONDS)
            self._doubt()

    def make_pass(self) -> None:
        """Bring the engine where it should be, as far as that is possible now. Raises Cancelled."""
        self._changed.clear()
        if not self._used:
            return
        with self._lock:
            wanted = dict(self._wanted)
        # What is here must not wait for what has to be fetched.
        self._hold_all(wanted)
        for name, adapter in wanted.items():
            if adapter.directory is None and self._due(adapter) and not self._changed.is_set():
                self._bring(name, adapter)
                self._hold_all(wanted)

    def _bring(self, name: str, adapter: _Adapter) -> None:
        self._begin(adapter)
        try:
            adapter.directory = self._fetch(name, adapter.uri)
        except WeightsError as error:
            self._fail(adapter, str(error))
        except Cancelled:
            raise
        except Exception as error:  # noqa: BLE001 - logged; the others must not wait for what nobody foresaw
            _log.exception("the LoRA adapter %s (%s) cannot be fetched", name, adapter.uri)
            self._fail(adapter, f"{adapter.uri} cannot be fetched ({type(error).__name__}); see the log of the engine")

    def _hold_all(self, wanted: Mapping[str, _Adapter]) -> None:
        directories: dict[str, Path] = {}
        for name, adapter in wanted.items():
            directory = adapter.directory if self._due(adapter) else None
            if directory is not None and directory != adapter.held:
                self._begin(adapter)
            if chosen := directory or adapter.held:
                directories[name] = chosen
        failures = self._hold(directories)
        for name, directory in directories.items():
            self._note(wanted[name], directory, None if failures is None else failures.get(name, ""))

    def _note(self, adapter: _Adapter, directory: Path, failure: str | None) -> None:
        """What became of `directory`: `failure` is empty where the engine holds it, None where it cannot be asked."""
        if failure is None:
            if adapter.state != "Failed":
                adapter.state = "Pending"
        elif failure:
            if directory == adapter.held:
                adapter.held = None
            self._fail(adapter, failure)
        else:
            adapter.held = directory
            if directory == adapter.directory:
                with self._lock:
                    adapter.state, adapter.message = "Loaded", ""

    def _fail(self, adapter: _Adapter, message: str) -> None:
        with self._lock:
            adapter.state, adapter.message = "Failed", message[:MAX_MESSAGE]
        adapter.retry_at = self._clock() + RETRY_SECONDS

    def _doubt(self) -> None:
        """Nobody knows what the engine holds; what failed by itself stays so."""
        with self._lock:
            for adapter in self._wanted.values():
                if adapter.state != "Failed":
                    adapter.state = "Pending"

    def _begin(self, adapter: _Adapter) -> None:
        # What failed stays so until it has not: a state that flickers tells nobody anything.
        if adapter.state != "Failed":
            adapter.state = "Loading"

    def _due(self, adapter: _Adapter) -> bool:
        return self._clock() >= adapter.retry_at
