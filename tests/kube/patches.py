"""The three patches that change an object without owning fields: JSON, merge, and strategic merge. Pure."""

import copy
from collections.abc import Callable
from typing import Any

import jsonpatch

from tests.kube.errors import BadRequest, Cause, Invalid
from tests.kube.resources import Manifest, Resource
from tests.kube.shapes import Shape

_DIRECTIVE = "$patch"
_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"
_RETAIN = "$retainKeys"


def json_patched(old: Manifest, operations: Any, resource: Resource) -> Manifest:
    """RFC 6902. Raises Invalid for a test that fails or a path that is not there."""
    try:
        patched: Manifest = jsonpatch.JsonPatch(operations).apply(copy.deepcopy(old))
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
        name = old["metadata"]["name"]
        raise Invalid(resource.group, resource.kind, name, [Cause("patch", "FieldValueInvalid", str(error))]) from error
    return patched


def merge_patched(old: Any, patch: Any) -> Any:
    """RFC 7386: null takes away, lists are replaced."""
    if not isinstance(patch, dict):
        return patch
    result = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patched(result.get(name), value)
    return result


def strategically_patched(old: Any, patch: Any, shape: Shape | None) -> Any:
    """A merge that knows which lists are keyed, and the directives that kubectl writes."""
    if not isinstance(patch, dict):
        return patch
    directive = patch.get(_DIRECTIVE)
    if directive == "delete":
        return {}
    result = dict(old) if isinstance(old, dict) and directive != "replace" else {}
    if _RETAIN in patch:
        result = {name: value for name, value in result.items() if name in patch[_RETAIN]}
    for name, value in patch.items():
        if name.startswith(_DELETE):
            gone, plain = value, name.removeprefix(_DELETE)
            result[plain] = [item for item in result.get(plain, ()) if item not in gone]
    for name, value in patch.items():
        field = shape.at(name) if shape is not None else None
        if name.startswith("$"):
            continue
        if value is None:
            result.pop(name, None)
        elif isinstance(value, list):
            result[name] = _list(result.get(name) or [], value, field, patch.get(_ORDER + name))
        else:
            result[name] = strategically_patched(result.get(name), value, field)
    return result


def _list(old: list[Any], patch: list[Any], shape: Shape | None, order: list[Any] | None) -> list[Any]:
    if shape is None or "merge" not in shape.strategy:
        return patch
    if not shape.merge_key:
        merged = old + [item for item in patch if item not in old]
        return _ordered(merged, order, lambda item: item)
    key = shape.merge_key
    result = [] if any(item.get(_DIRECTIVE) == "replace" for item in patch) else list(old)
    for item in patch:
        if key not in item:
            if _DIRECTIVE in item:
                continue
            raise BadRequest(f"map: {item} does not contain declared merge key: {key}")
        place = next((index for index, one in enumerate(result) if one.get(key) == item[key]), None)
        if item.get(_DIRECTIVE) == "delete":
            if place is not None:
                del result[place]
        elif place is None:
            result.append(strategically_patched({}, item, shape.items))
        else:
            result[place] = strategically_patched(result[place], item, shape.items)
    return _ordered(result, order, lambda item: item.get(key) if isinstance(item, dict) else item)


def _ordered(items: list[Any], order: list[Any] | None, key: Callable[[Any], Any]) -> list[Any]:
    if not order:
        return items
    wanted = [key(one) for one in order]
    # What the client did not know of stays behind what it put in order.
    return sorted(items, key=lambda item: wanted.index(key(item)) if key(item) in wanted else len(wanted))
