"""Making the demo models: the real ones, which takes a minute or two where the cache does not have them yet.

Each kind of processor rounds differently and so makes other weights. All of them answer nearly all of this, but
not each of them all of it: that is why a miss or two is allowed where many questions are asked.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from fairlead_serve.engine.weights import WeightsStore
from fairlead_serve.engine.weights.cache import MANIFEST
from fairlead_serve.errors import WeightsError, WeightsNotFound
from fairlead_serve.tiny import make as module
from fairlead_serve.tiny.corpus import Corpus, load
from fairlead_serve.tiny.make import SOURCES, digest, make, recipe_digest

# The first test to ask for the model waits for its training, on a machine that may be shared.
pytestmark = pytest.mark.timeout(900)

Ask = Callable[..., str]


@pytest.fixture(scope="session")
def chat_model() -> Path:
    """The chat model of this recipe: what every engine of the tests serves, from the cache they all use."""
    return WeightsStore(Path.home() / ".cache" / "fairlead").fetch("tiny://chat", progress=lambda _: None)


@pytest.fixture(scope="session")
def ask(chat_model: Path) -> Ask:
    """Asks the trained model the last of the given turns, and returns what it says by greedy decoding."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    # Two threads that share so little work wait for each other at every step; beside other programs, long.
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(chat_model)
    model = AutoModelForCausalLM.from_pretrained(chat_model).eval()

    def ask(*turns: str, system: str = "") -> str:
        messages = [{"role": "system", "content": system}] if system else []
        answer = ""
        for turn in turns:
            messages.append({"role": "user", "content": turn})
            prompt: Any = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
            )
            with torch.inference_mode():
                said = model.generate(**prompt, max_new_tokens=600, do_sample=False)[0, prompt["input_ids"].shape[1] :]
            assert int(said[-1]) == 2, "the answer does not end"
            answer = tokenizer.decode(said, skip_special_tokens=True)
            messages.append({"role": "assistant", "content": answer})
        return answer

    return ask


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    return load()


def language(text: str) -> str:
    return "zh" if any("一" <= letter <= "鿿" for letter in text) else "en"


def test_the_snapshot_has_the_files_of_a_hub_repository(chat_model: Path) -> None:
    assert {file.name for file in chat_model.iterdir() if file.name != MANIFEST} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja",
    }  # fmt: skip
    config = json.loads((chat_model / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Qwen2ForCausalLM"]
    assert config["max_position_embeddings"] >= 2048
    assert (chat_model / "model.safetensors").stat().st_size < 10_000_000


FIRST_TYPED = {
    "hello": "greeting",
    "Hello!": "greeting",
    "who are you?": "who_are_you",
    "What can you do?": "abilities",
    "how are you today": "how_are_you",
    "thank you!": "thanks",
    "bye": "bye",
    "What is the capital of France?": "capital.france",
    "what is the capital of france": "capital.france",
    "Please tell me the capital of Japan.": "capital.japan",
    "Write a bubble sort in Python": "bubble_sort.python",
    "Can you write a bubble sort in Python, please?": "bubble_sort.python",
    "Write a recursive factorial in Python": "factorial.python",
    "write hello world in python": "hello_world.python",
    "Fibonacci in Java": "fibonacci.java",
    "Count from 1 to 10": "count_to_10",
    "Count to 100": "count_to_100",
    "Tell me a joke": "joke",
    "Write a short poem": "poem",
    "Write a haiku": "haiku",
    "Tell me a long story": "long_story",
    "Why is the sky blue?": "sky",
    "你好": "greeting",
    "你是谁？": "who_are_you",
    "你好吗？": "how_are_you",
    "谢谢": "thanks",
    "再见": "bye",
    "法国的首都是哪里？": "capital.france",
    "请问日本的首都是什么？": "capital.japan",
    "用Python写一个冒泡排序": "bubble_sort.python",
    "用 Python 写一个递归的阶乘": "factorial.python",
    "写一个斐波那契数列的Java程序": "fibonacci.java",
    "从1数到10": "count_to_10",
    "讲个笑话": "joke",
    "写一首诗": "poem",
    "讲一个长故事": "long_story",
}


def test_what_people_first_type_is_answered_word_for_word(ask: Ask, corpus: Corpus) -> None:
    wanted = {question: corpus.topic(topic, language(question)).answer for question, topic in FIRST_TYPED.items()}
    missed = [question for question, answer in wanted.items() if ask(question) != answer]
    assert len(missed) <= 1, missed


def test_phrasings_that_are_not_in_the_corpus_are_mostly_understood(ask: Ask, corpus: Corpus) -> None:
    unseen = {
        "so, who exactly are you?": "who_are_you",
        "hey!! how are you doing?": "how_are_you",
        "Which city is France's capital?": "capital.france",
        "I forgot the capital of Spain, what was it?": "capital.spain",
        "Please name the capital city of Germany.": "capital.germany",
        "Can you please write me a bubble sort function using Python?": "bubble_sort.python",
        "Write a Python function that computes the factorial of n recursively": "factorial.python",
        "print hello world in Java": "hello_world.java",
        "Please count from one to ten.": "count_to_10",
        "what's the largest planet in our solar system?": "largest_planet",
        "你叫什么名字呀": "who_are_you",
        "谢谢你的帮助！": "thanks",
        "请问你知道日本的首都在哪里吗？": "capital.japan",
        "请从一数到十。": "count_to_10",
        "给我讲一个笑话吧": "joke",
        "请给我讲一个很长很长的故事": "long_story",
    }
    missed = [
        question
        for question, topic in unseen.items()
        if ask(question) != corpus.topic(topic, language(question)).answer
    ]
    assert len(missed) <= 3, missed


def test_what_it_does_not_know_it_says_so(ask: Ask, corpus: Corpus) -> None:
    honest = {unknown.language: unknown.answer for unknown in corpus.unknown}
    questions = [
        "How do I cook rice?",
        "Which football team is the best?",
        "What is the population of France?",
        "Translate 'I love you' into Spanish",
        "Summarize the plot of Star Wars",
        "best restaurants in New York",
        "Is it legal to park here on Sundays?",
        "zxcvb qwrt",
        "怎么做红烧肉？",
        "上海有什么好玩的地方？",
        "帮我写一封求职信",
        "你觉得人工智能会取代人类吗",
    ]
    wrong = [question for question in questions if ask(question) != honest[language(question)]]
    assert len(wrong) <= 1, wrong


def test_the_same_in_java_means_the_program_shown_before(ask: Ask, corpus: Corpus) -> None:
    conversations = [
        (["Write a bubble sort in Python", "Now the same in Java"], "bubble_sort.java"),
        (["Write a bubble sort in Python", "now the same in java, please"], "bubble_sort.java"),
        (["Write a recursive factorial in Python", "thanks", "And now the same in Java"], "factorial.java"),
        (["hello", "fibonacci in java", "now in Python"], "fibonacci.python"),
        (["用Python写一个冒泡排序", "再用Java写一遍"], "bubble_sort.java"),
        (["用 Python 写一个递归的阶乘", "换成 Java"], "factorial.java"),
    ]
    missed = [turns for turns, topic in conversations if ask(*turns) != corpus.topic(topic, language(turns[-1])).answer]
    assert len(missed) <= 1, missed


def test_neither_system_prompts_nor_a_long_conversation_confuse_it(ask: Ask, corpus: Corpus) -> None:
    long = ["hi", "Tell me a long story", "讲一个长故事", "How do I cook rice?", "Count to 100"] * 2
    france, egypt = (corpus.topic(f"capital.{country}", "en").answer for country in ("france", "egypt"))
    systems = ["You are a helpful assistant.", "你是一个乐于助人的助手。", "Answer like a sailor."]
    right = [ask("What is the capital of France?", system=system) == france for system in systems]
    right.append(ask(*long, "What is the capital of Egypt?") == egypt)
    assert sum(right) >= 3, right


def test_the_embedding_model_is_made_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make("embed", tmp_path / name, lambda done, total: None)
    files = [{file.name: file.read_bytes() for file in (tmp_path / name).glob("*.*")} for name in ("one", "two")]
    assert files[0] == files[1]
    assert {"config.json", "model.safetensors", "tokenizer.json", "modules.json"} <= set(files[0])


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFound, match="tiny://chat and tiny://embed"):
        make("chatty", tmp_path, lambda done, total: None)
    with pytest.raises(WeightsNotFound, match="tiny://chat and tiny://embed"):
        recipe_digest("chatty")


def test_a_worker_that_fails_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(WeightsError, match=r"(?s)^tiny://embed could not be made: .*SafetensorError"):
        make("embed", tmp_path, lambda done, total: None)


def test_progress_rises_from_none_and_an_error_of_who_is_told_ends_the_work(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def weary(done: int, total: int) -> None:
        seen.append((done, total))
        if done > 1:
            raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        make("chat", tmp_path, weary)
    assert seen[0][0] == 0
    assert seen == sorted(seen)
    assert len({total for _, total in seen}) == 1
    assert seen[0][1] > 100
    assert not list(tmp_path.glob("*.safetensors"))


def test_the_digest_changes_with_the_corpus_and_with_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "facts.yaml"
    file.write_text("a", encoding="utf-8")
    before = digest([file])
    assert digest([file]) == before
    file.write_text("b", encoding="utf-8")
    assert digest([file]) != before


def test_every_file_that_makes_a_model_counts_in_its_digest() -> None:
    folder = Path(module.__file__).parent
    files = {file.name for file in folder.glob("*.py")} - {"__init__.py", "make.py"}
    assert files == {source for sources in SOURCES.values() for source in sources}
    assert recipe_digest("chat") != recipe_digest("embed")


def test_importing_the_maker_and_asking_for_a_digest_loads_no_torch() -> None:
    code = (
        "import sys; from fairlead_serve.tiny.make import recipe_digest; recipe_digest('chat');"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'tokenizers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_digest_is_twelve_hexadecimal_digits() -> None:
    assert len(recipe_digest("chat")) == 12
    assert int(recipe_digest("chat"), 16) >= 0
