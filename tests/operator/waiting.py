"""Waiting for what other threads do."""

import threading
from collections.abc import Callable

# No test waits that long unless it fails.
PATIENCE_SECONDS = 20.0


def until(condition: Callable[[], object], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Give way to other threads until `condition` holds."""
    pause = threading.Event()
    for _ in range(round(seconds * 1000)):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("it never came to hold")
