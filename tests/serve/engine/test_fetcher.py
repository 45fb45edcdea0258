"""What an engine starts with is brought here, and told of under the right names."""

from pathlib import Path

import pytest

from fairlead_serve.engine.fetcher import Cancelled, Fetcher, fetcher
from fairlead_serve.errors import WeightsNotFound
from fairlead_serve.model import Model, load
from fairlead_serve.progress import Report
from fairlead_serve.settings import EngineSettings, SourceSettings
from tests.processes import model_file


def made(directory: Path) -> Model:
    """A Model whose weights and one adapter lie in `directory`."""
    weights, adapter = directory / "weights", directory / "adapter"
    for folder, name in ((weights, "config.json"), (adapter, "adapter_config.json")):
        folder.mkdir()
        (folder / name).write_text("{}", encoding="utf-8")
    lora = f"lora: {{adapters: [{{name: sql, uri: '{adapter.as_uri()}'}}]}}"
    (model,) = load(model_file(directory, "one", uri=weights.as_uri(), spec=lora))
    return model


def fetching(directory: Path, reports: list[Report], *, cancelled: bool = False) -> Fetcher:
    settings = EngineSettings(cache_dir=directory / "cache", claims_dir=directory / "claims")
    return fetcher(settings, SourceSettings(), reports.append, lambda: cancelled)


def test_weights_and_adapters_are_found_and_told_of_each_under_its_name(tmp_path: Path) -> None:
    reports: list[Report] = []
    files = fetching(tmp_path, reports).model(made(tmp_path))
    assert files.weights == tmp_path / "weights"
    assert files.adapters == {"sql": tmp_path / "adapter"}
    assert [(one.who, one.phase, one.final) for one in reports] == [
        ("one", "Cached", False),
        ("one", "Cached", True),
        ("one/sql", "Cached", False),
        ("one/sql", "Cached", True),
    ]


def test_a_fetch_ends_at_its_next_report_when_the_process_is_to_stop(tmp_path: Path) -> None:
    reports: list[Report] = []
    with pytest.raises(Cancelled):
        fetching(tmp_path, reports, cancelled=True).model(made(tmp_path))
    assert reports == []


def test_an_adapter_that_is_not_there_is_named(tmp_path: Path) -> None:
    model = made(tmp_path)
    with pytest.raises(WeightsNotFound, match="/nowhere/at/all"):
        fetching(tmp_path, []).adapter(model, "law", "file:///nowhere/at/all")
