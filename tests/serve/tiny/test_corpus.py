"""What the demo model knows."""

import random
from pathlib import Path

import pytest
import yaml

from fairlead_serve.tiny.corpus import LANGUAGES, TEXTS, Corpus, load
from fairlead_serve.tiny.phrasing import expand


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load()


def is_chinese(text: str) -> bool:
    return any("一" <= letter <= "鿿" for letter in text)


def test_every_topic_has_an_answer_and_several_phrasings_in_both_languages(corpus: Corpus) -> None:
    names = {topic.name for topic in corpus.topics}
    rng = random.Random(1)
    for name in names:
        for language in LANGUAGES:
            topic = corpus.topic(name, language)
            assert topic.answer.strip() == topic.answer != ""
            assert len({expand(rng.choice(topic.ask), rng) for _ in range(60)}) > 1, (name, language)


def test_no_topic_is_there_twice(corpus: Corpus) -> None:
    names = [(topic.name, topic.language) for topic in corpus.topics]
    assert len(names) == len(set(names))


def test_chinese_questions_get_chinese_answers_and_english_ones_english(corpus: Corpus) -> None:
    language_free = {"alphabet", "count_to_10", "count_to_20"}
    for topic in corpus.topics:
        if topic.name in language_free or topic.name.startswith("sum."):
            continue
        assert is_chinese(topic.answer) == (topic.language == "zh"), topic.name


@pytest.mark.parametrize(
    "name",
    [
        "greeting", "who_are_you", "how_are_you", "thanks", "bye", "capital.france", "bubble_sort.python",
        "bubble_sort.java", "factorial.python", "factorial.java", "fibonacci.python", "hello_world.python",
        "count_to_10", "joke", "poem", "long_story",
    ],
)  # fmt: skip
def test_what_people_first_type_is_known(corpus: Corpus, name: str) -> None:
    assert {topic.language for topic in corpus.topics if topic.name == name} == set(LANGUAGES)


def test_no_question_has_two_answers(corpus: Corpus) -> None:
    rng = random.Random(2)
    answers: dict[str, str] = {}
    for topic in corpus.topics:
        for _ in range(80):
            question = expand(rng.choice(topic.ask), rng).casefold().rstrip("?.!？。！")
            assert answers.setdefault(question, topic.answer) == topic.answer, question


def test_the_python_programs_run() -> None:
    texts = yaml.safe_load((TEXTS / "programs.yaml").read_text(encoding="utf-8"))
    space: dict[str, object] = {"print": lambda *_: None}
    for program in texts["programs"]:
        exec(program["python"], space)
    assert eval("bubble_sort([3, 1, 2]), quick_sort([3, 1, 2])", space) == ([1, 2, 3], [1, 2, 3])
    assert eval("factorial(5), fibonacci(10), reverse('abc')", space) == (120, 55, "cba")
    assert eval("[n for n in range(20) if is_prime(n)]", space) == [2, 3, 5, 7, 11, 13, 17, 19]
    assert eval("binary_search([1, 4, 9], 9), binary_search([1, 4, 9], 5)", space) == (2, -1)


def test_a_place_in_a_template_has_its_words(corpus: Corpus) -> None:
    made = {"number", "word", "letters", "pieces", "characters"}
    for unknown in corpus.unknown:
        for template in unknown.templates:
            places = {part.partition("}")[0] for part in template.split("{")[1:]}
            assert places <= made | set(unknown.words), template


def test_another_directory_of_texts_is_another_corpus(tmp_path: Path) -> None:
    for file in TEXTS.glob("*.yaml"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "small_talk.yaml").write_text(
        "- topic: ahoy\n  en: {ask: [Ahoy], answer: Aye}\n  zh: {ask: [喂], answer: 在}\n", encoding="utf-8"
    )
    assert load(tmp_path).topic("ahoy", "en").answer == "Aye"
