"""What a person sees of long work."""

import io

import pytest
from rich.console import Console

from fairlead_serve.progress import BarReporter, LineReporter, Report, describe

GIB = 1024**3


@pytest.mark.parametrize(
    ("report", "words"),
    {
        "bytes": (Report("m", "Downloading", int(3.1 * GIB), 9 * GIB), "Downloading 3.1 GiB of 9.0 GiB (34 %)"),
        "few bytes": (Report("m", "Downloading", 10, 1023), "Downloading 10 B of 1023 B (0 %)"),
        "very many bytes": (Report("m", "Downloading", 0, 5000 * 1024**4), "Downloading 0 B of 5000.0 TiB (0 %)"),
        "steps": (Report("m", "Loading", 2, 4), "Loading 2 of 4 (50 %)"),
        "nothing to do": (Report("m", "Loading", 0, 0), "Loading 0 of 0 (100 %)"),
        "no total": (Report("m", "Starting"), "Starting"),
        "the end without a total": (Report("m", "Starting", final=True), "Starting: done"),
        "the end": (Report("m", "Loading", 4, 4, final=True), "Loading 4 of 4 (100 %)"),
    }.values(),
)
def test_a_report_is_a_few_words(report: Report, words: str) -> None:
    assert describe(report) == words


class Lines:
    """A LineReporter, its clock and what it wrote."""

    def __init__(self) -> None:
        self.now = 100.0
        self._stream = io.StringIO()
        self.report = LineReporter(self._stream, clock=lambda: self.now)

    @property
    def written(self) -> list[str]:
        return self._stream.getvalue().splitlines()


def test_lines_come_with_every_phase_and_now_and_then() -> None:
    lines = Lines()
    for second in range(12):
        lines.now = 100.0 + second
        lines.report(Report("m", "Loading", second, 20))
    lines.now = 112.0
    lines.report(Report("m", "Starting"))
    assert lines.written == [
        "m: Loading 0 of 20 (0 %) [0 s]",
        "m: Loading 5 of 20 (25 %) [5 s]",
        "m: Loading 10 of 20 (50 %) [10 s]",
        "m: Starting [0 s]",
    ]


def test_the_end_of_a_phase_is_a_line_however_soon() -> None:
    lines = Lines()
    lines.report(Report("m", "Loading", 0, 20))
    lines.now += 1
    lines.report(Report("m", "Loading", 20, 20, final=True))
    assert lines.written[-1] == "m: Loading 20 of 20 (100 %) [1 s]"


def test_models_do_not_keep_each_other_s_lines_back() -> None:
    lines = Lines()
    lines.report(Report("a", "Loading", 0, 2))
    lines.report(Report("b", "Loading", 0, 2))
    lines.report(Report("a", "Loading", 1, 2))
    assert [line[0] for line in lines.written] == ["a", "b"]


def test_bars_show_every_phase_of_every_model() -> None:
    screen = io.StringIO()
    with BarReporter(Console(file=screen, force_terminal=True, width=100)) as report:
        report(Report("a", "Downloading", 0, 2 * GIB))
        report(Report("b", "Starting"))
        report(Report("a", "Downloading", 2 * GIB, 2 * GIB, final=True))
        report(Report("a", "Loading", 1, 2))
        report(Report("a", "Loading", 2, 2, final=True))
        report(Report("b", "Starting", final=True))
    shown = screen.getvalue()
    for words in ("Downloading 2.0 GiB of 2.0 GiB (100 %)", "Loading 2 of 2 (100 %)", "Starting: done"):
        assert words in shown


def test_a_terminal_is_given_back_when_something_fails() -> None:
    screen = io.StringIO()

    def fail() -> None:
        with BarReporter(Console(file=screen, force_terminal=True, width=100)) as report:
            report(Report("a", "Loading", 1, 2))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert screen.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is there again
