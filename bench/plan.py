"""How long and how often a run measures."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """`seconds`: how long each figure of each target is measured, in all `rounds` together; `samples`: first tokens."""

    seconds: float
    rounds: int
    samples: int


def make_plan(*, seconds: float | None, quick: bool) -> Plan:
    """The plan of a run: `seconds` where given, else what fits into four minutes, or with `quick` into one."""
    if quick:
        return Plan(seconds or 2.5, rounds=1, samples=100)
    return Plan(seconds or 5.0, rounds=2, samples=300)
