"""What Ray Serve is told about a Model's engines. No Ray runs here."""

import traceback
from pathlib import Path

import pytest

from fairlead_serve.engine import replica
from fairlead_serve.engine.replica import BuildArguments, application, build, deployment_options, replicas
from fairlead_serve.errors import EngineStartError
from fairlead_serve.model import Model, load
from tests.processes import model_file

SAMPLES = Path(__file__).parents[3] / "configs" / "models"


def sample(name: str) -> Model:
    (model,) = load(SAMPLES / f"{name}.yaml")
    return model


def test_a_cpu_engine_asks_for_no_gpu() -> None:
    assert deployment_options(sample("tiny-chat"))["ray_actor_options"]["num_gpus"] == 0


@pytest.mark.parametrize(("name", "gpus"), [("qwen-coder-awq", 1), ("qwen3-coder-30b", 2)])
def test_a_standalone_engine_holds_all_its_gpus_in_one_actor(name: str, gpus: int) -> None:
    options = deployment_options(sample(name))
    assert options["ray_actor_options"]["num_gpus"] == gpus
    assert "placement_group_bundles" not in options


def test_a_kuberay_engine_asks_for_a_bundle_a_gpu() -> None:
    options = deployment_options(sample("llama-kuberay"))
    assert len(options["placement_group_bundles"]) == 16
    assert all(bundle["GPU"] == 1 for bundle in options["placement_group_bundles"])
    assert options["ray_actor_options"]["num_gpus"] == 0


def test_replicas_and_scaling_become_ray_serves(tmp_path: Path) -> None:
    (fixed,) = load(model_file(tmp_path, "fixed", spec="replicas: 3"))
    assert replicas(fixed) == {"num_replicas": 3}
    scaling = "scaling: {minReplicas: 0, maxReplicas: 4, targetOngoingRequests: 16, scaleDownDelaySeconds: 30}"
    (scaled,) = load(model_file(tmp_path, "scaled", spec=scaling))
    options = replicas(scaled)
    assert "num_replicas" not in options
    config = options["autoscaling_config"]
    assert (config.min_replicas, config.max_replicas, config.target_ongoing_requests) == (0, 4, 16)
    assert config.downscale_delay_s == 30


def test_bounds_drain_and_environment_come_from_the_model(tmp_path: Path) -> None:
    spec = "drainTimeoutSeconds: 7\nlimits: {maxOngoing: 10, maxQueued: 5}"
    (model,) = load(model_file(tmp_path, "one", engine="env: [{name: A, value: b}]", spec=spec))
    options = deployment_options(model)
    assert options["graceful_shutdown_timeout_s"] == 7
    assert options["max_ongoing_requests"] >= 15
    assert options["ray_actor_options"]["runtime_env"]["env_vars"] == {"A": "b"}


def test_the_application_carries_the_model_as_its_file_has_it(tmp_path: Path) -> None:
    model = sample("tiny-chat")
    bound = application(model, tmp_path, {})
    arguments = bound._bound_deployment.init_args
    assert Model.model_validate(arguments[0]) == model
    assert arguments[1:] == ({"weights": str(tmp_path), "adapters": {}},)


def test_an_application_of_a_configuration_leaves_the_number_of_engines_and_their_weights_to_others(
    tmp_path: Path,
) -> None:
    path = model_file(tmp_path, "one", spec="replicas: 3")
    bound = build(BuildArguments(model=path.read_text(encoding="utf-8")))._bound_deployment
    arguments = bound.init_args
    assert Model.model_validate(arguments[0]) == load(path)[0]
    assert arguments[1:] == (None,)
    said = bound._deployment_config.user_configured_option_names
    assert "max_ongoing_requests" in said
    assert not said & {"num_replicas", "autoscaling_config"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("kv_cache_memory_bytes", "kv_cash"), "UnknownArgument: args.model: spec.engine.args.kv_cash"),
        (("kind: Model", "kind: Modell"), "EngineStartFailed: args.model: kind"),
        (("{name: one}", "{name: one"), "EngineStartFailed: args.model: "),
    ],
)
def test_a_wrong_model_file_in_a_configuration_is_said_in_a_sentence(
    tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    text = model_file(tmp_path, "one").read_text(encoding="utf-8").replace(*change)
    with pytest.raises(EngineStartError) as raised:
        build(BuildArguments(model=text))
    assert str(raised.value).startswith(words)


def test_an_application_of_a_configuration_is_one_model(tmp_path: Path) -> None:
    text = model_file(tmp_path, "one").read_text(encoding="utf-8")
    other = model_file(tmp_path, "two").read_text(encoding="utf-8")
    with pytest.raises(EngineStartError, match="holds 2 Models"):
        build(BuildArguments(model=f"{text}\n---\n{other}"))


def test_a_wrong_model_file_in_a_configuration_is_said_without_the_secrets_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIRLEAD_INTERNAL_TOKEN", "internal_token")
    text = model_file(tmp_path, "one").read_text(encoding="utf-8").replace("kv_cache_memory_bytes", "internal_token")
    with pytest.raises(EngineStartError) as raised:
        build(BuildArguments(model=text))
    assert str(raised.value).startswith("UnknownArgument: args.model: spec.engine.args.***")
    assert "internal_token" not in str(raised.value)


def test_weights_that_an_engine_cannot_have_are_said_without_the_secrets_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("FAIRLEAD_CACHE_DIR", str(tmp_path))
    (model,) = load(model_file(tmp_path, "one", uri="file:///weights/hf_secret"))
    with pytest.raises(EngineStartError, match=r"^NotFound: .*/weights/\*\*\*") as raised:
        replica._fetch(model)
    assert "hf_secret" not in "".join(traceback.format_exception(raised.value))


def test_an_engine_that_does_not_start_says_why_without_the_secrets_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    error = replica._start_error(sample("tiny-chat"), ValueError("no plugin at /plugins/hf_secret"))
    assert str(error) == "the engine of tiny-chat did not start: no plugin at /plugins/***"
