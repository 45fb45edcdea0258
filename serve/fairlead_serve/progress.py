"""What a person sees of long work: downloads, loads, starts. Two ways to show one kind of report.

A report is a fact ("tiny-chat is Downloading, 3 of 9 bytes"); how it looks is the reporter's business: bars on
a terminal, lines in a log.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_LINE_EVERY_SECONDS = 5.0
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_BYTE_PHASES = frozenset({"Downloading"})


@dataclass(frozen=True)
class Report:
    """`who` (a Model, or a part of Fairlead) is in `phase`; `done` of `total`, where that can be counted.

    Bytes while Downloading, steps otherwise. `final`: this phase has come to its end.
    """

    who: str
    phase: str
    done: int = 0
    total: int | None = None
    final: bool = False


Reporter = Callable[[Report], None]


class LineReporter:
    """Plain lines: every new phase, its end, and in between one each few seconds."""

    def __init__(self, stream: IO[str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._shown: dict[str, tuple[str, float]] = {}
        self._began: dict[tuple[str, str], float] = {}

    def __call__(self, report: Report) -> None:
        now = self._clock()
        began = self._began.setdefault((report.who, report.phase), now)
        phase, since = self._shown.get(report.who, ("", 0.0))
        if phase == report.phase and not report.final and now - since < _LINE_EVERY_SECONDS:
            return
        self._shown[report.who] = (report.phase, now)
        self._stream.write(f"{report.who}: {describe(report)} [{now - began:.0f} s]\n")
        self._stream.flush()


class BarReporter:
    """Bars on a terminal, one a `who`. Use as a context manager: the terminal has to be given back."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.fields[who]:<16}"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, tuple[str, TaskID]] = {}

    def __enter__(self) -> "BarReporter":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, report: Report) -> None:
        phase, task = self._tasks.get(report.who, ("", None))
        if task is None or phase != report.phase:
            if task is not None:
                self._bars.update(task, total=1, completed=1)
                self._bars.stop_task(task)
            task = self._bars.add_task("", who=report.who, total=report.total)
            self._tasks[report.who] = (report.phase, task)
        total = report.total if not report.final else (report.total or 1)
        completed = total if report.final and total else report.done
        self._bars.update(task, description=describe(report), total=total, completed=completed)
        if report.final:
            self._bars.stop_task(task)


def describe(report: Report) -> str:
    """The report in words: `Downloading 3.1 GiB of 9.0 GiB (34 %)`."""
    if report.final and report.total is None:
        return f"{report.phase}: done"
    if report.total is None:
        return report.phase
    percent = 100 * report.done // report.total if report.total else 100
    if report.phase in _BYTE_PHASES:
        return f"{report.phase} {_bytes(report.done)} of {_bytes(report.total)} ({percent} %)"
    return f"{report.phase} {report.done} of {report.total} ({percent} %)"


def _bytes(count: float) -> str:
    unit = 0
    while count >= 1024 and unit < len(_UNITS) - 1:
        count /= 1024
        unit += 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 else f"{count:.1f} {_UNITS[unit]}"
