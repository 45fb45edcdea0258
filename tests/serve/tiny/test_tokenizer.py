"""The tokenizer of the demo models."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from fairlead_serve.tiny import tokenizer
from fairlead_serve.tiny.corpus import load


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    return tokenizer.train(load())


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of France?",
        "你好，世界！",
        "naïve Ω мир こんにちは",
        "🚀👩‍🚀🙂",
        "def f(x):\n\treturn  x\r\n",
        " ",
        "\x00\ufffd",
    ],
)
def test_any_text_comes_back_whole(pieces: Tokenizer, text: str) -> None:
    assert pieces.decode(pieces.encode(text).ids) == text


def test_a_chinese_character_is_never_merged_with_its_neighbours(pieces: Tokenizer) -> None:
    assert len(pieces.encode("法国的首都是哪里").ids) == 8


def test_transformers_cuts_every_text_as_in_training(pieces: Tokenizer, tmp_path: Path) -> None:
    corpus = load()
    tokenizer.save(pieces, tmp_path, 4096)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}', encoding="utf-8")
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    texts = [topic.answer for topic in corpus.topics] + [text for one in corpus.unknown for text in one.whole]
    for text in [*texts, "用Python写，count to 100!", "🚀 naïve\r\n  x ", "，。？！请问"]:
        assert loaded(text)["input_ids"] == pieces.encode(text).ids, text


def test_the_chat_template_writes_what_is_trained(pieces: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(pieces, tmp_path, 4096)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}', encoding="utf-8")
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ]
    assert loaded.apply_chat_template(messages, add_generation_prompt=True, tokenize=False) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_same_corpus_gives_the_same_tokenizer(pieces: Tokenizer) -> None:
    assert tokenizer.train(load()).to_str() == pieces.to_str()


def test_the_marks_of_a_turn_are_one_token_each(pieces: Tokenizer) -> None:
    assert pieces.encode("<|im_start|>").ids == [1]
    assert pieces.encode("<|im_end|>").ids == [2]
