"""The few requests that kubectl writes as protobuf even to a server that says nothing of it (k8s.io/api/**/*.proto)."""

from collections.abc import Iterator
from typing import Any

from tests.kube.errors import UnsupportedMediaType

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\x00"
Message = dict[int, Any]
"""By the number of a field: its name, and the message in it where it is one."""

_META: Message = {1: ("name", None), 2: ("generateName", None), 3: ("namespace", None)}
_RESOURCE: Message = dict(
    enumerate(
        [(name, None) for name in ("namespace", "verb", "group", "version", "resource", "subresource", "name")], 1
    )
)
_PATH: Message = {1: ("path", None), 2: ("verb", None)}
_REVIEW: Message = {1: ("resourceAttributes", _RESOURCE), 2: ("nonResourceAttributes", _PATH)}
_KINDS: dict[str, Message] = {
    "SelfSubjectAccessReview": {1: ("metadata", _META), 2: ("spec", _REVIEW)},
    "SelfSubjectRulesReview": {1: ("metadata", _META), 2: ("spec", {1: ("namespace", None)})},
    "SelfSubjectReview": {1: ("metadata", _META)},
    "Namespace": {1: ("metadata", _META)},
    "Eviction": {1: ("metadata", _META)},
}


def decoded(body: bytes) -> dict[str, Any]:
    """The object of a request. Raises UnsupportedMediaType for a kind that is not one of the few."""
    envelope = dict(_fields(body.removeprefix(_MAGIC)))
    type_meta = _message(envelope[1], {1: ("apiVersion", None), 2: ("kind", None)})
    if type_meta.get("kind") not in _KINDS:
        raise UnsupportedMediaType(f"a {type_meta.get('kind')} is taken as JSON only")
    return {**type_meta, **_message(envelope[2], _KINDS[type_meta["kind"]])}


def _message(data: bytes, message: Message) -> dict[str, Any]:
    found = {}
    for number, value in _fields(data):
        if number in message and value:
            name, inner = message[number]
            found[name] = value.decode() if inner is None else _message(value, inner)
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
