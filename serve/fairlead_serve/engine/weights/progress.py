"""Progress: how far a fetch is, added up over threads and reported one report at a time. No I/O here."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One report.

    `phase` is "Downloading" (bytes of all files), "Making" (steps of the trainer), "Waiting" (another process
    holds the lock of this entry; `done` is 0) or "Cached" (nothing to do; bytes of the entry). `done` starts
    at what an earlier try left behind, and goes back when a source refuses to continue a file or sends it
    damaged. `total` is None where it is not known.
    """

    phase: str
    done: int
    total: int | None


Report = Callable[[Progress], None]


class Meter:
    """Adds up the bytes that several threads fetch.

    Reports when made, then at most every `every_s` seconds, and when `finish` is called. Reports never
    overlap, whichever thread they come from.
    """

    def __init__(
        self,
        report: Report,
        *,
        done: int,
        total: int,
        every_s: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        self._report = report
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._done = done
        self._tell()

    def add(self, count: int) -> None:
        """Count bytes that are on disk now; negative for bytes that were thrown away."""
        with self._lock:
            self._done += count
            if self._clock() >= self._next:
                self._tell()

    def finish(self) -> None:
        """Report once more, whatever the time."""
        with self._lock:
            self._tell()

    def _tell(self) -> None:
        self._next = self._clock() + self._every_s
        self._report(Progress("Downloading", self._done, self._total))
