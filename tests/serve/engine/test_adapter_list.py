"""The list of LoRA adapters that an engine finds when it starts."""

import json
from pathlib import Path

import pytest

from fairlead_serve.app import first_adapters
from fairlead_serve.engine.adapter_list import read_adapters
from fairlead_serve.model import load
from tests.processes import model_file


def written(folder: Path, *adapters: tuple[str, str]) -> Path:
    path = folder / "adapters.json"
    listed = [{"name": name, "uri": uri} for name, uri in adapters]
    path.write_text(json.dumps({"adapters": listed}), encoding="utf-8")
    return path


def test_the_adapters_of_a_file_are_read_in_their_order(tmp_path: Path) -> None:
    adapters = [("sql", "hf://org/sql"), ("law", "s3://bucket/law")]
    assert read_adapters(written(tmp_path, *adapters)) == adapters


def test_a_file_that_is_not_there_lists_none_and_nothing_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_adapters(tmp_path / "none.json") == []
    assert not caplog.records


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "JSON"),
        ('{"adapters": [{"name": "sql"}]}', "adapters.0.uri"),
        ('{"adapters": [{"name": "a", "uri": "hf://o/l"}, {"name": "a", "uri": "hf://o/m"}]}', "same name"),
    ],
)
def test_a_file_that_cannot_be_used_lists_none_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, words: str
) -> None:
    path = tmp_path / "adapters.json"
    path.write_text(text, encoding="utf-8")
    assert read_adapters(path) == []
    (record,) = caplog.records
    assert str(path) in record.getMessage()
    assert words in record.getMessage()


def test_a_folder_in_its_place_keeps_no_engine_from_starting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_adapters(tmp_path) == []
    assert len(caplog.records) == 1


def test_an_engine_begins_with_those_of_its_model_file_and_of_the_list(tmp_path: Path) -> None:
    given = "lora: {adapters: [{name: own, uri: 'hf://org/own'}, {name: sql, uri: 'hf://org/old'}]}"
    (model,) = load(model_file(tmp_path, "one", spec=given))
    file = written(tmp_path, ("sql", "hf://org/sql"), ("law", "hf://org/law"))
    assert first_adapters(model, None) == [("own", "hf://org/own"), ("sql", "hf://org/old")]
    later = [("own", "hf://org/own"), ("sql", "hf://org/sql"), ("law", "hf://org/law")]
    assert first_adapters(model, file) == later
