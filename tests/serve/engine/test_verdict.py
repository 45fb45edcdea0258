"""What an engine process leaves for the kubelet when it dies."""

from pathlib import Path

import pytest

from fairlead_serve.engine.verdict import MAX_BYTES, recorded, secrets_of, verdict, without
from fairlead_serve.errors import (
    ConfigurationError,
    DiskFull,
    EngineStartError,
    FairleadError,
    ModelFileError,
    PortInUse,
    WeightsError,
    WeightsForbidden,
    WeightsNotFound,
    WeightsUnavailable,
)
from fairlead_serve.model import load
from fairlead_serve.settings import EngineSettings, SourceSettings
from tests.processes import model_file


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (WeightsForbidden, "AuthFailed"),
        (WeightsNotFound, "NotFound"),
        (DiskFull, "DiskFull"),
        (WeightsUnavailable, "DownloadFailed"),
        (WeightsError, "DownloadFailed"),
        (EngineStartError, "EngineStartFailed"),
        (ConfigurationError, "EngineStartFailed"),
        (PortInUse, "EngineStartFailed"),
    ],
)
def test_every_kind_of_error_has_its_reason(kind: type[FairleadError], reason: str) -> None:
    assert verdict(kind("the disk is on fire")) == f"{reason}: the disk is on fire"


def test_a_wrong_engine_argument_is_told_from_another_mistake_of_the_model_file(tmp_path: Path) -> None:
    argument = failure(model_file(tmp_path, "one").read_text().replace("kv_cache_memory_bytes", "kv_cash"), tmp_path)
    assert verdict(argument).startswith("UnknownArgument: ")
    assert "kv_cash" in verdict(argument)
    other = failure(model_file(tmp_path, "one", engine="maxModelLength: 5").read_text(), tmp_path)
    assert verdict(other).startswith("EngineStartFailed: ")


def failure(text: str, directory: Path) -> ModelFileError:
    path = directory / "wrong.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ModelFileError) as raised:
        load(path)
    return raised.value


def test_several_sentences_become_one_line() -> None:
    assert verdict(ConfigurationError("this\nthat")) == "EngineStartFailed: this; that"


def test_a_long_message_is_cut_to_what_the_kubelet_keeps_and_stays_text() -> None:
    line = verdict(EngineStartError("ü" * MAX_BYTES))
    assert MAX_BYTES - 2 < len(line.encode()) <= MAX_BYTES


def test_the_error_is_written_and_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "termination-log"
    with pytest.raises(DiskFull), recorded(file):
        raise DiskFull("no room")
    assert file.read_text(encoding="utf-8") == "DiskFull: no room\n"


def test_no_secret_is_written(tmp_path: Path) -> None:
    file = tmp_path / "termination-log"
    with pytest.raises(WeightsForbidden), recorded(file, secrets=["hf_secret", "", "hub"]):
        raise WeightsForbidden("the hub refuses hf_secret")
    assert file.read_text(encoding="utf-8") == "AuthFailed: the hub refuses ***\n"


def test_no_secret_is_in_a_verdict_not_even_where_it_was_cut() -> None:
    assert verdict(WeightsForbidden("not hf_secret"), secrets=["hf_secret"]) == "AuthFailed: not ***"
    at_the_edge = "x" * (MAX_BYTES - len("AuthFailed: ") - 4)
    assert "hf_s" not in verdict(WeightsForbidden(f"{at_the_edge}hf_secret"), secrets=["hf_secret"])


def test_a_secret_within_another_leaves_nothing_of_it() -> None:
    assert without("hf_secret_and_more, hf_secret", ["hf_secret", "hf_secret_and_more"]) == "***, ***"


def test_the_secrets_of_an_engine_are_those_of_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_INTERNAL_TOKEN", "internal")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert secrets_of(EngineSettings(), SourceSettings()) == ["internal", "hf_secret"]


def test_without_an_error_or_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    file = tmp_path / "termination-log"
    with recorded(file):
        pass
    assert not file.exists()
    with pytest.raises(DiskFull), recorded(None):
        raise DiskFull("no room")


def test_a_file_that_cannot_be_written_does_not_hide_the_error(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="no room"), recorded(tmp_path):
        raise DiskFull("no room")
