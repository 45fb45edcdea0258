"""What of a Model reaches the chart, and what of it the engine reads."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead_operator.errors import SpecError
from fairlead_operator.settings import Images, OperatorSettings
from fairlead_operator.values import adapters, chart_values, engine_file, gpus_per_pod, times
from fairlead_serve.engine.arguments import engine_arguments
from fairlead_serve.model import Model, load_all, parse
from tests.operator import samples

IMAGES = Images(cuda="registry/engine:cuda", cpu="registry/engine:cpu")
SETTINGS = OperatorSettings.model_validate(
    {"images": IMAGES, "resourceProfiles": {"nvidia-l4": {"gpusPerNode": 4}, "nvidia-h100": {}}}
)
WEIGHTS = Path("/weights")


def model(**spec: Any) -> Model:
    return parse(samples.model(**spec), source="test")


def read(file: str, directory: Path) -> Model:
    """The one Model of a file, as `fairlead engine` reads it."""
    path = directory / "model.yaml"
    path.write_text(file, encoding="utf-8")
    (found,) = load_all([path])
    return found


WITH_ENGINES = {name: document for name, document in samples.files().items() if "upstream" not in document["spec"]}


@pytest.mark.parametrize("document", WITH_ENGINES.values(), ids=WITH_ENGINES.keys())
def test_an_engine_computes_as_its_model_says(document: dict[str, Any], tmp_path: Path) -> None:
    written = parse(document, source="test")
    found = read(engine_file(written), tmp_path)
    assert engine_arguments(found, WEIGHTS) == engine_arguments(written, WEIGHTS)
    assert found.served_names == written.served_names


def test_a_pod_runs_one_engine_whatever_the_model_has(tmp_path: Path) -> None:
    for size in ({"replicas": 3}, {"scaling": {"minReplicas": 0, "maxReplicas": 4}}, {"suspend": True}):
        found = read(engine_file(model(**size)), tmp_path)
        assert (found.min_replicas, found.max_replicas) == (1, 1)


def test_an_engine_knows_nothing_of_other_models_and_of_secrets(tmp_path: Path) -> None:
    source = {"uri": "hf://a/b", "accessSecretRef": {"name": "hf", "key": "token"}}
    variable = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    found = read(engine_file(model(model=source, fallback=["other"], engine={"env": [variable]})), tmp_path)
    assert found.spec.model.access_secret_ref is None
    assert (found.spec.fallback, found.engine.env) == ((), ())


def test_no_bound_of_an_engine_is_narrower_than_the_gateways(tmp_path: Path) -> None:
    widest = {"maxOngoing": 100_000, "maxQueued": 100_000}
    limits = model(limits=widest).spec.limits
    assert read(engine_file(model(limits={"maxOngoing": 16})), tmp_path).spec.limits == limits


def test_a_claim_is_a_directory_for_the_engine(tmp_path: Path) -> None:
    lora = {"adapters": [{"name": "sql", "uri": "pvc://adapters/sql"}]}
    written = model(model={"uri": "pvc://weights/llama/8b"}, lora=lora)
    found = read(engine_file(written), tmp_path)
    assert found.spec.model.uri == "file:///var/lib/fairlead/claims/weights/llama/8b"
    assert adapters(written) == [{"name": "sql", "uri": "file:///var/lib/fairlead/claims/adapters/sql"}]
    assert chart_values(written, SETTINGS)["claims"] == ["adapters", "weights"]


def test_adapters_of_a_standalone_engine_are_not_in_its_file(tmp_path: Path) -> None:
    lora = {"maxRank": 64, "adapters": [{"name": "sql", "uri": "hf://org/lora"}]}
    standalone, kuberay = model(lora=lora), model(lora=lora, cluster="KubeRay")
    found = read(engine_file(standalone), tmp_path).spec.lora
    assert found is not None
    assert (found.max_rank, found.adapters) == (64, ())
    assert engine_file(standalone) == engine_file(model(lora={"maxRank": 64}))
    loaded = parse(yaml.safe_load(engine_file(kuberay)), source="test").spec.lora
    assert loaded is not None
    assert [adapter.name for adapter in loaded.adapters] == ["sql"]
    assert adapters(kuberay) == []


def test_lora_without_adapters_is_still_lora(tmp_path: Path) -> None:
    assert read(engine_file(model(lora={})), tmp_path).spec.lora is not None


@pytest.mark.parametrize("value", [1e-7, 1e22, 1.0, 2**60 + 1, "yes", "1e3", "0x1f", "12:30", "null", "é"], ids=repr)
def test_a_value_reaches_the_engine_as_it_was_written(value: object, tmp_path: Path) -> None:
    args = {"override_generation_config": {"value": value}}
    found = read(engine_file(model(engine={"args": args})), tmp_path)
    assert repr(found.engine.args) == repr(args)


def test_the_order_of_keys_and_defaults_spelled_out_change_nothing() -> None:
    one = model(engine={"maxNumSeqs": 8, "args": {"seed": 1, "block_size": 16}})
    other = model(engine={"args": {"block_size": 16, "seed": 1}, "dtype": "auto", "maxNumSeqs": 8}, lora=None)
    assert engine_file(one) == engine_file(other)


def test_an_upstream_has_nothing_to_render() -> None:
    assert chart_values(parse(samples.upstream(), source="test"), SETTINGS) == {"cluster": ""}


@pytest.mark.parametrize(
    ("spec", "image"),
    [
        ({}, "registry/engine:cuda"),
        ({"engine": {"device": "cpu"}}, "registry/engine:cpu"),
        ({"engine": {"image": "mine:1"}}, "mine:1"),
    ],
)
def test_an_image_is_the_models_or_that_of_its_device(spec: dict[str, Any], image: str) -> None:
    assert chart_values(model(**spec), SETTINGS)["image"] == image


@pytest.mark.parametrize(
    ("spec", "settings", "reason", "sentence"),
    [
        (
            {"resourceProfile": "nvidia-l40"},
            SETTINGS,
            "UnknownResourceProfile",
            "spec.resourceProfile: there is no profile nvidia-l40 in the operator's settings (there: nvidia-h100, nvi",
        ),
        (
            {"resourceProfile": "nvidia-l4", "parallelism": {"tensor": 8}},
            SETTINGS,
            "TooManyGPUs",
            "spec.parallelism.tensor: a machine of nvidia-l4 has 4 GPUs; more need cluster: KubeRay",
        ),
        (
            {},
            OperatorSettings(),
            "UnknownImage",
            "spec.engine.image: missing, and the operator's settings have none for device cuda; name one",
        ),
    ],
)
def test_what_the_installation_does_not_have_is_said(
    spec: dict[str, Any], settings: OperatorSettings, reason: str, sentence: str
) -> None:
    with pytest.raises(SpecError) as raised:
        chart_values(model(**spec), settings)
    assert raised.value.reason == reason
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("spec", "profile", "gpus"),
    [
        ({"engine": {"device": "cpu"}}, "", 0),
        ({"parallelism": {"tensor": 4}}, "", 4),
        ({"parallelism": {"tensor": 8, "pipeline": 2}, "cluster": "KubeRay"}, "", 8),
        ({"parallelism": {"tensor": 32}, "cluster": "KubeRay"}, "", 16),
        ({"parallelism": {"tensor": 6}, "cluster": "KubeRay"}, "nvidia-l4", 3),
        ({"parallelism": {"tensor": 8}, "cluster": "KubeRay", "resources": {"limits": {"nvidia.com/gpu": "2"}}}, "", 2),
    ],
)
def test_a_pod_has_the_gpus_of_a_machine_at_most(spec: dict[str, Any], profile: str, gpus: int) -> None:
    found = gpus_per_pod(model(**spec), SETTINGS.resource_profiles.get(profile))
    assert found == gpus


def test_resources_that_name_a_part_of_a_gpu_get_no_whole_one() -> None:
    limits = {"nvidia.com/mig-3g.20gb": "1"}
    assert chart_values(model(resources={"limits": limits}), SETTINGS)["resources"]["limits"] == limits


@pytest.mark.parametrize(("quantity", "product"), [("4", "12"), ("500m", "1500m"), ("64Gi", "192Gi"), ("0", "0")])
def test_quantities_are_multiplied(quantity: str, product: str) -> None:
    assert times(quantity, 3) == product


def test_what_is_no_quantity_is_not_multiplied() -> None:
    with pytest.raises(ValueError, match="does not begin with a number"):
        times("Gi", 2)


def test_the_same_model_gives_the_same_values() -> None:
    for document in samples.files().values():
        first, second = (chart_values(parse(document, source="test"), SETTINGS) for _ in range(2))
        assert first == second
