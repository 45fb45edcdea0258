"""The adapters that are wanted become those that the engine holds, whatever comes between."""

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from fairlead_serve.engine.adapters import MAX_MESSAGE, RETRY_SECONDS, AdapterKeeper, AdapterState
from fairlead_serve.engine.fetcher import Cancelled, EngineFiles
from fairlead_serve.errors import WeightsNotFound
from fairlead_serve.model import AdapterStatus, load
from tests.processes import model_file


class World:
    """An engine and a source of weights, both as far as a keeper sees them; the clock is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.alive = True
        self.held: dict[str, Path] = {}
        self.loads = 0
        self.asked = 0
        self.unusable: dict[Path, str] = {}
        self.missing: set[str] = set()
        self.fetched: list[str] = []
        self.holds: list[set[str]] = []
        self.keeper = AdapterKeeper(self.fetch, self.hold, clock=lambda: self.now)

    def fetch(self, name: str, uri: str) -> Path:
        self.fetched.append(uri)
        if uri in self.missing:
            raise WeightsNotFound(f"{uri} is not there")
        return directory(uri)

    def hold(self, directories: Mapping[str, Path]) -> Mapping[str, str] | None:
        self.asked += 1
        self.holds.append({*directories})
        if not self.alive:
            return None
        failures = {name: self.unusable[path] for name, path in directories.items() if path in self.unusable}
        wanted = {name: path for name, path in directories.items() if name not in failures}
        self.loads += len(wanted.items() - self.held.items())
        kept = {name: path for name, path in self.held.items() if name in failures}
        self.held = {**wanted, **kept}
        return failures

    def replace_engine(self) -> None:
        self.held = {}

    def states(self) -> dict[str, str]:
        return {state.name: state.state for state in self.keeper.states()}


def directory(uri: str) -> Path:
    return Path("/weights") / uri.partition("://")[2]


@pytest.fixture
def world() -> World:
    return World()


def test_a_wanted_adapter_is_pending_then_fetched_and_loaded(world: World) -> None:
    world.keeper.want([("sql", "hf://org/sql")])
    assert world.keeper.states() == [AdapterState("sql", "hf://org/sql", "Pending")]
    world.keeper.make_pass()
    assert world.keeper.states() == [AdapterState("sql", "hf://org/sql", "Loaded")]
    assert world.held == {"sql": directory("hf://org/sql")}


def test_what_is_loaded_is_neither_fetched_nor_loaded_again(world: World) -> None:
    for _ in range(3):
        world.keeper.want([("sql", "hf://org/sql")])
        world.keeper.make_pass()
    assert world.fetched == ["hf://org/sql"]
    assert world.loads == 1


def test_an_adapter_is_loading_while_it_is_fetched_and_while_the_engine_takes_it(world: World) -> None:
    seen: list[str] = []
    fetch, hold = world.fetch, world.hold

    def watched_fetch(name: str, uri: str) -> Path:
        seen.append(world.states()[name])
        return fetch(name, uri)

    def watched_hold(directories: Mapping[str, Path]) -> Mapping[str, str] | None:
        seen.append(world.states()["sql"])
        return hold(directories)

    world.keeper = AdapterKeeper(watched_fetch, watched_hold)
    world.keeper.want([("sql", "hf://org/sql")])
    world.keeper.make_pass()
    assert seen == ["Pending", "Loading", "Loading"]


def test_an_adapter_that_is_no_longer_wanted_is_unloaded(world: World) -> None:
    world.keeper.want([("sql", "hf://org/sql"), ("old", "hf://org/old")])
    world.keeper.make_pass()
    world.keeper.want([("sql", "hf://org/sql")])
    world.keeper.make_pass()
    assert world.held == {"sql": directory("hf://org/sql")}
    world.keeper.want([])
    world.keeper.make_pass()
    assert world.held == {}
    assert world.keeper.states() == []


def test_a_changed_uri_loads_the_new_weights(world: World) -> None:
    world.keeper.want([("sql", "hf://org/sql")])
    world.keeper.make_pass()
    world.keeper.want([("sql", "hf://org/better")])
    assert world.states() == {"sql": "Pending"}
    world.keeper.make_pass()
    assert world.held == {"sql": directory("hf://org/better")}
    assert world.states() == {"sql": "Loaded"}


def test_the_weights_of_before_answer_until_the_new_ones_can(world: World) -> None:
    world.keeper.want([("sql", "hf://org/sql")])
    world.keeper.make_pass()
    world.missing.add("hf://org/better")
    world.keeper.want([("sql", "hf://org/better")])
    world.keeper.make_pass()
    assert world.held == {"sql": directory("hf://org/sql")}
    assert world.states() == {"sql": "Failed"}
    # Also on an engine that was replaced meanwhile.
    world.replace_engine()
    world.keeper.make_pass()
    assert world.held == {"sql": directory("hf://org/sql")}


def test_an_engine_that_was_replaced_gets_its_adapters_again(world: World) -> None:
    world.keeper.want([("sql", "hf://org/sql")])
    world.keeper.make_pass()
    world.alive = False
    world.keeper.make_pass()
    assert world.states() == {"sql": "Pending"}
    world.alive = True
    world.replace_engine()
    world.keeper.make_pass()
    assert world.held == {"sql": directory("hf://org/sql")}
    assert world.states() == {"sql": "Loaded"}
    assert world.fetched == ["hf://org/sql"]


def test_weights_that_cannot_be_had_are_said_and_asked_for_again_after_a_while(world: World) -> None:
    world.missing.add("hf://org/sql")
    world.keeper.want([("sql", "hf://org/sql"), ("good", "hf://org/good")])
    world.keeper.make_pass()
    assert world.keeper.states()[0] == AdapterState("sql", "hf://org/sql", "Failed", "hf://org/sql is not there")
    assert world.states()["good"] == "Loaded"
    world.missing.clear()
    world.keeper.make_pass()
    assert world.states()["sql"] == "Failed"
    world.now += RETRY_SECONDS
    world.keeper.make_pass()
    assert world.keeper.states()[0] == AdapterState("sql", "hf://org/sql", "Loaded")


def test_weights_that_the_engine_refuses_are_said_in_its_words_and_not_offered_at_every_pass(world: World) -> None:
    world.unusable[directory("hf://org/sql")] = "the rank is too high"
    world.keeper.want([("sql", "hf://org/sql")])
    world.keeper.make_pass()
    assert world.keeper.states() == [AdapterState("sql", "hf://org/sql", "Failed", "the rank is too high")]
    world.unusable.clear()
    world.keeper.make_pass()
    assert world.held == {}
    world.now += RETRY_SECONDS
    world.keeper.make_pass()
    assert world.states() == {"sql": "Loaded"}


def test_a_message_is_no_longer_than_the_status_of_a_model_takes(world: World) -> None:
    world.unusable[directory("hf://org/sql")] = "this layer, " * 1000
    world.keeper.want([("sql", "hf://org/sql")])
    world.keeper.make_pass()
    (state,) = world.keeper.states()
    assert len(state.message) == MAX_MESSAGE
    AdapterStatus(name=state.name, state=state.state, message=state.message)


def test_another_uri_for_an_adapter_that_failed_is_tried_at_once(world: World) -> None:
    world.missing.add("hf://org/sql")
    world.keeper.want([("sql", "hf://org/sql")])
    world.keeper.make_pass()
    world.keeper.want([("sql", "hf://org/right")])
    world.keeper.make_pass()
    assert world.states() == {"sql": "Loaded"}


def test_what_is_here_does_not_wait_for_what_has_to_be_fetched(world: World) -> None:
    world.keeper.want([("sql", "hf://org/sql")])
    world.keeper.make_pass()
    world.replace_engine()
    world.holds.clear()
    world.keeper.want([("slow", "hf://org/slow"), ("sql", "hf://org/sql")])
    world.keeper.make_pass()
    assert world.holds == [{"sql"}, {"slow", "sql"}]


def test_adapters_that_the_engine_starts_with_stay_loaded_throughout(world: World, tmp_path: Path) -> None:
    world.keeper.want([("sql", "hf://org/sql"), ("law", "hf://org/law")])
    world.keeper.begin_with(started_with(tmp_path, sql="hf://org/sql", law="hf://org/law"))
    world.keeper.make_pass()
    assert world.holds == [{"sql", "law"}]
    assert world.fetched == []
    assert world.states() == {"sql": "Loaded", "law": "Loaded"}


def test_what_is_wanted_since_goes_before_what_the_engine_starts_with(world: World, tmp_path: Path) -> None:
    world.keeper.want([("sql", "hf://org/better")])
    world.keeper.begin_with(started_with(tmp_path, sql="hf://org/sql", law="hf://org/law"))
    world.keeper.make_pass()
    assert world.holds == [{"sql"}, {"sql"}]
    assert world.held == {"sql": directory("hf://org/better")}


def started_with(folder: Path, **adapters: str) -> EngineFiles:
    listed = ", ".join(f"{{name: {name}, uri: '{uri}'}}" for name, uri in adapters.items())
    (model,) = load(model_file(folder, "one", spec=f"lora: {{adapters: [{listed}]}}"))
    return EngineFiles(model, Path("/weights/one"), {name: directory(uri) for name, uri in adapters.items()})


def test_an_engine_that_was_never_to_have_an_adapter_is_left_alone(world: World) -> None:
    world.keeper.want([])
    world.keeper.make_pass()
    assert world.asked == 0


def test_a_change_is_acted_on_at_once(world: World) -> None:
    held = threading.Event()

    def hold(directories: Mapping[str, Path]) -> Mapping[str, str]:
        held.set()
        return {}

    keeper = AdapterKeeper(world.fetch, hold)
    with keeper.kept():
        keeper.want([("sql", "hf://org/sql")])
        assert held.wait(4)


def test_a_failure_to_fetch_that_nobody_foresaw_is_that_adapters_and_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def fetch(name: str, uri: str) -> Path:
        if name == "sql":
            raise OSError(5, "Input/output error")
        return world.fetch(name, uri)

    world.keeper = AdapterKeeper(fetch, world.hold, clock=lambda: world.now)
    world.keeper.want([("sql", "hf://org/sql"), ("good", "hf://org/good")])
    world.keeper.make_pass()
    assert world.states() == {"sql": "Failed", "good": "Loaded"}
    message = "hf://org/sql cannot be fetched (OSError); see the log of the engine"
    assert world.keeper.states()[0].message == message
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "sql" in record.getMessage()


def test_a_pass_that_fails_is_logged_and_there_is_another(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.keeper.want([("sql", "hf://org/sql")])
    world.keeper.make_pass()
    failed, held = threading.Event(), threading.Event()
    seen: list[str] = []

    def hold(directories: Mapping[str, Path]) -> Mapping[str, str]:
        seen.append(world.states()["sql"])
        if len(seen) == 1:
            failed.set()
            raise KeyError("nobody foresaw this")
        held.set()
        return {}

    monkeypatch.setattr(world.keeper, "_hold", hold)
    with world.keeper.kept():
        assert failed.wait(10)
        world.keeper.want([("sql", "hf://org/sql")])
        assert held.wait(10)
    assert seen == ["Loaded", "Pending"]
    (record,) = caplog.records
    assert record.exc_info is not None


def test_a_fetch_that_is_cancelled_ends_the_passes(world: World) -> None:
    asked = threading.Event()

    def fetch(name: str, uri: str) -> Path:
        asked.set()
        raise Cancelled

    keeper = AdapterKeeper(fetch, world.hold)
    keeper.want([("sql", "hf://org/sql")])
    with keeper.kept():
        assert asked.wait(10)
    assert world.holds == [set()]
