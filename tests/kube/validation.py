"""What a structural schema says against a value, in the server's words (k8s.io/kube-openapi/pkg/validation)."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from tests.kube.errors import Cause
from tests.kube.shapes import Schema

MISSING = object()
"""Stands for an old value where there was none."""

_TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
_NAMES = {dict: "object", list: "array", str: "string", int: "integer", float: "number", bool: "boolean"}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")

BLOCKING = frozenset(f"FieldValue{word}" for word in ("TypeInvalid", "Required", "NotSupported", "TooLong", "TooMany"))
"""Reasons after which no rule is asked, since it might not understand the object."""


def causes(value: Any, schema: Schema, place: str, old: Any = MISSING) -> Iterator[Cause]:
    """Everything wrong in `value`. What is as it was in `old` may stay, whatever the schema says by now."""
    if old is not MISSING and value == old and type(value) is type(old):
        return
    if value is None and schema.get("nullable"):
        return
    wrong = _wrong_type(value, schema)
    if wrong is not None:
        yield Cause(place, "FieldValueTypeInvalid", f'Invalid value: "{wrong}": {_must(place, schema, wrong)}')
        return
    yield from _own(value, schema, place)
    for name, inner, field in children(value, schema):
        yield from causes(inner, field, f"{place}{name}".removeprefix("."), counterpart(old, name, inner, schema))


def children(value: Any, schema: Schema) -> Iterator[tuple[str, Any, Schema]]:
    """What is in a value, with the place of each, as `.name`, `[key]` or `[0]`, and its schema."""
    if isinstance(value, Mapping):
        fields, more = schema.get("properties", {}), schema.get("additionalProperties")
        for name, inner in value.items():
            if name in fields:
                yield f".{name}", inner, fields[name]
            elif isinstance(more, Mapping):
                yield f"[{name}]", inner, more
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for index, inner in enumerate(value):
            yield f"[{index}]", inner, schema["items"]


def counterpart(old: Any, name: str, inner: Any, schema: Schema) -> Any:
    """The old value of one of `children`, found by its name, or by its key in a keyed list."""
    if isinstance(old, Mapping):
        return old.get(name[1:].removesuffix("]") if name[0] == "[" else name[1:], MISSING)
    if isinstance(old, list) and isinstance(inner, Mapping):
        keys = schema.get("x-kubernetes-list-map-keys", ())
        same = (one for one in old if keys and all(one.get(key) == inner.get(key) for key in keys))
        return next(same, MISSING)
    return MISSING


def _wrong_type(value: Any, schema: Schema) -> str | None:
    """The name of the value's type where it is none of the schema's."""
    if schema.get("x-kubernetes-int-or-string"):
        return None if isinstance(value, int | str) and not isinstance(value, bool) else _name(value)
    wanted = schema.get("type")
    if wanted is None:
        return None
    if isinstance(value, bool):
        return None if wanted == "boolean" else "boolean"
    if wanted == "number":
        return None if isinstance(value, int | float) else _name(value)
    if wanted == "integer" and isinstance(value, float) and value.is_integer():
        return None
    return None if isinstance(value, _TYPES[wanted]) else _name(value)


def _name(value: Any) -> str:
    return "null" if value is None else _NAMES[type(value)]


def _must(place: str, schema: Schema, wrong: str) -> str:
    return f'{place} in body must be of type {schema.get("type", "integer or string")}: "{wrong}"'


def _own(value: Any, schema: Schema, place: str) -> Iterator[Cause]:
    if "enum" in schema and value not in schema["enum"]:
        known = ", ".join(f'"{one}"' for one in schema["enum"])
        yield Cause(place, "FieldValueNotSupported", f"Unsupported value: {_shown(value)}: supported values: {known}")
    if isinstance(value, str):
        yield from _text(value, schema, place)
    elif isinstance(value, list):
        yield from _list(value, schema, place)
    elif isinstance(value, Mapping):
        yield from _object(value, schema, place)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number(value, schema, place)
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            fitting = sum(not any(causes(value, one, place)) for one in schema[word])
            if not {"anyOf": fitting > 0, "oneOf": fitting == 1, "allOf": fitting == len(schema[word])}[word]:
                yield _invalid(place, value, f"must validate at least one schema ({word})")
    if "not" in schema and not any(causes(value, schema["not"], place)):
        yield _invalid(place, value, "must not validate the schema (not)")


def _text(value: str, schema: Schema, place: str) -> Iterator[Cause]:
    if len(value) > schema.get("maxLength", len(value)):
        yield Cause(place, "FieldValueTooLong", f"Too long: may not be more than {schema['maxLength']} bytes")
    if len(value) < schema.get("minLength", 0):
        yield _invalid(place, value, f"should be at least {schema['minLength']} chars long")
    if "pattern" in schema and not _pattern(schema["pattern"]).search(value):
        yield _invalid(place, value, f"should match '{schema['pattern']}'")
    if schema.get("format") == "date-time" and not _TIME.fullmatch(value):
        yield _invalid(place, value, f'must be of type date-time: "{value}"')


def _number(value: float, schema: Schema, place: str) -> Iterator[Cause]:
    if value < schema.get("minimum", value):
        yield _invalid(place, value, f"should be greater than or equal to {schema['minimum']}")
    if value > schema.get("maximum", value):
        yield _invalid(place, value, f"should be less than or equal to {schema['maximum']}")


def _list(value: list[Any], schema: Schema, place: str) -> Iterator[Cause]:
    most, fewest = schema.get("maxItems", len(value)), schema.get("minItems", 0)
    if len(value) > most:
        yield Cause(place, "FieldValueTooMany", f"Too many: {len(value)}: must have at most {most} items")
    if len(value) < fewest:
        yield _invalid(place, len(value), f"should have at least {fewest} items")
    if schema.get("x-kubernetes-list-type") not in ("set", "map"):
        return
    keys = schema.get("x-kubernetes-list-map-keys")
    seen: list[Any] = []
    for index, item in enumerate(value):
        key = {name: item.get(name) for name in keys} if keys and isinstance(item, Mapping) else item
        if key in seen:
            yield Cause(f"{place}[{index}]", "FieldValueDuplicate", f"Duplicate value: {_shown(key)}")
        seen.append(key)


def _object(value: Mapping[str, Any], schema: Schema, place: str) -> Iterator[Cause]:
    for name in schema.get("required", ()):
        if name not in value:
            yield Cause(f"{place}.{name}".removeprefix("."), "FieldValueRequired", "Required value")
    most, fewest = schema.get("maxProperties", len(value)), schema.get("minProperties", 0)
    if len(value) > most:
        yield Cause(place, "FieldValueTooMany", f"Too many: {len(value)}: must have at most {most} items")
    if len(value) < fewest:
        yield _invalid(place, len(value), f"should have at least {fewest} properties")


def _invalid(place: str, value: Any, sentence: str) -> Cause:
    return Cause(place, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {place} in body {sentence}")


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)
