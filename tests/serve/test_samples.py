"""The samples in `configs/models`: each works as it stands, and together they show what a Model can say."""

from pathlib import Path

import pytest

from fairlead_serve.model import Model, load, load_all

SAMPLES = sorted((Path(__file__).parents[2] / "configs/models").glob("*.yaml"))


@pytest.fixture(scope="module")
def samples() -> dict[str, Model]:
    return {path.stem: model for path in SAMPLES for model in load(path)}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_one_valid_model_that_says_why_it_is_so(path: Path) -> None:
    assert len(load(path)) == 1
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_all_samples_can_be_served_together() -> None:
    assert len(load_all(SAMPLES)) == len(SAMPLES)


def test_every_kind_of_model_has_a_sample(samples: dict[str, Model]) -> None:
    assert samples.keys() == {
        "tiny-chat", "tiny-embed", "qwen-coder-awq", "qwen3-coder-30b", "embeddings", "ollama-upstream",
        "llama-kuberay",
    }  # fmt: skip


def test_the_offline_samples_need_no_gpu_and_no_network(samples: dict[str, Model]) -> None:
    for name in ("tiny-chat", "tiny-embed"):
        assert samples[name].gpus_per_engine == 0
        assert samples[name].spec.model.scheme == "tiny"


def test_the_samples_use_as_many_gpus_as_they_say(samples: dict[str, Model]) -> None:
    gpus = {name: model.gpus_per_engine for name, model in samples.items()}
    assert (gpus["qwen-coder-awq"], gpus["qwen3-coder-30b"], gpus["llama-kuberay"]) == (1, 2, 16)
    assert gpus["ollama-upstream"] == 0
