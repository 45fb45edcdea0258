"""What an engine's process says of itself: its phase, and how far the weights are. No I/O here.

It is told by reports, as whoever looks on is; `status_server` gives it to the operator.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from fairlead_serve.progress import Report
from fairlead_serve.stopping import Stopping

# The phases of weights that are not complete (weights.Progress).
_FETCHING = frozenset({"Downloading", "Making", "Waiting"})
_SPEED_WINDOW_SECONDS = 10.0


class Speed:
    """Bytes per second over the last ten seconds: steady while bytes come in bursts, 0 soon after they stop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, done: int) -> None:
        """So many bytes are there now."""
        self._samples.append((self._clock(), done))
        self._forget()

    def per_second(self) -> int:
        self._forget()
        if not self._samples:
            return 0
        (began, before), (_, after) = self._samples[0], self._samples[-1]
        elapsed = self._clock() - began
        return max(0, round((after - before) / elapsed)) if elapsed > 0 else 0

    def _forget(self) -> None:
        # One sample from before the window stays: bytes are counted from it.
        oldest = self._clock() - _SPEED_WINDOW_SECONDS
        while len(self._samples) > 1 and self._samples[1][0] <= oldest:
            self._samples.popleft()


class Status:
    """The status of one Model's engine. A `progress.Reporter`; safe to use from several threads."""

    def __init__(self, model: str, stopping: Stopping, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._model = model
        self._stopping = stopping
        self._lock = threading.Lock()
        self._phase = "Starting"
        self._cached = False
        self._fetching: Report | None = None
        self._speed = Speed(clock)

    def __call__(self, report: Report) -> None:
        """Take note of what became of the Model's own weights and engine."""
        if report.who != self._model:
            return
        with self._lock:
            if report.phase in _FETCHING and not report.final:
                self._phase, self._fetching = "Downloading", report
                self._speed.note(report.done)
            else:
                # Every other report is about what comes after the weights, if only their end.
                self._phase, self._fetching, self._cached = "Loading", None, True

    def ready(self) -> None:
        """The engine is loaded."""
        with self._lock:
            self._phase = "Ready"

    def document(self) -> dict[str, Any]:
        """As `GET /status` answers it; in bytes, and bytes per second."""
        with self._lock:
            return {
                "phase": "Stopping" if self._stopping.drain.is_set() else self._phase,
                "download": self._download(),
                "cached": self._cached,
            }

    def _download(self) -> dict[str, int] | None:
        report = self._fetching
        if report is None or report.phase != "Downloading" or report.total is None:
            return None
        return {"bytesDone": report.done, "bytesTotal": report.total, "bytesPerSecond": self._speed.per_second()}
