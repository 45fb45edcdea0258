"""The few requests that kubectl writes as protobuf even to a server that says nothing of it (k8s.io/api/**/*.proto).

Those are `auth`, `drain`, and `create` of namespaces, configuration and secrets; files it always sends as JSON.
"""

import base64
from collections.abc import Iterator
from enum import Enum
from typing import Any

from tests.kube.errors import UnsupportedMediaType

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\x00"


class _Value(Enum):
    """What a field holds, where that is no message."""

    TEXT = "text"
    TEXTS = "a map of texts"
    BYTES = "a map of bytes"


Message = dict[int, tuple[str, Any]]
"""By the number of a field: its name, and what it holds."""


def _texts(*names: str) -> Message:
    """Fields of text, numbered from 1."""
    return {number: (name, _Value.TEXT) for number, name in enumerate(names, 1)}


_META = (1, ("metadata", _texts("name", "generateName", "namespace")))
_REVIEW: Message = {
    1: ("resourceAttributes", _texts("namespace", "verb", "group", "version", "resource", "subresource", "name")),
    2: ("nonResourceAttributes", _texts("path", "verb")),
}
_KINDS: dict[str, Message] = {
    "SelfSubjectAccessReview": dict([_META, (2, ("spec", _REVIEW))]),
    "SelfSubjectRulesReview": dict([_META, (2, ("spec", _texts("namespace")))]),
    "SelfSubjectReview": dict([_META]),
    "Namespace": dict([_META]),
    "ServiceAccount": dict([_META]),
    "Eviction": dict([_META]),
    "ConfigMap": dict([_META, (2, ("data", _Value.TEXTS)), (3, ("binaryData", _Value.BYTES))]),
    "Secret": dict([_META, (2, ("data", _Value.BYTES)), (3, ("type", _Value.TEXT))]),
}


def decoded(body: bytes) -> dict[str, Any]:
    """The object of a request. Raises UnsupportedMediaType for a kind that is not one of the few."""
    envelope = dict(_fields(body.removeprefix(_MAGIC)))
    type_meta = _message(envelope[1], _texts("apiVersion", "kind"))
    kind = type_meta.get("kind", "")
    if kind not in _KINDS:
        raise UnsupportedMediaType(f"a {kind} is taken as JSON only; write a file and give it to kubectl create -f")
    return {**type_meta, **_message(envelope[2], _KINDS[kind])}


def _message(data: bytes, message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _fields(data):
        if number not in message or not value:
            continue
        name, kind = message[number]
        if kind is _Value.TEXT:
            found[name] = value.decode()
        elif isinstance(kind, _Value):
            entry = dict(_fields(value))
            content = entry.get(2, b"")
            text = content if kind is _Value.TEXTS else base64.b64encode(content)
            found.setdefault(name, {})[entry[1].decode()] = text.decode()
        else:
            found[name] = _message(value, kind)
    return found


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The numbers and the bytes of the fields that have a length; others are skipped."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        size, at = _varint(data, at)
        if key & 7 == 2:
            yield key >> 3, data[at : at + size]
            at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
