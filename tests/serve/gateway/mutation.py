"""Makes wrong JSON of right JSON: seeded, so that what was found once is found again."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

DEEP = 400
"""More levels than anybody means, fewer than a parser of JSON refuses."""

# JSON that Python's own writer does not write.
_RAW = (
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\xff\xfe"',
    b'"\xed\xa0\x80"',
    b'"\x00"',
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 400,
    b"-" + b"9" * 5000,
    b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP + b"0" + b"}" * DEEP,
    b"[" * 100_000,
    b'{"id":"a","id":{"id":[]}}',
)
_PLAIN: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**30, 0.5, -1e308, 1e-320),
    *("", " ", "a", "x" * 5000, "\0", "a\0b", "\u2028", "\ufffd", "\U0001f469\u200d\U0001f680", "../../etc/passwd", "%00"),
    *("' OR 1=1 --", "null", "0", "message", "function_call", "item_reference", "input_image", "user", "tool"),
    *([], {}, [[]], [None], [{}], {"": ""}, {"id": None}, {"type": None}, {"type": "message"}, {"role": "user"}),
    [0] * 1000,
    {"type": "message", "role": "user", "content": [{"type": "input_text"}]},
    {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": 3}]},
    {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": {}}, {"type": "\0"}]},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": {"a": 1}},
    {"type": "function_call_output", "call_id": "c", "output": {"a": [1]}},
    {"type": "reasoning", "summary": None, "content": 7},
)  # fmt: skip


class Mutator:
    """Wrong bodies without end. `words`: strings that mean something here, such as ids and names."""

    def __init__(self, seed: int, words: Sequence[str]) -> None:
        self._random = random.Random(seed)
        self._words = words

    def body(self, right: Any) -> bytes:
        """The JSON `right`, with something wrong at one place or some."""
        value = right
        for _ in range(self._random.choice((1, 1, 1, 2, 3))):
            value = self._changed(value)
        return self._torn(self._written(value))

    def form(self, right: dict[str, str]) -> tuple[bytes, str]:
        """(an HTML form of the fields `right` with something wrong, the content type that it is sent with)."""
        fields = [(name.encode(), value.encode()) for name, value in right.items()]
        for _ in range(self._random.choice((0, 1, 2))):
            at = self._random.randrange(len(fields))
            name, _ = fields[at]
            fields.insert(at, (self._random.choice((name, name, b"", b"x")), self._bytes()))
        if self._random.random() < 0.5:
            return self._torn(b"&".join(b"%b=%b" % field for field in fields)), "application/x-www-form-urlencoded"
        part = b'--b\r\ncontent-disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        kind = self._random.choice(("multipart/form-data; boundary=b", "multipart/form-data", "multipart/form-data;b"))
        return self._torn(b"".join(part % field for field in fields) + b"--b--\r\n"), kind

    def kind(self) -> str:
        """A content type: mostly that of JSON."""
        others = ("", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded", "application/json;x=\xff")
        return self._random.choice(("application/json",) * 12 + others)

    def word(self) -> str:
        return self._random.choice(self._words)

    def _changed(self, value: Any) -> Any:
        places = list(_places(value, lambda new: new))
        _, put = self._random.choice(places)
        if isinstance(value, dict) and value and self._random.random() < 0.1:
            left_out = self._random.choice(list(value))
            return {name: one for name, one in value.items() if name != left_out}
        return put(self._value())

    def _value(self) -> Any:
        kind = self._random.randrange(8)
        if kind == 0:
            return _Raw(self._random.choice(_RAW))
        if kind <= 2:
            return self.word()
        return self._random.choice(_PLAIN)

    def _bytes(self) -> bytes:
        choice = self._random.choice((*_RAW, b"%", b"%ff%fe", b"%00", b"\r\n--b", b"+", b"&&&=", b"\xf0\x9f\x91"))
        return self._random.choice((choice, self.word().encode()))

    def _written(self, value: Any) -> bytes:
        if isinstance(value, _Raw):
            return value.text
        if isinstance(value, dict):
            pairs = [json.dumps(name).encode() + b":" + self._written(one) for name, one in value.items()]
            if pairs and self._random.random() < 0.02:
                pairs.append(self._random.choice(pairs))
            return b"{" + b",".join(pairs) + b"}"
        if isinstance(value, list):
            return b"[" + b",".join(self._written(one) for one in value) + b"]"
        return json.dumps(value).encode()

    def _torn(self, body: bytes) -> bytes:
        at = self._random.randrange(len(body) + 1)
        match self._random.randrange(40):
            case 0:
                return body[:at]
            case 1:
                return body[:at] + bytes([self._random.randrange(256)]) + body[at + 1 :]
            case 2:
                return b"\xef\xbb\xbf" + body
            case 3:
                return body.decode("latin-1").encode("utf-16")
            case 4:
                return body + body
        return body


class _Raw:
    """A value as it is written."""

    def __init__(self, text: bytes) -> None:
        self.text = text


def _places(value: Any, put: Callable[[Any], Any]) -> Any:
    """Every place in `value`, each with how another value is put there."""
    yield value, put
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _places(one, lambda new, name=name: put({**value, name: new}))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _places(one, lambda new, index=index: put([*value[:index], new, *value[index + 1 :]]))
