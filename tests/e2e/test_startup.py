"""What can be wrong before anything serves: a clear sentence, a non-zero exit, no traceback, nothing left behind."""

import re
import socket
from pathlib import Path

import pytest

from tests.processes import Command, left_behind, model_file

LOADING = re.compile("Loading the engine")

BROKEN = """
apiVersion: fairlead.dev/v1alpha1
kind: Model
metadata: {name: broken}
spec:
  model: {uri: tiny://chat}
  engine: {device: cpu, maxModelLength: 2048, args: {max_num_batched_token: 2048}}
"""


def run(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
    with Command(*arguments, environment=environment) as command:
        code = command.wait(200)
    assert "Traceback" not in command.output
    return code, command.output


def test_a_taken_port_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = run("serve", "-f", str(model_file(tmp_path, "one")), "--port", str(port))
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in output
    assert "--port" in output
    assert "Loading" not in output


def test_every_mistake_of_a_model_file_is_told_with_its_place_and_the_nearest_name(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(BROKEN, encoding="utf-8")
    for command in (("serve", "-f"), ("engine", "--model"), ("models", "validate")):
        code, output = run(*command, str(path))
        assert code == 2
        assert "spec.engine.maxModelLength" in output
        assert "maxModelLen" in output
        assert "max_num_batched_tokens" in output


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, output = run("serve", "-f", str(tmp_path / "missing.yaml"))
    assert code == 2
    assert "missing.yaml" in output


def test_missing_weights_are_named(tmp_path: Path) -> None:
    path = model_file(tmp_path, "lost", uri=f"file://{tmp_path}/nothing")
    code, output = run("serve", "-f", str(path), "--port", "0")
    assert code == 1
    assert f"{tmp_path}/nothing" in output


def test_an_open_address_without_keys_is_refused(tmp_path: Path) -> None:
    code, output = run("serve", "-f", str(model_file(tmp_path, "one")), "--host", "0.0.0.0", "--port", "0")
    assert code == 2
    assert "--allow-anonymous" in output


def test_a_secret_that_only_a_cluster_has_is_asked_for_by_its_variable(tmp_path: Path) -> None:
    path = model_file(tmp_path, "gated", uri="hf://owner/name")
    text = path.read_text().replace("'hf://owner/name'", "'hf://owner/name', accessSecretRef: {name: hf, key: token}")
    path.write_text(text)
    code, output = run("serve", "-f", str(path), "--port", "0", environment={"HF_TOKEN": ""})
    assert code == 2
    assert "HF_TOKEN" in output


@pytest.mark.engine
def test_too_little_memory_is_said_in_a_sentence_and_leaves_no_process(tmp_path: Path) -> None:
    path = model_file(tmp_path, "hungry", engine="maxModelLen: 2048")
    path.write_text(path.read_text().replace("kv_cache_memory_bytes: 268435456", "kv_cache_memory_bytes: 1024"))
    with Command("serve", "-f", str(path), "--port", "0") as command:
        command.wait_for(LOADING)
        family = command.family()
        code = command.wait(200)
    assert code == 1
    assert "Traceback" not in command.output
    assert "memory" in command.output
    assert "hungry" in command.output
    assert not left_behind(family)
