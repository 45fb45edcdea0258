"""Other people's words in our sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_operator.words import counted, cut, last_line, quoted, with_words


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ('Get "https://me:s3cret@registry.corp/v2/": EOF', 'Get "https://registry.corp/v2/": EOF'),
        ("from https://token@host/a", "from https://host/a"),
        ("https://me:p@ss@host/a?b=c@d", "https://host/a"),
        ("token hf_abcdefghijklmnop is refused", "token *** is refused"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("https://cdn/blob?X-Amz-Signature=s3cret&b=1: 403", "https://cdn/blob 403"),
        ("hf://org/model@main is missing", "hf://org/model@main is missing"),
        ("\x1b[36m(engine pid=7)\x1b[0m ready\r", "(engine pid=7) ready"),
        ("two\n  lines", "two lines"),
    ],
)
def test_what_is_quoted_is_one_line_without_secrets(text: str, safe: str) -> None:
    assert quoted(text) == safe


@pytest.mark.parametrize(
    ("text", "line"), [("a\nb\n\n  \n", "b"), ("  a  ", "a"), ("", ""), ("\n\n", ""), ("x" * 300, "x" * 255 + "…")]
)
def test_the_last_line_that_says_something_is_taken(text: str, line: str) -> None:
    assert last_line(text) == line


def test_without_words_the_sentence_stands_alone() -> None:
    assert with_words("it failed", "because") == "it failed: because"
    assert with_words("it failed", " ") == "it failed"


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("as it is", 8, "as it is"),
        ("one two three four", 14, "one two three…"),
        ("one two three four", 12, "one two…"),
        ("a " + "b" * 20, 10, "a bbbbbbb…"),
    ],
)
def test_a_text_is_cut_at_a_word_where_there_is_one(text: str, most: int, short: str) -> None:
    assert cut(text, most) == short


@given(st.text(), st.integers(1, 50))
def test_no_text_is_longer_than_it_may_be(text: str, most: int) -> None:
    assert len(cut(text, most)) <= most


def test_one_is_singular() -> None:
    assert [counted(count, "engine") for count in (0, 1, 2)] == ["0 engines", "1 engine", "2 engines"]
