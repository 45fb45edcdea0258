"""How Models become backends of the gateway, and what is refused before anything starts."""

import io
from pathlib import Path
from typing import Any

import pytest

from fairlead_serve.app import (
    backend_of,
    cluster_source,
    drain_seconds,
    has_engines,
    local_settings,
    log_file,
    run_gateway,
    secret_variable,
)
from fairlead_serve.errors import ConfigurationError
from fairlead_serve.model import Model, load
from fairlead_serve.settings import BackendSettings, ClusterSettings, GatewaySettings, load_gateway_settings
from fairlead_serve.stopping import Stopping
from tests.processes import model_file

SAMPLES = Path(__file__).parents[2] / "configs" / "models"


def made(directory: Path, name: str, spec: str) -> Model:
    (model,) = load(model_file(directory, name, spec=spec))
    return model


def test_a_model_with_engines_is_reached_below_their_address_under_all_its_names() -> None:
    (model,) = load(SAMPLES / "qwen3-coder-30b.yaml")
    backend = backend_of(model, "http://127.0.0.1:8100", {})
    assert backend.kind == "engine"
    assert backend.endpoints == ("http://127.0.0.1:8100/engines/qwen3-coder",)
    assert (backend.name, backend.aliases) == ("qwen3-coder", ("coder",))


def test_an_upstream_is_reached_at_its_own_address_under_its_own_name_of_the_model() -> None:
    (model,) = load(SAMPLES / "ollama-upstream.yaml")
    backend = backend_of(model, "", {})
    assert backend.kind == "upstream"
    # The gateway's paths begin with /v1 themselves.
    assert backend.endpoints == ("http://ollama:11434",)
    assert (backend.name, backend.upstream_model) == ("qwen2.5", "qwen2.5:7b")
    assert not has_engines(model)


def test_limits_times_and_cold_start_come_from_the_model(tmp_path: Path) -> None:
    spec = (
        "limits: {maxOngoing: 32, maxQueued: 3, requestTimeoutSeconds: 5}\n"
        "scaling: {minReplicas: 0, maxReplicas: 2, coldStart: {maxQueued: 4, timeoutSeconds: 6}}"
    )
    backend = backend_of(made(tmp_path, "one", spec), "http://e", {})
    assert (backend.max_ongoing, backend.max_queued, backend.request_seconds) == (32, 3, 5)
    assert (backend.cold_start.max_queued, backend.cold_start.timeout_seconds) == (4, 6)


def test_the_gateway_drains_as_long_as_the_most_patient_model(tmp_path: Path) -> None:
    models = [made(tmp_path, "one", "drainTimeoutSeconds: 7"), made(tmp_path, "two", "drainTimeoutSeconds: 9")]
    assert drain_seconds(models) == 9
    local = local_settings(load_gateway_settings(None), models, token="t", engines_url="http://e")
    assert local.times.drain_seconds == 9
    assert local.internal_token.get_secret_value() == "t"
    assert [backend.name for backend in local.backends] == ["one", "two"]


def test_a_suspended_model_has_no_engine_and_no_backend(tmp_path: Path) -> None:
    model = made(tmp_path, "one", "suspend: true")
    assert not has_engines(model)
    assert local_settings(load_gateway_settings(None), [model], token="t", engines_url="http://e").backends == ()


@pytest.mark.parametrize(("secret", "variable"), [("my-key", "MY_KEY"), ("openai.com", "OPENAI_COM")])
def test_a_secret_is_an_environment_variable_where_there_is_no_cluster(secret: str, variable: str) -> None:
    assert secret_variable(secret) == variable


def test_the_log_is_for_its_owner_alone() -> None:
    path = log_file()
    assert path.stat().st_mode & 0o077 == 0
    path.unlink()


def test_adapters_can_be_asked_for_under_their_names(tmp_path: Path) -> None:
    model = made(tmp_path, "one", "lora: {adapters: [{name: sql, uri: hf://org/sql}]}")
    (adapter,) = backend_of(model, "http://e", {}).adapters
    assert (adapter.name, adapter.uri) == ("sql", "hf://org/sql")


# --- a gateway in a cluster -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "--from-cluster"),
        (
            {"cluster": ClusterSettings(), "backends": (BackendSettings(name="m", endpoints=("http://m",)),)},
            "exclude each other",
        ),
        ({"cluster": ClusterSettings(all_namespaces=True, namespaces=("one",))}, "--all-namespaces exclude"),
        ({"cluster": ClusterSettings()}, "give --kubeconfig"),
    ],
)
def test_a_gateway_that_cannot_know_its_models_does_not_start(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        run_gateway(
            GatewaySettings().model_copy(update=settings),
            access_log=io.BytesIO(),
            stopping=Stopping(),
            on_started=lambda _: None,
        )


def test_a_kubeconfig_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=str(tmp_path / "missing")):
        cluster_source(ClusterSettings(kubeconfig=tmp_path / "missing"))
