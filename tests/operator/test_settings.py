"""The operator's settings: where they come from, and what is said of wrong ones."""

from pathlib import Path

import pytest

from fairlead_operator.errors import SettingsError
from fairlead_operator.settings import load_operator_settings, watching

FILE = """
images: {cuda: registry/engine:1}
runAsUser: 2000
resourceProfiles:
  nvidia-l4: {gpusPerNode: 4, limits: {memory: 32Gi}, nodeSelector: {node_pool: l4}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "operator.yaml"


def problem(file: Path | None) -> str:
    with pytest.raises(SettingsError) as raised:
        load_operator_settings(file)
    return str(raised.value)


def test_without_a_file_the_defaults_hold() -> None:
    settings = load_operator_settings(None)
    assert (settings.internal_token.name, settings.run_as_user) == ("fairlead-internal-token", 10001)
    assert settings.access.enabled
    assert not settings.monitoring.enabled


def test_a_file_is_written_in_camel_case_and_labels_stay_as_they_are(file: Path) -> None:
    file.write_text(FILE, encoding="utf-8")
    settings = load_operator_settings(file)
    profile = settings.resource_profiles["nvidia-l4"]
    assert (settings.images.cuda, settings.run_as_user, profile.gpus_per_node) == ("registry/engine:1", 2000, 4)
    assert profile.node_selector == {"node_pool": "l4"}


def test_the_environment_goes_before_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(FILE, encoding="utf-8")
    monkeypatch.setenv("FAIRLEAD_OPERATOR_RUN_AS_USER", "3000")
    monkeypatch.setenv("FAIRLEAD_OPERATOR_IMAGES", '{"cpu": "registry/engine:cpu"}')
    settings = load_operator_settings(file)
    assert (settings.run_as_user, settings.images.cpu) == (3000, "registry/engine:cpu")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("imagess: {}", "imagess: Extra inputs are not permitted"),
        ("images: {gpu: x}", "images.gpu: Extra inputs are not permitted"),
        ("runAsUser: 0", "runAsUser: Input should be greater than or equal to 1"),
        ("resourceProfiles: {a: {limits: {memory: 1.5Gi}}}", "resourceProfiles.a.limits.memory: String should match"),
        ("- images", "must hold a mapping of settings, not a list"),
        ("images: [", "is not YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_with_its_place(file: Path, text: str, sentence: str) -> None:
    file.write_text(text, encoding="utf-8")
    assert sentence in problem(file)
    assert str(file) in problem(file)


def test_a_file_that_is_not_there_is_said_to_be_missing(file: Path) -> None:
    assert problem(file) == f"{file} cannot be read: No such file or directory"


def test_a_variable_that_is_no_json_is_said_to_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_OPERATOR_IMAGES", "registry/engine")
    assert "groups are written as JSON there" in problem(None)


def test_the_namespaces_of_the_command_line_go_before_those_of_the_file(file: Path) -> None:
    file.write_text("namespaces: [a]", encoding="utf-8")
    settings = load_operator_settings(file)
    assert watching(settings, namespaces=(), all_namespaces=False).namespaces == ("a",)
    assert watching(settings, namespaces=("b", "c"), all_namespaces=False).namespaces == ("b", "c")
    everywhere = watching(settings, namespaces=(), all_namespaces=True)
    assert (everywhere.namespaces, everywhere.all_namespaces) == ((), True)
