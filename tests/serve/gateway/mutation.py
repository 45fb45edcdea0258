"""Makes wrong bodies of right ones: seeded, so that what was found once is found again."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FORM = "application/x-www-form-urlencoded"

# JSON, or nearly, that Python's own writer does not write.
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
    b"[" * 90 + b"]" * 90,
    b"[" * 400 + b"]" * 400,
    b'{"a":' * 400 + b"0" + b"}" * 400,
    b"[" * 100_000,
    b'{"id":"a","id":{"id":[]}}',
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**30, 0.5, -1e308, 1e-320),
    *("", " ", "a", "x" * 5000, "\0", "a\0b", "\u2028", "\ufffd", "\U0001f469\u200d\U0001f680", "../../etc/passwd"),
    *("' OR 1=1 --", "%00", "null", "0", "message", "function_call", "item_reference", "input_image", "user", "tool"),
    *([], {}, [[]], [None], [{}], {"": ""}, {"id": None}, {"type": None}, {"type": "message"}, {"role": "user"}),
    [0] * 1000,
    {"type": "message", "role": "user", "content": [{"type": "input_text"}]},
    {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": 3}]},
    {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": {}}, {"type": "\0"}]},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": {"a": 1}},
    {"type": "function_call_output", "call_id": "c", "output": {"a": [1]}},
    {"type": "reasoning", "summary": None, "content": 7},
)
_NAMES = (
    "",
    "id",
    "type",
    "role",
    "content",
    "text",
    "status",
    "name",
    "arguments",
    "stream",
    "model",
    "a\0",
    "x" * 99,
)
_KINDS = ("", "text/plain", "multipart/form-data", FORM, "application/json;x=\xff", "application/octet-stream")


@dataclass(frozen=True)
class _Raw:
    """A value as it is written."""

    text: bytes


class Mutator:
    """Wrong bodies without end. `words`: strings that mean something here, such as ids and names."""

    def __init__(self, seed: int, words: Sequence[str]) -> None:
        self._random = random.Random(seed)
        self._words = words

    def json(self, right: Any) -> tuple[bytes, str]:
        """(the JSON of `right` with something wrong at some places, the content type that it is sent with)."""
        value = right
        for _ in range(self._random.choice((1, 1, 1, 2, 3))):
            value = self._changed(value)
        kind = "application/json" if self._random.random() < 0.8 else self._random.choice(_KINDS)
        return self._torn(self._written(value)), kind

    def form(self, right: Mapping[str, str]) -> tuple[bytes, str]:
        """The same for an HTML form of the fields `right`."""
        fields = [(name.encode(), value.encode()) for name, value in right.items()]
        for _ in range(self._random.choice((0, 1, 2))):
            at = self._random.randrange(len(fields))
            fields.insert(at, (self._random.choice((fields[at][0], b"", b"x")), self._bytes()))
        if self._random.random() < 0.6:
            return self._torn(b"&".join(b"%b=%b" % field for field in fields)), FORM
        part = b'--b\r\ncontent-disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        kind = self._random.choice(("multipart/form-data; boundary=b", "multipart/form-data", *_KINDS))
        return self._torn(b"".join(part % field for field in fields) + b"--b--\r\n"), kind

    def _changed(self, value: Any) -> Any:
        """`value` with something else somewhere in it, or in its place."""
        if not value or not isinstance(value, dict | list) or self._random.random() < 0.1:
            return self._value()
        if isinstance(value, list):
            at = self._random.randrange(len(value))
            return [*value[:at], self._changed(value[at]), *value[at + 1 :]]
        name = self._random.choice(list(value))
        match self._random.randrange(8):
            case 0:
                return {key: one for key, one in value.items() if key != name}
            case 1:
                return {**value, self._random.choice(_NAMES): self._value()}
        return {**value, name: self._changed(value[name])}

    def _value(self) -> Any:
        match self._random.randrange(8):
            case 0:
                return _Raw(self._random.choice(_RAW))
            case 1 | 2:
                return self._random.choice(self._words)
        return self._random.choice(_VALUES)

    def _bytes(self) -> bytes:
        odd = (*_RAW, b"%", b"%ff%fe", b"%00", b"\r\n--b", b"+", b"&&&=", b"\xf0\x9f\x91", b"\xe4\xb8\x96")
        return self._random.choice((self._random.choice(odd), self._random.choice(self._words).encode()))

    def _written(self, value: Any) -> bytes:
        if isinstance(value, _Raw):
            return value.text
        if isinstance(value, dict):
            pairs = [json.dumps(name).encode() + b":" + self._written(one) for name, one in value.items()]
            if pairs and self._random.random() < 0.02:
                pairs.append(self._random.choice(pairs))  # the same name twice
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
