"""Other people's words in our sentences: short, on one line, and without what may be secret."""

import re

LONGEST_QUOTE = 512
"""Characters of what is quoted of the kubelet, of a registry or of a container runtime."""
LONGEST_LINE = 256
"""Characters of an engine's last line."""

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
# A user name and a password before the host, and what signs a URL after its path.
_CREDENTIALS = re.compile(r"(?<=://)[^/\s\"'?]*@")
_SIGNATURE = re.compile(r"(?<=://)([^\s\"'?]+)\?[^\s\"']+")
# Tokens that are known by their form: Hugging Face's, OpenAI's, AWS's, and what follows Bearer.
_TOKENS = re.compile(r"\b(?:hf_|sk-|AKIA|ASIA)[A-Za-z0-9_-]{8,}|(?<=Bearer )\S+")


def quoted(text: str, most: int = LONGEST_QUOTE) -> str:
    """`text` as it may be shown: at most `most` characters of one line, without credentials and terminal colours."""
    plain = _ESCAPES.sub("", text)
    safe = _TOKENS.sub("***", _SIGNATURE.sub(r"\1", _CREDENTIALS.sub("", plain)))
    return cut(" ".join(safe.split()), most)


def last_line(text: str) -> str:
    """The last line that says something, as it may be shown; empty where there is none."""
    lines = [line for line in text.splitlines() if line.strip()]
    return quoted(lines[-1], LONGEST_LINE) if lines else ""


def counted(count: int, noun: str) -> str:
    """`1 engine`, `2 engines`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def with_words(sentence: str, words: str) -> str:
    """`sentence`, and after a colon what is quoted for it, where there is anything."""
    return f"{sentence}: {shown}" if (shown := quoted(words)) else sentence


def cut(text: str, most: int) -> str:
    """`text` with at most `most` characters, left off at the end of a word where there is one to leave off at."""
    if len(text) <= most:
        return text
    head = text[: most - 1]
    whole = head.rpartition(" ")[0]
    return f"{whole if len(whole) > most // 2 else head}…"
