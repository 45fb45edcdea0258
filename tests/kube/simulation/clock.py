"""The one clock of a simulation: the event loop's, or one that a test moves."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

_START = 1_767_225_600.0
"""2026-01-01T00:00:00Z: where a clock begins that a test moves."""


class Timer(Protocol):
    """Something that is to happen later."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Tells the time, in seconds since the epoch, and calls back."""

    def now(self) -> float: ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer: ...


class LoopClock:
    """Real time, on the running event loop."""

    def now(self) -> float:
        return time.time()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, callback)


class _Appointment:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self, start: float = _START) -> None:
        self._now = start
        self._numbers = itertools.count()
        self._appointments: list[tuple[float, int, _Appointment]] = []

    def now(self) -> float:
        return self._now

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        appointment = _Appointment(callback)
        heapq.heappush(self._appointments, (self._now + seconds, next(self._numbers), appointment))
        return appointment

    def advance(self, seconds: float, settle: Callable[[], None] = lambda: None) -> None:
        """Move on by `seconds`, stopping wherever something is due; `settle` runs after each stop."""
        end = self._now + seconds
        while self._appointments and self._appointments[0][0] <= end:
            due, _, appointment = heapq.heappop(self._appointments)
            self._now = max(self._now, due)
            if appointment.callback is not None:
                appointment.callback()
                settle()
        self._now = end
        settle()


def stamp(seconds: float) -> str:
    """`seconds` since the epoch as Kubernetes writes a metav1.Time: RFC 3339, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp_micro(seconds: float) -> str:
    """`seconds` since the epoch as Kubernetes writes a metav1.MicroTime."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_of(text: str) -> float:
    """The seconds since the epoch of a time that Kubernetes wrote."""
    return datetime.fromisoformat(text).timestamp()
