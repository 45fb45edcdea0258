"""How one question is said in many ways."""

import random

import pytest

from fairlead_serve.tiny.phrasing import disguise, expand


def test_a_pattern_stands_for_each_of_its_choices() -> None:
    rng = random.Random(1)
    said = {expand("[Hello|Hi][ there|]", rng) for _ in range(100)}
    assert said == {"Hello there", "Hello", "Hi there", "Hi"}


def test_choices_may_be_nested() -> None:
    rng = random.Random(1)
    assert {expand("[a [b|c]|d]", rng) for _ in range(100)} == {"a b", "a c", "d"}


def test_a_bracket_that_is_not_closed_is_an_error() -> None:
    with pytest.raises(ValueError, match="not closed"):
        expand("[Hello|Hi", random.Random(1))


def test_the_same_seed_gives_the_same_disguises() -> None:
    def twenty() -> list[str]:
        rng = random.Random(3)
        return [disguise("What is the capital of France", "en", rng, before=("please ",)) for _ in range(20)]

    assert twenty() == twenty()
    assert len(set(twenty())) > 10


def test_a_disguise_never_makes_a_question_empty() -> None:
    rng = random.Random(5)
    assert all(disguise(phrase, "en", rng).strip() for phrase in ["?", "K", "..."] for _ in range(300))


def test_chinese_gets_spaces_around_latin_words_only_now_and_then() -> None:
    rng = random.Random(7)
    said = {disguise("用Java写冒泡排序", "zh", rng) for _ in range(300)}
    assert any("用 Java 写" in phrase for phrase in said)
    assert any("用Java写" in phrase for phrase in said)
