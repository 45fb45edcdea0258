"""The command line: what it prints, and how it ends."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import fairlead_serve
from fairlead_serve.cli import app
from tests.processes import model_file

SAMPLES = Path(__file__).parents[2] / "configs" / "models"


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output


def test_the_version_is_the_packages() -> None:
    assert run("--version") == (0, fairlead_serve.__version__ + "\n")


@pytest.mark.parametrize("command", ["serve", "engine", "gateway", "models"])
def test_every_command_explains_itself(command: str) -> None:
    code, output = run(command, "--help")
    assert code == 0
    assert len(output.splitlines()) > 5


def test_all_samples_are_valid_together() -> None:
    code, output = run("models", "validate", *(str(path) for path in sorted(SAMPLES.glob("*.yaml"))))
    assert code == 0, output
    assert "qwen-coder: valid, served as MyCoder" in output


def test_a_wrong_file_is_exit_code_2_and_a_line_a_mistake(tmp_path: Path) -> None:
    path = model_file(tmp_path, "one", engine="maxNumSeq: 3", spec="replica: 1")
    code, output = run("models", "validate", str(path))
    assert code == 2
    assert "maxNumSeqs" in output
    assert "spec.replica" in output
    assert output.count("fairlead: ") == 2


def test_a_gateway_without_backends_says_where_to_list_them(tmp_path: Path) -> None:
    settings = tmp_path / "gateway.yaml"
    settings.write_text("port: 0\n")
    code, output = run("gateway", "--config", str(settings))
    assert code == 2
    assert "backends" in output


def test_a_wrong_key_of_the_settings_is_named(tmp_path: Path) -> None:
    settings = tmp_path / "gateway.yaml"
    settings.write_text("prot: 1\n")
    code, output = run("gateway", "--config", str(settings))
    assert code == 2
    assert "prot" in output
