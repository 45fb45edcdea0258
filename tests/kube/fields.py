"""Sets of fields, which server-side apply is about: whose they are, and what becomes of lists with keys. Pure.

A set is a tree of names as `fieldsV1` has them (sigs.k8s.io/structured-merge-diff): `f:name` for a field or a key,
`k:{...}` for an item of a keyed list, `v:...` for one of a set; the entry `.` says that the place itself is in the set.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from tests.kube.shapes import Shape

Fields = dict[str, Any]

_SELF = "."
_ITSELF: Fields = {_SELF: {}}


class UndeclaredError(Exception):
    """A place that a type does not have."""


def parsed(document: Mapping[str, Any]) -> Fields:
    """A set from `fieldsV1`, where a place without anything below stands for itself."""
    return {name: {} if name == _SELF else parsed(inner) or _ITSELF for name, inner in document.items()}


def written(fields: Fields) -> Fields:
    """The set as `fieldsV1` has it."""
    return {name: {} if inner in ({}, _ITSELF) else written(inner) for name, inner in sorted(fields.items())}


def union(first: Fields, second: Fields) -> Fields:
    result = dict(first)
    for name, inner in second.items():
        result[name] = union(result[name], inner) if name in result else inner
    return result


def minus(first: Fields, second: Fields) -> Fields:
    """What is in the first and not in the second."""
    result = {}
    for name, inner in first.items():
        if name not in second:
            result[name] = inner
        elif name != _SELF and (left := minus(inner, second[name])):
            result[name] = left
    return result


def common(first: Fields, second: Fields) -> Fields:
    result = {}
    for name, inner in first.items():
        if name in second and (name == _SELF or (both := common(inner, second[name]))):
            result[name] = {} if name == _SELF else both
    return result


def paths(fields: Fields, above: str = "") -> Iterator[str]:
    """The places of a set as people read them: `.spec.containers[name="engine"].image`."""
    if _SELF in fields:
        yield above
    for name, inner in sorted(fields.items()):
        if name != _SELF:
            yield from paths(inner, above + _readable(name))


def _readable(name: str) -> str:
    kind, _, rest = name.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "v":
        return f"[={rest}]"
    return "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in json.loads(rest).items()) + "]"


def of(value: Any, shape: Shape | None, place: str = "") -> Fields:
    """Every field of a value, as a client that applied it owns them. Raises UndeclaredError."""
    if shape is not None and shape.atomic:
        return _ITSELF
    if isinstance(value, dict) and value:
        return {f"f:{name}": _of_field(name, inner, shape, f"{place}.{name}") for name, inner in value.items()}
    items = _items(value, shape, place) if isinstance(value, list) else None
    if items and shape is not None:
        return {name: {**of(item, shape.items, place), **_ITSELF} for name, item in items.items()}
    return _ITSELF


def _of_field(name: str, value: Any, shape: Shape | None, place: str) -> Fields:
    field = None if shape is None else shape.at(name)
    if field is None and shape is not None and not shape.open:
        raise UndeclaredError(f"{place}: field not declared in schema")
    found = of(value, field, place)
    # A key of a map belongs to whoever put it there; a field of a type is always there.
    return found if shape is not None and name in shape.fields else {**found, **_ITSELF}


def changes(old: Any, new: Any, shape: Shape | None) -> tuple[Fields, Fields]:
    """What is other or more in `new`, and what is gone from `old`."""
    if old == new:
        return {}, {}
    if shape is None or not shape.atomic:
        if isinstance(old, dict) and isinstance(new, dict):
            return _compared(
                {f"f:{name}": inner for name, inner in old.items()},
                {f"f:{name}": inner for name, inner in new.items()},
                lambda name: None if shape is None else shape.at(name[2:]),
            )
        if isinstance(old, list) and isinstance(new, list) and shape is not None:
            before, after = _items(old, shape, ""), _items(new, shape, "")
            if before is not None and after is not None:
                return _compared(before, after, lambda name: shape.items)
    return _ITSELF, {}


def _compared(old: Fields, new: Fields, shape_of: Callable[[str], Shape | None]) -> tuple[Fields, Fields]:
    changed, gone = {}, {}
    for name, inner in new.items():
        if name not in old:
            changed[name] = {**_lenient(inner, shape_of(name)), **_ITSELF}
            continue
        more, less = changes(old[name], inner, shape_of(name))
        if more:
            changed[name] = more
        if less:
            gone[name] = less
    for name, inner in old.items():
        if name not in new:
            gone[name] = {**_lenient(inner, shape_of(name)), **_ITSELF}
    return changed, gone


def _lenient(value: Any, shape: Shape | None) -> Fields:
    try:
        return of(value, shape)
    except UndeclaredError:
        return _ITSELF


def merged(old: Any, new: Any, shape: Shape | None) -> Any:
    """`old` with everything that `new` says."""
    if shape is not None and shape.atomic:
        return new
    if isinstance(old, dict) and isinstance(new, dict):
        result = dict(old)
        for name, inner in new.items():
            field = None if shape is None else shape.at(name)
            result[name] = merged(old[name], inner, field) if name in old else inner
        return result
    if isinstance(old, list) and isinstance(new, list) and shape is not None:
        before, after = _items(old, shape, ""), _items(new, shape, "")
        if before is not None and after is not None:
            both = {name: merged(item, after.get(name, item), shape.items) for name, item in before.items()}
            # Who names all of them decides about their order.
            order = after if before.keys() <= after.keys() else {**both, **after}
            return [both.get(name, after.get(name)) for name in order]
    return new


def pruned(value: Any, gone: Fields, kept: Fields, shape: Shape | None) -> Any:
    """`value` without what is in `gone` and has nothing in `kept`."""
    if isinstance(value, dict):
        result = {}
        for name, inner in value.items():
            key = f"f:{name}"
            if key not in gone or key in kept:
                field = None if shape is None else shape.at(name)
                result[name] = pruned(inner, gone.get(key, {}), kept.get(key, {}), field)
        return result
    items = _items(value, shape, "") if isinstance(value, list) else None
    if items is None or shape is None:
        return value
    return [
        pruned(item, gone.get(name, {}), kept.get(name, {}), shape.items)
        for name, item in items.items()
        if name not in gone or name in kept
    ]


def _items(value: list[Any], shape: Shape | None, place: str) -> dict[str, Any] | None:
    """The items of a list by their names in a set; None for a list that is one value."""
    if shape is None or shape.list_type not in ("map", "set"):
        return None
    found: dict[str, Any] = {}
    for item in value:
        name = f"v:{json.dumps(item)}" if shape.list_type == "set" else _key(shape.keys, shape.key_of(item))
        if name in found:
            raise UndeclaredError(f"{place}: duplicate entries for key {_readable(name)}")
        found[name] = item
    return found


@lru_cache(maxsize=10_000)
def _key(names: tuple[str, ...], values: tuple[Any, ...]) -> str:
    keys = dict(sorted(zip(names, values, strict=True)))
    return f"k:{json.dumps(keys, separators=(',', ':'))}"
