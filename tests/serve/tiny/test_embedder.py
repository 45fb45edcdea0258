"""The embedding model that was never trained."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from fairlead_serve.tiny import tokenizer
from fairlead_serve.tiny.corpus import load
from fairlead_serve.tiny.embedder import DIMENSIONS, build, save_pooling


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    return tokenizer.train(load())


def vector(pieces: Tokenizer, text: str) -> torch.Tensor:
    model = build(pieces.get_vocab_size())
    with torch.inference_mode():
        states = model(input_ids=torch.tensor([pieces.encode(text).ids])).last_hidden_state
    return torch.nn.functional.normalize(states.mean(1)[0], dim=0)


def test_texts_that_share_words_are_closer_than_others(pieces: Tokenizer) -> None:
    asked = vector(pieces, "What is the capital of France?")
    close = vector(pieces, "Please tell me the capital of France")
    far = vector(pieces, "Write a bubble sort in Python")
    assert asked.shape == (DIMENSIONS,)
    assert float(asked @ close) > 0.3 > float(asked @ far)


def test_the_same_text_has_the_same_vector_in_every_build(pieces: Tokenizer) -> None:
    assert torch.equal(vector(pieces, "你好"), vector(pieces, "你好"))


def test_vllm_is_told_to_average_and_normalise(tmp_path: Path) -> None:
    save_pooling(tmp_path)
    modules = json.loads((tmp_path / "modules.json").read_text(encoding="utf-8"))
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling", "Normalize"]
    pooling = json.loads((tmp_path / modules[1]["path"] / "config.json").read_text(encoding="utf-8"))
    assert pooling["pooling_mode_mean_tokens"] is True
