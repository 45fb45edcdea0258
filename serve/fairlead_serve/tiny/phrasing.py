"""How one question is said in many ways.

A pattern such as `"[Hello|Hi] there[|!]"` stands for all its choices; choices may be nested. `disguise`
then does to a phrase what people do: politeness, no capitals, no question mark, a slip of the finger.
Pure functions of their arguments and the given `random.Random`; no I/O.
"""

import random
import re
from collections.abc import Sequence

CHOICE = re.compile(r"\[([^\[\]]*)\]")
LATIN_RUN = re.compile(r"(?<=[一-鿿])(?=[A-Za-z0-9])|(?<=[A-Za-z0-9])(?=[一-鿿])")
FILLERS = {
    "en": ("just", "actually", "really", "exactly", "maybe", "then", "kindly", "simply", "quickly", "also", "still"),
    "zh": ("就", "到底", "其实", "啊", "呢", "一下", "真的", "现在", "还", "嘛", "帮我", "快", "能", "要"),
}
ENDINGS = {
    "en": ("?", "?", ".", "!", "", "", "", "", "??", "...", " ?", "!!", "!"),
    "zh": ("？", "？", "。", "！", "", "", "", "", "?", "…", "！！", "~", "！"),
}
PLAIN_ENDINGS = {"en": ("?", "?", "", "", ".", "!"), "zh": ("？", "？", "", "", "。", "！")}


def expand(pattern: str, rng: random.Random) -> str:
    """One of the phrases that `pattern` stands for."""
    while "[" in pattern:
        chosen = CHOICE.sub(lambda match: rng.choice(match[1].split("|")), pattern)
        if chosen == pattern:
            raise ValueError(f"a bracket is not closed in the phrase {pattern!r}")
        pattern = chosen
    return " ".join(pattern.split())


def canonical(pattern: str, language: str, rng: random.Random) -> str:
    """What most people would type: the first of all choices, with little or no punctuation, capitals or none."""
    while "[" in pattern:
        pattern = CHOICE.sub(lambda match: match[1].split("|")[0], pattern)
    phrase = " ".join(pattern.split())
    if phrase[-1].isalnum():
        phrase += rng.choice(PLAIN_ENDINGS[language])
    return phrase if rng.random() < 0.6 else phrase.lower()


def disguise(
    phrase: str, language: str, rng: random.Random, *, before: Sequence[str] = (), after: Sequence[str] = ()
) -> str:
    """The same question, in other clothes; `before` and `after` are the polite words that may surround it."""
    phrase = phrase.rstrip(".?!。？！") or phrase
    if rng.random() < 0.08:
        phrase = _filled(phrase, language, rng)
    if after and rng.random() < 0.15:
        phrase += rng.choice(after)
    if before and rng.random() < 0.25:
        phrase = rng.choice(before) + (_uncapitalised(phrase) if rng.random() < 0.6 else phrase)
    if phrase[-1].isalnum():
        phrase += rng.choice(ENDINGS[language])
    if language == "zh" and rng.random() < 0.4:
        phrase = LATIN_RUN.sub(" ", phrase)
    if rng.random() < 0.05:
        phrase = _slipped(phrase, rng)
    return _cased(phrase, rng)


def _filled(phrase: str, language: str, rng: random.Random) -> str:
    """With a word in it that means nothing."""
    joint = " " if language == "en" else ""
    words = phrase.split(" ") if language == "en" else list(phrase)
    words.insert(rng.randint(0, len(words)), rng.choice(FILLERS[language]))
    return joint.join(words)


def _uncapitalised(phrase: str) -> str:
    first = phrase.split(" ", 1)[0]
    return phrase if first == "I" or not first.istitle() else phrase[0].lower() + phrase[1:]


def _cased(phrase: str, rng: random.Random) -> str:
    drawn = rng.random()
    if drawn < 0.3:
        return phrase.lower()
    if drawn < 0.32:
        return phrase.upper()
    if drawn < 0.34:
        return phrase.title()
    if drawn < 0.7:
        return phrase[0].upper() + phrase[1:]
    return phrase


def _slipped(phrase: str, rng: random.Random) -> str:
    """One character doubled, dropped or swapped with the next."""
    at = rng.randrange(len(phrase))
    kind = rng.randrange(3)
    if kind == 0:
        return phrase[:at] + phrase[at] + phrase[at:]
    if kind == 1:
        return phrase[:at] + phrase[at + 1 :] or phrase
    return phrase[:at] + phrase[at : at + 2][::-1] + phrase[at + 2 :]
