"""What SIGINT and SIGTERM mean to every process of ours: the first drains, the second ends at once."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Whether this process was told to stop, and how. `drain` and `leave` may be looked at anywhere, and
    waited for in any thread but the main one, whose signal handler sets them.
    """

    def __init__(self) -> None:
        self._asked = 0
        self.drain = threading.Event()
        self.leave = threading.Event()
        self._listeners: list[Callable[[], None]] = []

    def request(self) -> None:
        """Ask for a drain; asked again, for an end at once."""
        # Each event is set once: a signal may come while its handler is still at the last one's, and an event
        # that is being set cannot be set again by the same thread.
        self._asked += 1
        if self._asked == 1:
            self.drain.set()
        elif self._asked == 2:
            self.leave.set()
        for listener in tuple(self._listeners):
            listener()

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM call `request` while the block runs. Main thread only."""

        def handle(*_: object) -> None:
            self.request()

        with self.kept():
            for number in _SIGNALS:
                signal.signal(number, handle)
            yield

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Put back, after the block, the signal handlers there were before it."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def listening(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call `listener` on every request while the block runs, and at once if there was one already."""
        self._listeners.append(listener)
        try:
            if self.drain.is_set():
                listener()
            yield
        finally:
            self._listeners.remove(listener)
