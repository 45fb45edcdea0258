"""The arithmetic of a report. Pure: numbers in, numbers out."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which `share` (0 to 1) of `values` lie, interpolated linearly.

    Raises ValueError for no values.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values, no percentile")
    if not 0 <= share <= 1:
        raise ValueError(f"a share is between 0 and 1, not {share}")
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median(values: Iterable[float]) -> float:
    """The middle value. Raises ValueError for no values."""
    return percentile(values, 0.5)


def added(values: Sequence[float], baseline: Sequence[float]) -> float:
    """The median of the pairwise differences `values - baseline`, in their unit.

    Of pairs taken one right after the other, so that what slows both for a while takes no part in it.
    """
    return median(value - base for value, base in zip(values, baseline, strict=True))


@dataclass(frozen=True)
class Cost:
    """CPU time spent (`seconds`, user and system) on a number of things (`count`: chunks, requests)."""

    seconds: float = 0.0
    count: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.seconds + other.seconds, self.count + other.count)

    @property
    def microseconds(self) -> float:
        """CPU microseconds of one thing. Raises ValueError when there were none: that is no cost of zero."""
        if not self.count:
            raise ValueError("nothing was counted")
        return self.seconds / self.count * 1e6


@dataclass(frozen=True)
class Rate:
    """A number of things (`count`: tokens) in a time (`seconds`, by the clock)."""

    seconds: float = 0.0
    count: int = 0

    def __add__(self, other: "Rate") -> "Rate":
        return Rate(self.seconds + other.seconds, self.count + other.count)

    @property
    def per_second(self) -> float:
        """Raises ValueError when no time passed."""
        if not self.seconds:
            raise ValueError("no time was measured")
        return self.count / self.seconds


def rounded(value: float) -> float:
    """Four significant digits: more would claim a precision that no run has."""
    if value == 0 or not math.isfinite(value):
        return value
    return round(value, 3 - math.floor(math.log10(abs(value))))
