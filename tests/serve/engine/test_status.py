"""What an engine's process says of itself while it starts, serves and leaves."""

from fairlead_serve.engine.status import Status
from fairlead_serve.progress import Report
from fairlead_serve.stopping import Stopping

GIB = 1 << 30


class Clock:
    """A clock that is moved by hand; seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def phase(status: Status) -> object:
    return status.document()["phase"]


def test_the_phases_follow_one_another_from_start_to_stop() -> None:
    stopping = Stopping()
    status = Status("one", stopping)
    assert phase(status) == "Starting"
    status(Report("one", "Downloading", 0, 9))
    assert phase(status) == "Downloading"
    status(Report("one", "Downloading", 9, 9, final=True))
    assert phase(status) == "Loading"
    status(Report("ray", "Starting"))
    status(Report("one", "Loading the engine", final=True))
    assert phase(status) == "Loading"
    status.ready()
    assert phase(status) == "Ready"
    stopping.request()
    assert phase(status) == "Stopping"


def test_weights_that_are_here_already_are_cached_without_a_download() -> None:
    status = Status("one", Stopping())
    assert status.document()["cached"] is False
    status(Report("one", "Cached", 9, 9))
    status(Report("one", "Cached", 9, 9, final=True))
    assert status.document() == {"phase": "Loading", "download": None, "cached": True}


def test_a_download_is_told_in_bytes_until_it_ends() -> None:
    clock = Clock()
    status = Status("one", Stopping(), clock=clock)
    assert status.document()["download"] is None
    status(Report("one", "Downloading", 4 * GIB, 9 * GIB))
    clock.now += 2
    status(Report("one", "Downloading", 5 * GIB, 9 * GIB))
    # What an earlier try left behind was not fetched now.
    assert status.document() == {
        "phase": "Downloading",
        "download": {"bytesDone": 5 * GIB, "bytesTotal": 9 * GIB, "bytesPerSecond": GIB // 2},
        "cached": False,
    }
    status(Report("one", "Downloading", 9 * GIB, 9 * GIB, final=True))
    assert status.document()["download"] is None


def test_the_speed_is_that_of_late_and_falls_to_nothing_when_bytes_stop_coming() -> None:
    clock = Clock()
    status = Status("one", Stopping(), clock=clock)

    def speed() -> int:
        value: int = status.document()["download"]["bytesPerSecond"]
        return value

    for second in range(60):
        status(Report("one", "Downloading", 1000 * second, 1_000_000))
        clock.now += 1
    assert 900 <= speed() <= 1000
    for second in range(20):
        status(Report("one", "Downloading", 60_000 + 10_000 * second, 1_000_000))
        clock.now += 1
    assert 9000 <= speed() <= 10_000
    clock.now += 5
    assert 0 < speed() < 10_000
    clock.now += 20
    assert speed() == 0


def test_a_file_that_is_fetched_again_gives_no_speed_below_zero() -> None:
    clock = Clock()
    status = Status("one", Stopping(), clock=clock)
    status(Report("one", "Downloading", 5000, 9000))
    clock.now += 1
    status(Report("one", "Downloading", 1000, 9000))
    assert status.document()["download"]["bytesPerSecond"] == 0


def test_waiting_for_another_process_and_making_a_model_have_no_bytes_to_tell() -> None:
    for report in (Report("one", "Waiting"), Report("one", "Making", 3, 9)):
        status = Status("one", Stopping())
        status(report)
        assert status.document() == {"phase": "Downloading", "download": None, "cached": False}


def test_the_weights_of_an_adapter_are_not_those_of_the_model() -> None:
    status = Status("one", Stopping())
    status.ready()
    status(Report("one/sql", "Downloading", 1, 9))
    assert status.document() == {"phase": "Ready", "download": None, "cached": False}
