"""The command line: what it prints, and how it ends."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import fairlead_serve
from fairlead_serve.cli import app
from fairlead_serve.keys import KeyFile, digest_of
from fairlead_serve.settings import GatewaySettings
from tests.processes import model_file

SAMPLES = Path(__file__).parents[2] / "configs" / "models"


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output


def test_the_version_is_the_packages() -> None:
    assert run("--version") == (0, fairlead_serve.__version__ + "\n")


@pytest.mark.parametrize("command", ["serve", "engine", "gateway", "models", "key", "chat"])
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


def test_a_new_key_is_all_there_is_on_standard_output(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    limits = ["--requests-per-minute", "60", "--tokens-per-minute", "1000", "--concurrent-requests", "4"]
    globs = ["--model", "qwen-*", "--model", "tiny"]
    result = CliRunner().invoke(app, ["key", "create", "laptop", "--file", str(file), *globs, *limits])
    assert result.exit_code == 0
    (key,) = KeyFile(file).load()
    assert key.digest == digest_of(result.stdout.removesuffix("\n").encode())
    assert result.stdout.strip() not in result.stderr
    assert str(file) in result.stderr
    assert (key.name, key.models) == ("laptop", ("qwen-*", "tiny"))
    assert (key.requests_per_minute, key.tokens_per_minute, key.concurrent_requests) == (60, 1000, 4)


def test_keys_are_listed_without_their_hashes(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.yaml")
    first, _ = file.create("a")
    second, secret = file.create("longer-name", models=["m-*", "n"], requests_per_minute=60)
    code, output = run("key", "list", "--file", str(tmp_path / "keys.yaml"))
    assert code == 0
    header, *rows = [line.split() for line in output.splitlines()]
    assert header == ["NAME", "PREFIX", "CREATED", "MODELS", "REQUESTS/MIN", "TOKENS/MIN", "CONCURRENT", "ID"]
    created = f"{first.created:%Y-%m-%d}"
    assert rows == [
        ["a", first.prefix, created, "*", "-", "-", "-", first.id],
        ["longer-name", second.prefix, created, "m-*,n", "60", "-", "-", second.id],
    ]
    assert len({line.index(key.id) for line, key in zip(output.splitlines()[1:], (first, second), strict=True)}) == 1
    assert second.hash.removeprefix("sha256:") not in output
    assert secret not in output


def test_a_revoked_key_is_gone_from_the_file(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.yaml")
    key, _ = file.create("laptop")
    code, output = run("key", "revoke", "laptop", "--file", str(tmp_path / "keys.yaml"))
    assert (code, key.id in output) == (0, True)
    assert file.load() == ()
    code, output = run("key", "revoke", "laptop", "--file", str(tmp_path / "keys.yaml"))
    assert (code, output.startswith("fairlead: ")) == (2, True)


def test_the_file_of_keys_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("key", "list")[0] == 2
    KeyFile(tmp_path / "keys.yaml").create("laptop")
    monkeypatch.setenv("FAIRLEAD_KEY_FILE", str(tmp_path / "keys.yaml"))
    code, output = run("key", "list")
    assert (code, "laptop" in output) == (0, True)


@pytest.mark.parametrize("option", ["--requests-per-minute", "--tokens-per-minute", "--concurrent-requests"])
def test_a_limit_of_nothing_is_refused(tmp_path: Path, option: str) -> None:
    file = tmp_path / "keys.yaml"
    code, _ = run("key", "create", "laptop", "--file", str(file), option, "0")
    assert (code, file.exists()) == (2, False)


@pytest.mark.parametrize("command", ["serve", "gateway"])
@pytest.mark.parametrize("given", [True, False])
def test_the_command_line_s_file_of_keys_goes_before_the_environment_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, given: bool
) -> None:
    started: list[GatewaySettings] = []

    def start(*arguments: Any, **_: Any) -> None:
        started.extend(one for one in arguments if isinstance(one, GatewaySettings))

    monkeypatch.setattr("fairlead_serve.app.run_local", start)
    monkeypatch.setattr("fairlead_serve.app.run_gateway", start)
    monkeypatch.setattr("fairlead_serve.logs.configure_logging", lambda stream: None)
    monkeypatch.setenv("FAIRLEAD_KEY_FILE", "/environment.yaml")
    words = ["-f", str(model_file(tmp_path, "one"))] if command == "serve" else []
    code, output = run(command, *words, *(["--key-file", "/given.yaml"] if given else []))
    assert code == 0, output
    assert [one.key_file for one in started] == [Path("/given.yaml" if given else "/environment.yaml")]


@pytest.mark.parametrize(
    ("change", "code", "verdict"),
    [
        (("tiny://chat", "file:///nowhere/at/all"), 1, "NotFound: file:///nowhere/at/all"),
        (("kv_cache_memory_bytes", "kv_cash"), 2, "UnknownArgument: "),
        (("kind: Model", "kind: Modell"), 2, "EngineStartFailed: "),
    ],
)
def test_what_an_engine_dies_of_is_left_for_the_kubelet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], code: int, verdict: str
) -> None:
    file, left = model_file(tmp_path, "one"), tmp_path / "termination-log"
    file.write_text(file.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    monkeypatch.setenv("FAIRLEAD_TERMINATION_LOG", str(left))
    assert run("engine", "--model", str(file))[0] == code
    assert left.read_text(encoding="utf-8").startswith(verdict)


def test_an_engine_that_never_started_leaves_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairlead_serve.engine.cluster._TEMP_PARENT", tmp_path)
    assert run("engine", "--model", str(model_file(tmp_path, "one", uri="file:///nowhere/at/all")))[0] == 1
    assert not list(tmp_path.glob("fairlead-*"))


def test_a_status_port_for_several_engines_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_STATUS_PORT", "8090")
    one, two = model_file(tmp_path, "one"), model_file(tmp_path, "two")
    for files in ((one, two), (model_file(tmp_path, "three", spec="replicas: 2"),)):
        code, output = run("engine", *(word for file in files for word in ("--model", str(file))))
        assert code == 2
        assert "FAIRLEAD_STATUS_PORT" in output


def test_the_command_line_says_whose_models_of_a_cluster_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[GatewaySettings] = []
    monkeypatch.setattr("fairlead_serve.app.run_gateway", lambda settings, **_: started.append(settings))
    monkeypatch.setattr("fairlead_serve.logs.configure_logging", lambda stream: None)
    words = ["--from-cluster", "--namespace", "one", "--namespace", "two", "--kubeconfig", "/file"]
    code, output = run("gateway", *words)
    assert code == 0, output
    assert started[0].cluster is not None
    assert (started[0].cluster.namespaces, started[0].cluster.kubeconfig) == (("one", "two"), Path("/file"))
    code, output = run("gateway", "--namespace", "one")
    assert (code, "--from-cluster" in output) == (2, True)
