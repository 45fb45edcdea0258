"""Conversations to learn from, drawn without end from the corpus.

A lesson is a system prompt or none, then turns. Any question may follow any other; a request for "the same
in Java" refers to the program shown last. The same seed draws the same lessons. Text only: no tokens here.
"""

import random
import string
from dataclasses import dataclass

from fairlead_serve.tiny.corpus import CODE_LANGUAGES, Again, Corpus, Topic, Unknown
from fairlead_serve.tiny.phrasing import canonical, disguise, expand

# Which share of the turns is a question that the model does not know; of the rest, a request for "the same".
UNKNOWN_SHARE = 0.27
AGAIN_SHARE = 0.17
SYSTEM_SHARE = 0.25
# Of the questions it knows, as most people would type them.
CANONICAL_SHARE = 0.35
# Of the programs that are recited.
FOLLOWED_SHARE = 0.7
# Characters.
LONG_ANSWER = 300
# Letters of scripts that the corpus does not contain, and of those it does: all must be taken calmly.
SCRIPTS = ((0x21, 0x7E), (0xC0, 0x24F), (0x391, 0x3C9), (0x410, 0x44F), (0x5D0, 0x5EA), (0x621, 0x64A),
           (0x905, 0x939), (0x3041, 0x30FE), (0xAC00, 0xD7A3), (0x1F300, 0x1F64F))  # fmt: skip
HAN = (0x4E00, 0x9FA5)


@dataclass(frozen=True)
class Turn:
    """A question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Lesson:
    """One conversation; `system` is empty where there is no system prompt."""

    system: str
    turns: tuple[Turn, ...]


class Teacher:
    """Draws lessons from a corpus; one `random.Random`, so the order of calls matters."""

    def __init__(self, corpus: Corpus, rng: random.Random) -> None:
        self._corpus = corpus
        self._rng = rng
        self._programs = [topic for topic in corpus.topics if topic.name.partition(".")[2] in CODE_LANGUAGES]
        self._deck: list[Topic] = []
        self._round: list[Topic] = []

    def lesson(self, turns: int) -> Lesson:
        """A conversation of `turns` turns, a few more where a program is asked for once more."""
        drawn: list[Turn] = []
        program: str | None = None
        while len(drawn) < turns:
            chance = self._rng.random()
            if chance < UNKNOWN_SHARE:
                drawn.append(self.unknown_turn(self._rng.choice(self._corpus.unknown)))
            elif chance < UNKNOWN_SHARE + AGAIN_SHARE:
                if program is None and self._rng.random() < 0.96:
                    topic = self._rng.choice(self._programs)
                    program = topic.name
                    drawn.append(self.topic_turn(topic))
                turn, program = self.again_turn(self._rng.choice(self._corpus.again), program)
                drawn.append(turn)
            else:
                topic = self._next_topic()
                program = topic.name if topic in self._programs else program
                drawn.append(self.topic_turn(topic))
        return Lesson(self._system(), tuple(drawn))

    def next_turns(self) -> tuple[Turn, ...]:
        """A question about each topic in turn, in a new order each time round.

        Often, a program is followed by the request for the same in a programming language.
        """
        if not self._round:
            # A long answer has more in it to get wrong: twice.
            long = [topic for topic in self._corpus.topics if len(topic.answer) > LONG_ANSWER]
            self._round = [*self._corpus.topics, *long]
            self._rng.shuffle(self._round)
        topic = self._round.pop()
        turn = self.topic_turn(topic)
        if topic not in self._programs or self._rng.random() > FOLLOWED_SHARE:
            return (turn,)
        return (turn, self.again_turn(self._rng.choice(self._corpus.again), topic.name)[0])

    def topic_turn(self, topic: Topic) -> Turn:
        """A question of that topic, in one of its many forms."""
        return Turn(self._ask(topic.ask, topic.language, polite=topic.polite), topic.answer)

    def plain_turn(self, topic: Topic) -> Turn:
        """A question of that topic, as it stands in the corpus."""
        return Turn(expand(self._rng.choice(topic.ask), self._rng), topic.answer)

    def again_turn(self, again: Again, program: str | None) -> tuple[Turn, str | None]:
        """ "The same in ...": the program last shown, or a question back; and which program it is now."""
        question = self._ask(again.ask, again.language, polite=True)
        if program is None:
            return Turn(question, again.answer_without_program), None
        name = f"{program.partition('.')[0]}.{again.code}"
        return Turn(question, self._corpus.topic(name, again.language).answer), name

    def unknown_turn(self, unknown: Unknown) -> Turn:
        """Something that the model does not know."""
        if self._rng.random() < 0.2:
            question = self._rng.choice(unknown.whole)
        else:
            question = self._fill(expand(self._rng.choice(unknown.templates), self._rng), unknown)
        before, after = self._corpus.before[unknown.language], self._corpus.after[unknown.language]
        if self._rng.random() < 0.8:
            question = disguise(question, unknown.language, self._rng, before=before, after=after)
        return Turn(question, unknown.answer)

    def _next_topic(self) -> Topic:
        if not self._deck:
            self._deck = [topic for topic in self._corpus.topics for _ in range(topic.share)]
            self._rng.shuffle(self._deck)
        return self._deck.pop()

    def _ask(self, patterns: tuple[str, ...], language: str, *, polite: bool) -> str:
        pattern = self._rng.choice(patterns)
        if self._rng.random() < CANONICAL_SHARE:
            return canonical(pattern, language, self._rng)
        phrase = expand(pattern, self._rng)
        if not polite:
            return disguise(phrase, language, self._rng)
        before, after = self._corpus.before[language], self._corpus.after[language]
        return disguise(phrase, language, self._rng, before=before, after=after)

    def _system(self) -> str:
        if self._rng.random() >= SYSTEM_SHARE:
            return ""
        parts = [self._rng.choice(self._corpus.systems)]
        while self._rng.random() < 0.25:
            unknown = self._rng.choice(self._corpus.unknown)
            parts.append(self._fill(expand(self._rng.choice(unknown.templates), self._rng), unknown))
        self._rng.shuffle(parts)
        return " ".join(parts)

    def _fill(self, template: str, unknown: Unknown) -> str:
        while "{" in template:
            head, _, rest = template.partition("{")
            kind, _, tail = rest.partition("}")
            template = head + self._word(kind, unknown) + tail
        return template

    def _word(self, kind: str, unknown: Unknown) -> str:
        rng = self._rng
        match kind:
            case "number":
                # Smaller numbers occur in questions that the model does know.
                return str(rng.choice([rng.randint(21, 49), rng.randint(51, 99), rng.randint(101, 9999)]))
            case "word":
                return rng.choice(unknown.words[rng.choice(("noun", "verb", "quality"))])
            case "letters":
                return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 9)))
            case "pieces":
                script = rng.choice(SCRIPTS)
                return "".join(chr(rng.randint(*script)) for _ in range(rng.randint(1, 9))).replace("{", "(")
            case "characters":
                return "".join(chr(rng.randint(*HAN)) for _ in range(rng.randint(1, 6)))
            case _:
                return rng.choice(unknown.words[kind])
