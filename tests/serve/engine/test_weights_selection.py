"""Which files of a repository are fetched, and which names are refused."""

import pytest

from fairlead_serve.engine.weights.listing import check_path
from fairlead_serve.engine.weights.selection import has_weights, needed
from fairlead_serve.errors import WeightsError

CASES = {
    "safetensors push out the same weights in other forms": (
        ["config.json", "model.safetensors", "pytorch_model.bin", "model.pt", "model.gguf"],
        ["config.json", "model.safetensors"],
    ),
    "shards and their index stay together": (
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
    ),
    "bin stays where there is nothing better": (
        ["config.json", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "rust_model.ot"],
        ["config.json", "pytorch_model.bin"],
    ),
    "what is better in one directory says nothing of another": (
        ["model.safetensors", "2_Dense/pytorch_model.bin", "2_Dense/config.json"],
        ["model.safetensors", "2_Dense/pytorch_model.bin", "2_Dense/config.json"],
    ),
    "a repository of GGUF is taken as it is": (
        ["parrot-q4.gguf", "parrot-q8.gguf", "README.md"],
        ["parrot-q4.gguf", "parrot-q8.gguf"],
    ),
    "other frameworks' directories are left": (
        ["model.safetensors", "onnx/model.onnx", "original/consolidated.00.pth", "original/params.json"],
        ["model.safetensors"],
    ),
    "Mistral's own form is kept": (
        ["params.json", "consolidated.safetensors", "tekken.json"],
        ["params.json", "consolidated.safetensors", "tekken.json"],
    ),
    "hidden files, pictures and leftovers of training are left": (
        [".gitattributes", ".cache/x.json", "a.png", "training_args.bin", "optimizer.pt", "adapter_model.safetensors"],
        ["adapter_model.safetensors"],
    ),
    "tokenizers, templates, code and licences come along": (
        ["tokenizer.model", "chat_template.jinja", "modeling_parrot.py", "LICENSE", "vocab.txt", "m.safetensors"],
        ["tokenizer.model", "chat_template.jinja", "modeling_parrot.py", "LICENSE", "vocab.txt", "m.safetensors"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("names", "kept"), CASES.values(), ids=CASES.keys())
def test_an_engine_gets_what_it_needs(names: list[str], kept: list[str]) -> None:
    assert needed(names) == kept


@pytest.mark.parametrize("name", ["a.safetensors", "x/a.bin", "a.gguf", "a.pt"])
def test_weights_are_known_by_their_ending(name: str) -> None:
    assert has_weights(["config.json", name])
    assert not has_weights(["config.json"])


@pytest.mark.parametrize(
    "name", ["", "/a", "../a", "a/../b", "a//b", "./a", "a/", "a\\b", "C:\\a", "a\nb", "a\0b", ".."]
)
def test_a_path_that_is_not_plain_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match="not a plain relative path"):
        check_path(name)


def test_a_plain_path_passes() -> None:
    assert check_path("1_Pooling/config (v2).json") == "1_Pooling/config (v2).json"
