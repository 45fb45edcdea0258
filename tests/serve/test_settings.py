"""Settings: where they come from, and what is said of wrong ones."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead_serve.errors import ConfigurationError
from fairlead_serve.settings import (
    ClusterSettings,
    EngineSettings,
    GatewaySettings,
    SourceSettings,
    load_engine_settings,
    load_gateway_settings,
    with_cluster,
)

FILE = """
port: 9000
defaultModel: one
times: {requestSeconds: 100, probeSeconds: 3}
backends:
  - {name: one, endpoints: ["http://one"], maxOngoing: 3, coldStart: {maxQueued: 1}}
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str) -> Path:
        file = tmp_path / "gateway.yaml"
        file.write_text(text, encoding="utf-8")
        return file

    return write_file


def problem(file: Path | None) -> str:
    with pytest.raises(ConfigurationError) as raised:
        load_gateway_settings(file)
    return str(raised.value)


def test_without_a_file_the_defaults_hold() -> None:
    settings = load_gateway_settings(None)
    assert (settings.host, settings.port, settings.backends, settings.cors_origins) == ("127.0.0.1", 8000, (), ())
    assert settings.times.request_seconds == 600
    assert settings.sizes.body_bytes == 8 * 1024 * 1024


def test_a_file_is_written_in_camel_case(write: Write) -> None:
    settings = load_gateway_settings(write(FILE))
    assert (settings.port, settings.default_model, settings.times.request_seconds) == (9000, "one", 100)
    (backend,) = settings.backends
    assert (backend.max_ongoing, backend.max_queued, backend.cold_start.max_queued) == (3, 256, 1)


def test_a_file_may_be_written_in_snake_case_too(write: Write) -> None:
    assert load_gateway_settings(write("default_model: one\ntimes: {probe_seconds: 3}")).times.probe_seconds == 3


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_an_empty_file_says_nothing(write: Write, text: str) -> None:
    assert load_gateway_settings(write(text)) == load_gateway_settings(None)


def test_the_environment_goes_before_the_file_key_by_key(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_TIMES__REQUEST_SECONDS", "300")
    monkeypatch.setenv("FAIRLEAD_DEFAULT_MODEL", "two")
    monkeypatch.setenv("FAIRLEAD_CORS_ORIGINS", '["https://a.example"]')
    settings = load_gateway_settings(write(FILE))
    assert (settings.times.request_seconds, settings.times.probe_seconds) == (300, 3)
    assert (settings.port, settings.default_model) == (9000, "two")
    assert settings.cors_origins == ("https://a.example",)


def test_the_command_line_goes_before_everything(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_PORT", "1")
    assert load_gateway_settings(write(FILE), port=2, host="::1").port == 2


def test_the_internal_token_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_INTERNAL_TOKEN", "hunter2")
    settings = load_gateway_settings(None)
    assert settings.internal_token.get_secret_value() == "hunter2"
    assert "hunter2" not in f"{settings!r} {settings.model_dump_json()}"


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_gateway_settings(None).port = 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    {
        "an unknown key": ("portt: 1", "portt: Extra inputs are not permitted"),
        "an unknown nested key": ("times: {requestMinutes: 1}", "times.requestMinutes: Extra inputs are not permitted"),
        "a wrong type": ("port: many", "port: Input should be a valid integer"),
        "out of bounds": ("times: {requestSeconds: 0}", "times.requestSeconds: Input should be greater than 0"),
        "something missing": ("backends: [{name: one}]", "backends.0.endpoints: Field required"),
        "no endpoint": ("backends: [{name: one, endpoints: []}]", "backends.0.endpoints: Tuple should have at least 1"),
        "no mapping": ("- port", "must hold a mapping of settings, not a list"),
        "no YAML": ("port: [", "is not YAML"),
    }.values(),
)
def test_what_is_wrong_in_a_file_is_said_with_its_place(write: Write, text: str, sentence: str) -> None:
    file = write(text)
    assert sentence in problem(file)
    assert str(file) in problem(file)


def test_every_wrong_key_has_a_line(write: Write) -> None:
    assert len(problem(write("port: many\ntimes: {requestSeconds: 0, probeSeconds: x}")).splitlines()) == 3


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    assert problem(tmp_path / "none.yaml") == f"{tmp_path / 'none.yaml'} cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("FAIRLEAD_PORT", "many", "FAIRLEAD_PORT: port: Input should be a valid integer"),
        ("FAIRLEAD_TIMES__PROBE_SECONDS", "0", "FAIRLEAD_TIMES__PROBE_SECONDS: times.probeSeconds: Input should be"),
        ("FAIRLEAD_BACKENDS", '[{"name": "a"}]', "FAIRLEAD_BACKENDS: backends.0.endpoints: Field required"),
        ("FAIRLEAD_CORS_ORIGINS", "https://a.example", '"cors_origins"'),
    ],
)
def test_what_is_wrong_in_the_environment_is_not_blamed_on_the_file(
    write: Write, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, value)
    for file in (None, write(FILE)):
        assert sentence in problem(file)
        assert "gateway.yaml" not in problem(file)


def test_a_variable_that_is_no_setting_of_the_gateway_is_none_of_its_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_CACHE_DIR", "/x")
    assert load_gateway_settings(None) == GatewaySettings()
    assert EngineSettings().cache_dir == Path("/x")


def test_sources_have_the_names_that_their_tools_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror")
    monkeypatch.setenv("HF_TOKEN", "hunter2")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio")
    sources = SourceSettings()
    assert (sources.hf_endpoint, sources.aws_endpoint_url) == ("http://mirror", "http://minio")
    assert "hunter2" not in repr(sources)


def test_a_pod_says_its_engine_s_ports_and_files_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (load_engine_settings().metrics_port, load_engine_settings().status_port) == (0, None)
    monkeypatch.setenv("FAIRLEAD_METRICS_PORT", "8080")
    monkeypatch.setenv("FAIRLEAD_STATUS_PORT", "8090")
    monkeypatch.setenv("FAIRLEAD_ADAPTERS_FILE", "/etc/adapters.json")
    monkeypatch.setenv("FAIRLEAD_TERMINATION_LOG", "/dev/termination-log")
    settings = load_engine_settings()
    assert (settings.metrics_port, settings.status_port) == (8080, 8090)
    assert settings.adapters_file == Path("/etc/adapters.json")
    assert settings.termination_log == Path("/dev/termination-log")


@pytest.mark.parametrize("port", ["eighty", "0", "65536"])
def test_a_wrong_port_of_an_engine_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("FAIRLEAD_STATUS_PORT", port)
    with pytest.raises(ConfigurationError, match=r"^FAIRLEAD_STATUS_PORT: "):
        load_engine_settings()


def test_a_cluster_is_served_when_the_settings_or_the_command_line_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load_gateway_settings(None)
    assert with_cluster(plain, wanted=False) is plain
    assert with_cluster(plain, wanted=True).cluster == ClusterSettings()
    monkeypatch.setenv("FAIRLEAD_CLUSTER__ALL_NAMESPACES", "true")
    assert load_gateway_settings(None).cluster == ClusterSettings(all_namespaces=True)


def test_what_the_command_line_says_of_the_cluster_goes_before_the_file(write: Write) -> None:
    settings = load_gateway_settings(write("cluster: {namespaces: [one], kubeconfig: /file}"))
    cluster = with_cluster(settings, wanted=False, namespaces=("two",), all_namespaces=False, kubeconfig=None).cluster
    assert cluster == ClusterSettings(namespaces=("two",), kubeconfig=Path("/file"))


def test_namespaces_without_a_cluster_are_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="add --from-cluster"):
        with_cluster(load_gateway_settings(None), wanted=False, namespaces=("one",))
