"""Conversations to learn from."""

import random

import pytest

from fairlead_serve.tiny.corpus import Corpus, load
from fairlead_serve.tiny.lessons import Teacher


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load()


def test_the_same_seed_gives_the_same_lessons(corpus: Corpus) -> None:
    first, second = (Teacher(corpus, random.Random(4)) for _ in range(2))
    assert [first.lesson(4) for _ in range(50)] == [second.lesson(4) for _ in range(50)]


def test_every_turn_has_a_question_and_an_answer_of_the_corpus(corpus: Corpus) -> None:
    answers = {topic.answer for topic in corpus.topics}
    answers |= {again.answer_without_program for again in corpus.again}
    answers |= {unknown.answer for unknown in corpus.unknown}
    teacher = Teacher(corpus, random.Random(5))
    for _ in range(300):
        lesson = teacher.lesson(4)
        assert len(lesson.turns) >= 4
        assert all(turn.question and turn.answer in answers for turn in lesson.turns)


def test_the_same_in_java_means_the_program_shown_last(corpus: Corpus) -> None:
    teacher = Teacher(corpus, random.Random(6))
    java = next(again for again in corpus.again if (again.language, again.code) == ("en", "java"))
    turn, program = teacher.again_turn(java, "factorial.python")
    assert turn.answer == corpus.topic("factorial.java", "en").answer
    assert program == "factorial.java"


def test_the_same_in_java_with_no_program_before_is_asked_back(corpus: Corpus) -> None:
    teacher = Teacher(corpus, random.Random(6))
    turn, program = teacher.again_turn(corpus.again[0], None)
    assert turn.answer == corpus.again[0].answer_without_program
    assert program is None


def test_an_unknown_question_has_no_place_left_to_fill(corpus: Corpus) -> None:
    teacher = Teacher(corpus, random.Random(7))
    known = {unknown.language: set() for unknown in corpus.unknown}  # type: dict[str, set[str]]
    for unknown in corpus.unknown:
        for _ in range(500):
            turn = teacher.unknown_turn(unknown)
            assert turn.answer == unknown.answer
            known[unknown.language].add(turn.question)
    assert all(len(questions) > 450 for questions in known.values())


def test_each_topic_comes_once_before_any_comes_again(corpus: Corpus) -> None:
    teacher = Teacher(corpus, random.Random(8))
    short = [topic for topic in corpus.topics if len(topic.answer) <= 300]
    long = [topic for topic in corpus.topics if len(topic.answer) > 300]
    answers = [teacher.next_turns()[0].answer for _ in range(len(short) + 2 * len(long))]
    assert set(answers) == {topic.answer for topic in corpus.topics}
