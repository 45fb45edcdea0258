"""Lessons as rows of tokens."""

import itertools
import random

import pytest
from tokenizers import Tokenizer

from fairlead_serve.tiny import tokenizer
from fairlead_serve.tiny.corpus import Corpus, load
from fairlead_serve.tiny.lessons import Teacher, Turn
from fairlead_serve.tiny.rows import IGNORED, Rows


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load()


@pytest.fixture(scope="module")
def pieces(corpus: Corpus) -> Tokenizer:
    return tokenizer.train(corpus)


@pytest.fixture
def rows(corpus: Corpus, pieces: Tokenizer) -> Rows:
    rng = random.Random(9)
    return Rows(Teacher(corpus, rng), pieces, 4096, rng)


def test_only_what_the_assistant_says_is_learnt(rows: Rows, pieces: Tokenizer) -> None:
    row = rows.whole((Turn("Hi", "Hello!"),))
    assert pieces.decode(row.ids, skip_special_tokens=False) == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>\n"
    )
    learnt = [label for label in row.labels if label != IGNORED]
    assert pieces.decode(learnt, skip_special_tokens=False) == "Hello!<|im_end|>"


def test_what_is_learnt_is_what_stands_there(rows: Rows) -> None:
    for _ in range(50):
        row = rows.row(128, 0.3)
        assert len(row.ids) == len(row.labels) == len(row.positions) == 128
        assert all(label in (IGNORED, token) for token, label in zip(row.ids, row.labels, strict=True))


def test_positions_rise_and_stay_within_the_context(rows: Rows) -> None:
    drawn = [rows.row(128, 0.3).positions for _ in range(200)]
    for positions in drawn:
        assert all(later > earlier for earlier, later in itertools.pairwise(positions))
        assert positions[-1] < 4096
    assert any(positions[-1] > 300 for positions in drawn)


def test_a_recital_holds_whole_answers_only(rows: Rows, corpus: Corpus, pieces: Tokenizer) -> None:
    answers = {topic.answer for topic in corpus.topics}
    for _ in range(20):
        row = rows.recital(512)
        assert len(row.ids) == 512
        learnt = pieces.decode([label for label in row.labels if label != IGNORED], skip_special_tokens=False)
        assert {answer for answer in learnt.split("<|im_end|>") if answer} <= answers


def test_every_answer_fits_into_a_recital(rows: Rows, corpus: Corpus) -> None:
    for topic in corpus.topics:
        assert len(rows.whole((Turn("?" * 40, topic.answer),)).ids) <= 512, topic.name


def test_an_answer_that_does_not_fit_is_an_error(rows: Rows) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        [rows.recital(40) for _ in range(200)]
