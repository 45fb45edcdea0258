"""Patience: how often, and after how long, to try again what a source broke off."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fairlead_serve.errors import WeightsUnavailable

T = TypeVar("T")

# The hub counts requests in windows of five minutes; a source that asks for more is not waited for.
LONGEST_ASKED_S = 300.0


class Interrupted(Exception):  # noqa: N818 - never leaves this package
    """An attempt failed in a way that another attempt may not.

    `retry_after_s` is what the source asked to wait, if it did. `got_further` is set by whoever knows that
    the attempt brought enough bytes for the count of failures to start again.
    """

    def __init__(self, sentence: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s
        self.got_further = False


@dataclass(frozen=True)
class Patience:
    """At most `attempts` failures in a row; waits double from `first_wait_s` to `longest_wait_s` (seconds).

    The defaults wait 1 + 2 + 4 + 8 + 16 seconds: longer than the restart of a mirror, shorter than an
    engine's start.
    """

    attempts: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    def call(self, attempt: Callable[[], T]) -> T:
        """The result of `attempt`, called until it is not `Interrupted`.

        Raises:
            WeightsUnavailable: it was, `attempts` times in a row.
        """
        failures = 0
        while True:
            try:
                return attempt()
            except Interrupted as error:
                failures = 1 if error.got_further else failures + 1
                if failures >= self.attempts:
                    times = "once" if failures == 1 else f"{failures} times in a row"
                    raise WeightsUnavailable(f"{error} (tried {times}).") from error
                self.sleep(self._wait_s(failures, error.retry_after_s))

    def _wait_s(self, failures: int, asked_s: float | None) -> float:
        if asked_s is not None:
            return min(asked_s, LONGEST_ASKED_S)
        return float(min(self.first_wait_s * 2 ** (failures - 1), self.longest_wait_s))
