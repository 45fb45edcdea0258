"""The store: URIs, directories that are given, tiny models, and processes that share a cache."""

import errno
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fairlead_serve.engine.weights import Progress, WeightsStore
from fairlead_serve.errors import DiskFull, WeightsError, WeightsNotFound
from tests.serve.engine.hub_server import COMMIT, REPO, Hub, running

URI = f"hf://{REPO}"
WEIGHTS = random.Random(3).randbytes(8 << 20)
PROGRAM = Path(__file__).with_name("fetch_process.py")


def _ignore(_: Progress) -> None:
    pass


# --- URIs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("acme/parrot", "must begin with one of hf://"),
        ("ftp://acme/parrot", "must begin with one of hf://"),
        ("hf://", "hf://owner/name"),
        ("hf://acme/parrot/model.safetensors", "hf://owner/name"),
        ("hf://../../etc", "hf://owner/name"),
        ("hf://acme/pa--rrot", "hf://owner/name"),
        ("s3:///parrot", "s3://bucket/prefix"),
        ("s3://../parrot", "s3://bucket/prefix"),
        ("file://models/parrot", "three slashes"),
        ("pvc://", "pvc://claim/path"),
        ("pvc://claim/../other", "pvc://claim/path"),
        ("tiny://parrot", "tiny://chat and tiny://embed"),
    ],
)
def test_a_uri_that_names_nothing_says_how_to_write_it(tmp_path: Path, uri: str, said: str) -> None:
    store = WeightsStore(tmp_path, claims=tmp_path)

    with pytest.raises(WeightsError, match=said) as caught:
        store.fetch(uri, progress=_ignore)

    assert uri in str(caught.value)


# --- Directories that are given -----------------------------------------------------------------------------


@pytest.fixture(params=["config.json", "params.json"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    directory = tmp_path / "claims" / "shared" / "a parrot"
    directory.mkdir(parents=True)
    (directory / request.param).write_text("{}")
    return directory


def test_a_local_directory_is_used_where_it_lies(model: Path, tmp_path: Path) -> None:
    root = tmp_path / "cache"
    store = WeightsStore(root)
    reports: list[Progress] = []

    assert store.fetch(model.as_uri(), progress=reports.append) == model
    assert store.fetch(f"file://{model}", progress=_ignore) == model
    assert store.lookup(model.as_uri()) == model
    assert [report.phase for report in reports] == ["Cached"]
    assert not root.exists()


def test_a_directory_of_a_claim_is_used_where_it_is_mounted(model: Path, tmp_path: Path) -> None:
    store = WeightsStore(tmp_path / "cache", claims=tmp_path / "claims")

    assert store.fetch("pvc://shared/a parrot", progress=_ignore) == model
    assert store.lookup("pvc://shared/a parrot") == model


def test_claims_are_refused_where_none_are_mounted(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no claims are mounted here"):
        WeightsStore(tmp_path).fetch("pvc://shared/parrot", progress=_ignore)


@pytest.mark.parametrize("scheme", ["file", "pvc"])
def test_a_directory_that_is_missing_or_no_model_is_named(tmp_path: Path, scheme: str) -> None:
    store = WeightsStore(tmp_path, claims=tmp_path)
    directory = tmp_path / "shared" / "parrot"
    uri = directory.as_uri() if scheme == "file" else "pvc://shared/parrot"

    with pytest.raises(WeightsNotFound, match=f"no directory {directory}"):
        store.fetch(uri, progress=_ignore)
    assert store.lookup(uri) is None

    directory.mkdir(parents=True)
    (directory / "model.safetensors").write_bytes(b"weights alone")
    with pytest.raises(WeightsNotFound, match=r"neither config\.json nor params\.json"):
        store.fetch(uri, progress=_ignore)
    assert store.lookup(uri) is None


# --- Tiny models --------------------------------------------------------------------------------------------


class Maker:
    """Stands in for the trainer."""

    def __init__(self) -> None:
        self.digest = "recipe1"
        self.made = 0
        self.fault: Exception | None = None

    def recipe_digest(self, name: str) -> str:
        return f"{name}-{self.digest}"

    def make(self, name: str, target: Path, progress: Callable[[int, int], None]) -> None:
        assert list(target.iterdir()) == []
        self.made += 1
        (target / "config.json").write_text("{}")
        progress(1, 2)
        if self.fault is not None:
            raise self.fault
        (target / "model.safetensors").write_bytes(f"{name} {self.digest}".encode())
        progress(2, 2)


@pytest.fixture
def maker() -> Maker:
    return Maker()


def test_a_tiny_model_is_made_once(tmp_path: Path, maker: Maker) -> None:
    store = WeightsStore(tmp_path, tiny=maker)
    reports: list[Progress] = []
    assert store.lookup("tiny://chat") is None

    directory = store.fetch("tiny://chat", progress=reports.append)

    assert (directory / "model.safetensors").read_text() == "chat recipe1"
    assert reports == [Progress("Making", 1, 2), Progress("Making", 2, 2)]
    assert store.fetch("tiny://chat", progress=reports.append) == directory
    assert reports[-1].phase == "Cached"
    assert store.lookup("tiny://chat") == directory
    assert maker.made == 1


def test_another_recipe_is_another_model(tmp_path: Path, maker: Maker) -> None:
    store = WeightsStore(tmp_path, tiny=maker)
    old = store.fetch("tiny://chat", progress=_ignore)
    maker.digest = "recipe2"

    assert store.lookup("tiny://chat") is None
    assert store.fetch("tiny://chat", progress=_ignore) != old
    assert store.fetch("tiny://embed", progress=_ignore).parent != old.parent


def test_a_making_that_fails_leaves_no_model_and_is_begun_anew(tmp_path: Path, maker: Maker) -> None:
    store = WeightsStore(tmp_path, tiny=maker)
    maker.fault = RuntimeError("the trainer tripped")
    with pytest.raises(RuntimeError, match="tripped"):
        store.fetch("tiny://chat", progress=_ignore)
    assert store.lookup("tiny://chat") is None

    maker.fault = None
    assert (store.fetch("tiny://chat", progress=_ignore) / "model.safetensors").exists()


def test_a_making_that_fills_the_disk_is_said_so(tmp_path: Path, maker: Maker) -> None:
    maker.fault = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DiskFull, match="are free"):
        WeightsStore(tmp_path, tiny=maker).fetch("tiny://chat", progress=_ignore)


# --- Processes that share a cache ---------------------------------------------------------------------------


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running(Hub({"config.json": b"{}", "model.safetensors": WEIGHTS})) as hub:
        yield hub


@pytest.fixture
def start(hub: Hub, tmp_path: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, str(PROGRAM), str(tmp_path), hub.url, URI]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _read_until(process: "subprocess.Popen[str]", phase: str, done: int = 0) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        said, count = line.split()
        if said == phase and int(count) >= done:
            return
    pytest.fail(f"the process ended before it reported {phase} {done}")


def test_two_processes_at_once_fetch_once(
    hub: Hub, tmp_path: Path, start: Callable[[], "subprocess.Popen[str]"]
) -> None:
    hub.hold["model.safetensors"] = threading.Event()
    first = start()
    _read_until(first, "Downloading")
    second = start()
    _read_until(second, "Waiting")

    hub.hold["model.safetensors"].set()
    _read_until(second, "Cached")

    assert (first.wait(), second.wait()) == (0, 0)
    assert len(hub.gets("model.safetensors")) == len(hub.gets("config.json")) == 1
    assert WeightsStore(tmp_path).lookup(URI) == tmp_path / "hf" / "acme--parrot" / COMMIT


def test_two_threads_of_one_process_fetch_once(hub: Hub, tmp_path: Path) -> None:
    hub.hold["model.safetensors"] = threading.Event()
    store = WeightsStore(tmp_path, hub_endpoint=hub.url)
    directories: list[Path] = []

    def fetch(phase: str, reached: threading.Event) -> None:
        def listen(progress: Progress) -> None:
            if progress.phase == phase:
                reached.set()

        directories.append(store.fetch(URI, progress=listen))

    threads = []
    for phase in ("Downloading", "Waiting"):
        reached = threading.Event()
        threads.append(threading.Thread(target=fetch, args=(phase, reached)))
        threads[-1].start()
        assert reached.wait(60)
    hub.hold["model.safetensors"].set()
    for thread in threads:
        thread.join()

    assert directories[0] == directories[1]
    assert len(hub.gets("model.safetensors")) == 1


def test_a_fetch_that_is_killed_is_continued_and_never_taken_for_whole(
    hub: Hub, tmp_path: Path, start: Callable[[], "subprocess.Popen[str]"]
) -> None:
    hub.trickle_after["model.safetensors"] = 4 << 20
    killed = start()
    _read_until(killed, "Downloading", 4 << 20)
    killed.kill()
    killed.wait()
    hub.trickle_after.clear()
    hub.requests.clear()

    store = WeightsStore(tmp_path, hub_endpoint=hub.url)
    assert store.lookup(URI) is None
    reports: list[Progress] = []
    directory = store.fetch(URI, progress=reports.append)

    assert (directory / "model.safetensors").read_bytes() == WEIGHTS
    (request,) = hub.gets("model.safetensors")
    assert request.range is not None
    # The last mebibyte may still have been in the killed process's buffer.
    assert int(request.range.removeprefix("bytes=").rstrip("-")) >= 3 << 20
    assert {report.phase for report in reports} == {"Downloading"}
    assert reports[0].done >= 3 << 20
