"""Everything that the tiny chat model knows: questions with their answers, in English and Chinese.

The texts are YAML files beside this module; this module reads them and fills in their tables. It knows
nothing of tokens or training. A question is kept as patterns (see phrasing.py), an answer word for word.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TEXTS = Path(__file__).parent / "texts"
LANGUAGES = ("en", "zh")
# How the two programming languages are written in a question and in a code block.
CODE_LANGUAGES = {"python": "Python", "java": "Java"}


@dataclass(frozen=True)
class Topic:
    """One question in one language: `ask` holds patterns for it, `answer` what is always said.

    `polite`: whether the question may be wrapped in politeness ("please, ...", "..., thanks").
    `share`: how often it is practised, compared with other topics.
    """

    name: str
    language: str
    ask: tuple[str, ...]
    answer: str
    polite: bool = True
    share: int = 2


@dataclass(frozen=True)
class Again:
    """The request for the program just shown in the programming language `code`, asked in `language`."""

    language: str
    code: str
    ask: tuple[str, ...]
    answer_without_program: str


@dataclass(frozen=True)
class Unknown:
    """Questions in one language that the model must admit not to know.

    `templates` hold places such as `{noun}` that are filled from `words`; `whole` are complete questions.
    """

    language: str
    templates: tuple[str, ...]
    whole: tuple[str, ...]
    words: Mapping[str, tuple[str, ...]]
    answer: str


@dataclass(frozen=True)
class Corpus:
    """All of it. Programs are topics too, named `<program>.<python|java>`."""

    topics: tuple[Topic, ...]
    again: tuple[Again, ...]
    unknown: tuple[Unknown, ...]
    before: Mapping[str, tuple[str, ...]]
    after: Mapping[str, tuple[str, ...]]
    systems: tuple[str, ...]

    def topic(self, name: str, language: str) -> Topic:
        """The topic of that name; KeyError where there is none."""
        for topic in self.topics:
            if (topic.name, topic.language) == (name, language):
                return topic
        raise KeyError(f"{name} ({language})")


def load(texts: Path = TEXTS) -> Corpus:
    """Read the corpus from a directory laid out as `TEXTS`."""
    programs = _read(texts, "programs")
    manners = _read(texts, "manners")
    topics: list[Topic] = []
    for entry in _read(texts, "small_talk"):
        topics += _plain(entry, polite=False)
    for entry in [*_read(texts, "creative"), *_read(texts, "facts")]:
        topics += _table(entry) if "table" in entry else _plain(entry, polite=True)
    topics += _programs(programs)
    return Corpus(
        topics=tuple(topics),
        again=tuple(_again(programs)),
        unknown=tuple(_unknown(_read(texts, "unknown"))),
        before={language: tuple(manners["before"][language]) for language in LANGUAGES},
        after={language: tuple(manners["after"][language]) for language in LANGUAGES},
        systems=tuple(manners["system"]),
    )


def _read(texts: Path, name: str) -> Any:
    return yaml.safe_load((texts / f"{name}.yaml").read_text(encoding="utf-8"))


def _plain(entry: Mapping[str, Any], *, polite: bool) -> list[Topic]:
    return [
        Topic(
            entry["topic"],
            language,
            tuple(entry[language]["ask"]),
            entry[language]["answer"],
            polite,
            entry.get("share", 2 if polite else 3),
        )
        for language in LANGUAGES
    ]


def _table(entry: Mapping[str, Any]) -> list[Topic]:
    return [
        Topic(
            name=f"{entry['table']}.{row['name']}",
            language=language,
            ask=tuple(pattern.format(*row[language]) for pattern in entry[language]["ask"]),
            answer=entry[language]["answer"].format(*row[language], row[language][0]),
            share=row.get("share", 1),
        )
        for row in entry["rows"]
        for language in LANGUAGES
    ]


def _programs(texts: Mapping[str, Any]) -> list[Topic]:
    topics: list[Topic] = []
    for program in texts["programs"]:
        for language in LANGUAGES:
            name = _any(program[language]["names"])
            for fence, spoken in CODE_LANGUAGES.items():
                ask = [pattern.format(name=name, language=spoken) for pattern in texts["ask"][language]]
                if fence == "python":
                    ask += [pattern.format(name=name) for pattern in texts["ask_plain"][language]]
                answer = texts["answer"][language].format(
                    name=program[language]["said"], language=spoken, fence=fence, code=program[fence]
                )
                topics.append(Topic(f"{program['program']}.{fence}", language, tuple(ask), answer))
    return [*topics, *(_other_programs(texts, language) for language in LANGUAGES)]


def _other_programs(texts: Mapping[str, Any], language: str) -> Topic:
    """Known programs in unknown languages, unknown programs in any, and "the same" in unknown languages."""
    unknown = texts["others"]["languages"]
    known = [name for program in texts["programs"] for name in program[language]["names"]]
    others = texts["others"]["programs"][language]
    spoken = list(CODE_LANGUAGES.values())
    ask = [
        *(pattern.format(name=_any(known), language=_any(unknown)) for pattern in texts["ask"][language]),
        *(
            pattern.format(name=_any(others), language=_any(spoken * 8 + unknown))
            for pattern in texts["ask"][language] * 2
        ),
        *(pattern.format(name=_any(others)) for pattern in texts["ask_plain"][language]),
        *(pattern.format(language=_any(unknown)) for pattern in texts["ask_again"][language][:3]),
    ]
    return Topic("other_program", language, tuple(ask), texts["others"][language], share=8)


def _any(choices: Sequence[str]) -> str:
    return "[" + "|".join(choices) + "]"


def _again(texts: Mapping[str, Any]) -> list[Again]:
    return [
        Again(
            language=language,
            code=code,
            ask=tuple(pattern.format(language=spoken) for pattern in texts["ask_again"][language]),
            answer_without_program=texts["again_without_program"][language],
        )
        for language in LANGUAGES
        for code, spoken in CODE_LANGUAGES.items()
    ]


def _unknown(texts: Mapping[str, Any]) -> list[Unknown]:
    return [
        Unknown(
            language=language,
            templates=tuple(texts["templates"][language]),
            whole=tuple(texts["whole"][language]),
            words={kind: tuple(map(str, words)) for kind, words in texts["words"][language].items()},
            answer=texts["answer"][language],
        )
        for language in LANGUAGES
    ]
