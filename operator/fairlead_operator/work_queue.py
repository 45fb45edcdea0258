"""Which Models are to be looked at, and when: each once at a time, soon after a change, ever later after failures."""

import heapq
import itertools
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fairlead_operator.kinds import Key


@dataclass(frozen=True)
class Backoff:
    """The wait after a failure, in seconds. Each further one doubles it, up to `longest`."""

    first: float = 0.005
    longest: float = 300.0

    def after(self, failures: int) -> float:
        """The most that is waited after so many failures in a row."""
        # Beyond that many doublings every wait is the longest.
        return min(self.longest, self.first * 2.0 ** min(failures - 1, 60))


DEFAULT_BACKOFF = Backoff()


class WorkQueue:
    """Keys to be worked on, each in one pair of hands at a time. May be shared between threads.

    A key that is added while it waits is handed out once, and one that is added while it is worked on once more after.
    Where many wait, those of `add_first` go before the others: people wait for them.
    A key that is handed out is forgotten by the clock too: who works on it says anew when to come back.
    """

    def __init__(
        self,
        *,
        backoff: Backoff = DEFAULT_BACKOFF,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] | None = None,
        on_wait: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """`spread` gives numbers from 0 to 1, by default by chance.

        `on_wait` is told how long each key waited for hands, in seconds.
        """
        self._backoff = backoff
        self._clock = clock
        self._spread = spread or random.Random().random  # noqa: S311 - no secret
        self._on_wait = on_wait
        self._changed = threading.Condition()
        self._first: OrderedDict[Key, float] = OrderedDict()
        self._ready: OrderedDict[Key, float] = OrderedDict()
        self._working: set[Key] = set()
        self._again: dict[Key, float] = {}
        self._due: dict[Key, float] = {}
        self._timetable: list[tuple[float, int, Key]] = []
        self._numbers = itertools.count()
        self._failures: dict[Key, int] = {}
        self._closed = False

    @property
    def depth(self) -> int:
        """Keys that wait for hands."""
        return len(self._first) + len(self._ready)

    @property
    def delayed(self) -> int:
        """Keys that wait for their time."""
        return len(self._due)

    def add(self, key: Key) -> None:
        """Hand out `key` as soon as there are hands."""
        with self._changed:
            self._make_ready(key, self._clock())

    def add_first(self, key: Key) -> None:
        """Hand out `key` as soon as there are hands, and before those that were only added."""
        with self._changed:
            since = self._ready.pop(key, self._clock())
            if key in self._working:
                self._make_ready(key, since)
            elif key not in self._first:
                self._first[key] = since
                self._changed.notify()

    def add_after(self, key: Key, seconds: float) -> None:
        """Hand out `key` in `seconds`, or sooner where that was asked for already."""
        with self._changed:
            due = self._clock() + seconds
            if self._due.get(key, due + 1) > due:
                self._due[key] = due
                heapq.heappush(self._timetable, (due, next(self._numbers), key))
                self._changed.notify()

    def retry(self, key: Key) -> float:
        """Hand out `key` after a failure, the later the more there were in a row. Returns the wait, in seconds."""
        with self._changed:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
        # At least the half, so that those that failed together do not come back together.
        seconds = self._backoff.after(failures) * (0.5 + self._spread() / 2)
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: Key) -> None:
        """There was no failure: the next one is the first again."""
        with self._changed:
            self._failures.pop(key, None)

    def get(self) -> Key | None:
        """The next key, as soon as there is one; None once the queue is closed. `done` must follow."""
        with self._changed:
            while not self._closed:
                key = self._take()
                if key is not None:
                    return key
                self._changed.wait(self._seconds_to_next())
        return None

    def poll(self) -> Key | None:
        """The next key if there is one now. `done` must follow."""
        with self._changed:
            return None if self._closed else self._take()

    def done(self, key: Key) -> None:
        """The work on `key` has ended."""
        with self._changed:
            self._working.discard(key)
            if key in self._again:
                self._make_ready(key, self._again.pop(key))

    def close(self) -> None:
        """Hand out nothing more. What is added waits for `open`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def open(self) -> None:
        """Hand out keys again."""
        with self._changed:
            self._closed = False

    def _take(self) -> Key | None:
        now = self._clock()
        while self._timetable and self._timetable[0][0] <= now:
            due, _, key = heapq.heappop(self._timetable)
            # An entry may be outlived: by an earlier one, or by the key's being handed out.
            if self._due.get(key) == due:
                del self._due[key]
                self._make_ready(key, due)
        waiting = self._first or self._ready
        if not waiting:
            return None
        key, since = waiting.popitem(last=False)
        self._working.add(key)
        self._due.pop(key, None)
        self._on_wait(now - since)
        return key

    def _make_ready(self, key: Key, since: float) -> None:
        if key in self._working:
            self._again.setdefault(key, since)
        elif key not in self._ready and key not in self._first:
            self._ready[key] = since
            self._changed.notify()

    def _seconds_to_next(self) -> float | None:
        return max(0.0, self._timetable[0][0] - self._clock()) if self._timetable else None
