"""Lessons as rows of tokens, ready for a batch.

A row is one conversation, cut at a fixed length; only what the assistant says is learnt. Most answers are
cut short: an answer is soon known by heart, while telling questions apart takes many questions.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tokenizers import Tokenizer

from fairlead_serve.tiny.lessons import Lesson, Teacher, Turn
from fairlead_serve.tiny.tokenizer import END, PAD, START

# What torch's cross entropy leaves out.
IGNORED = -100
# In this share of the rows the positions jump between turns, so that older turns seem far away: a long
# conversation is then nothing new, though the rows are short.
JUMPY_SHARE = 0.4
JUMP_SHARE = 0.3
LONGEST_JUMP = 600
# An answer is cut after so many tokens, at least and at most.
CUT = (3, 8)


@dataclass(frozen=True)
class Row:
    """Three lists of one length: token ids, the ids to learn (or `IGNORED`), and positions."""

    ids: list[int]
    labels: list[int]
    positions: list[int]


def _id(tokenizer: Tokenizer, special: str) -> int:
    number: int | None = tokenizer.token_to_id(special)
    if number is None:
        raise ValueError(f"the tokenizer has no token {special}")
    return number


class Rows:
    """Draws rows; as deterministic as its teacher and `rng`. `context` bounds the positions, in tokens."""

    def __init__(self, teacher: Teacher, tokenizer: Tokenizer, context: int, rng: random.Random) -> None:
        self._teacher = teacher
        self._tokenizer = tokenizer
        self._context = context
        self._rng = rng
        self._start = _id(tokenizer, START)
        self._end = _id(tokenizer, END)
        self._newline = tokenizer.encode("\n").ids
        self._roles = {role: tokenizer.encode(f"{role}\n").ids for role in ("system", "user", "assistant")}
        self._padding = _id(tokenizer, PAD)
        self._answers: dict[str, list[int]] = {}
        self._waiting: tuple[Turn, ...] = ()

    def row(self, length: int, whole_share: float) -> Row:
        """A conversation of exactly `length` tokens, in which `whole_share` of the answers are whole."""
        ids: list[int] = []
        labels: list[int] = []
        positions: list[int] = []
        jumpy = self._rng.random() < JUMPY_SHARE
        position = 0
        while len(ids) < length:
            for message, learnt in self._messages(self._teacher.lesson(2 + length // 24), whole_share):
                ids += message
                labels += learnt
                positions += range(position, position + len(message))
                position += len(message)
                if len(ids) >= length:
                    break
                if jumpy and self._rng.random() < JUMP_SHARE and position < self._context - 2 * LONGEST_JUMP:
                    position += int(LONGEST_JUMP ** self._rng.random())
        return Row(ids[:length], labels[:length], positions[:length])

    def recital(self, length: int) -> Row:
        """A conversation of whole answers that fits into `length` tokens, then padding.

        Every answer of the corpus comes once before any comes again.
        """
        ids: list[int] = []
        labels: list[int] = []
        while True:
            turns = self._waiting or self._teacher.next_turns()
            row = self.whole(turns)
            self._waiting = turns
            if len(ids) + len(row.ids) > length:
                break
            self._waiting = ()
            ids += row.ids
            labels += row.labels
        if not ids:
            raise ValueError(f"the answer {turns[0].answer[:40]!r} does not fit into a row of {length} tokens")
        padding = length - len(ids)
        return Row(ids + [self._padding] * padding, labels + [IGNORED] * padding, list(range(length)))

    def whole(self, turns: tuple[Turn, ...]) -> Row:
        """A conversation of just these turns, with whole answers."""
        ids: list[int] = []
        labels: list[int] = []
        for message, learnt in self._messages(Lesson("", turns), 1.0):
            ids += message
            labels += learnt
        return Row(ids, labels, list(range(len(ids))))

    def _messages(self, lesson: Lesson, whole_share: float) -> Iterator[tuple[list[int], list[int]]]:
        if lesson.system:
            ids = self._said("system", self._tokenizer.encode(lesson.system).ids)
            yield ids, [IGNORED] * len(ids)
        for turn in lesson.turns:
            asked = self._said("user", self._tokenizer.encode(turn.question).ids)
            asked += [self._start, *self._roles["assistant"]]
            answer = self._answer(turn.answer)
            cut = self._rng.randint(*CUT)
            if cut >= len(answer) or self._rng.random() < whole_share:
                learnt, rest = answer, self._newline
            else:
                learnt, rest = answer[:cut], [self._end, *self._newline]
            yield asked + learnt + rest, [IGNORED] * len(asked) + learnt + [IGNORED] * len(rest)

    def _said(self, role: str, content: list[int]) -> list[int]:
        return [self._start, *self._roles[role], *content, self._end, *self._newline]

    def _answer(self, text: str) -> list[int]:
        if text not in self._answers:
            self._answers[text] = [*self._tokenizer.encode(text).ids, self._end]
        return self._answers[text]
