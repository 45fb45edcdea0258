"""When engines are said to be ready, and what they do not wait for. Ray and the weights are stood in for."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from fairlead_serve.engine.adapters import AdapterKeeper
from fairlead_serve.engine.cluster import EngineState, LocalCluster
from fairlead_serve.engine.fetcher import EngineFiles, Fetcher
from fairlead_serve.engine.runner import ADAPTER_SECONDS, EngineRunner
from fairlead_serve.errors import WeightsNotFound
from fairlead_serve.model import Model, load
from fairlead_serve.stopping import Stopping
from tests.processes import model_file


class Engine:
    """A cluster in which every engine is loaded at once, and weights that are all here; both as a runner sees them."""

    log_directory = Path("/nowhere")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.held: Mapping[str, Path] = {}

    def model(self, model: Model) -> EngineFiles:
        return EngineFiles(model, Path("/weights"), {})

    def start(self, slots: int) -> None:
        pass

    def deploy(self, engines: Sequence[EngineFiles]) -> None:
        self.names = [files.model.name for files in engines]

    def states(self) -> Mapping[str, EngineState]:
        return {name: EngineState("RUNNING", "", 1) for name in self.names}

    def hold(self, directories: Mapping[str, Path]) -> Mapping[str, str]:
        self.held = directories
        return {}

    def drain(self, names: Sequence[str], *, give_up: Callable[[], bool]) -> None:
        self.names = []

    def stop(self) -> None:
        pass


@pytest.fixture
def engine() -> Engine:
    return Engine()


def held_when_ready(
    engine: Engine,
    folder: Path,
    fetch: Callable[[str, str], Path],
    *,
    seconds: float = ADAPTER_SECONDS,
    ready: threading.Event | None = None,
) -> list[str]:
    """The adapters that the engine held when it was said to be ready, which sets `ready`; sql and law are wanted."""
    (model,) = load(model_file(folder, "one"))
    keeper, stopping = AdapterKeeper(fetch, engine.hold), Stopping()
    keeper.want([("sql", "hf://org/sql"), ("law", "hf://org/law")])
    parts: Any = engine
    runner = EngineRunner(
        [model], cast(Fetcher, parts), cast(LocalCluster, parts), lambda _: None, stopping, keeper, seconds
    )
    held: list[str] = []

    def on_ready() -> None:
        held.extend(engine.held)
        stopping.drain.set()
        if ready is not None:
            ready.set()

    runner.run(on_ready=on_ready)
    return held


def test_an_engine_holds_its_adapters_before_it_is_said_to_be_ready(engine: Engine, tmp_path: Path) -> None:
    assert held_when_ready(engine, tmp_path, lambda name, _: Path(name)) == ["sql", "law"]


def test_an_adapter_that_cannot_be_had_keeps_no_engine_from_serving(engine: Engine, tmp_path: Path) -> None:
    def fetch(name: str, uri: str) -> Path:
        if name == "sql":
            raise WeightsNotFound(f"{uri} is not there")
        return Path(name)

    assert held_when_ready(engine, tmp_path, fetch) == ["law"]


def test_an_adapter_that_takes_long_is_not_waited_for(engine: Engine, tmp_path: Path) -> None:
    ready = threading.Event()

    def fetch(name: str, uri: str) -> Path:
        assert ready.wait(60)
        return Path(name)

    assert held_when_ready(engine, tmp_path, fetch, seconds=0, ready=ready) == []
