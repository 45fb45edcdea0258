"""Turns pydantic's findings into sentences for the person who wrote the file.

The one place where pydantic's words are known. Values are shown only where they cannot be secrets: choices,
numbers out of bounds, and text whose `Shape` says so. Places are written as in the file: `spec.engine.env[0].name`.
"""

import difflib
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from fairlead_serve.errors import Problem
from fairlead_serve.shapes import Shape


def problems_of(error: ValidationError, root: type[BaseModel], shapes: Mapping[str, Shape]) -> list[Problem]:
    """Every finding of `error` as a Problem. `shapes` maps patterns used by `root`'s fields to their words."""
    found: list[Problem] = []
    for detail in error.errors():
        place = dotted(detail["loc"])
        if detail["type"] == "broken_rules":
            inner: Sequence[Problem] = detail["ctx"]["problems"]
            found += [Problem(_join(place, problem.path), problem.message) for problem in inner]
        elif detail["type"] == "extra_forbidden":
            found.append(Problem(place, unknown(detail["loc"], root)))
        elif detail["loc"] and detail["loc"][-1] == "[key]":
            found.append(Problem(dotted(detail["loc"][:-1]), f"the key {_sentence(detail, shapes)}"))
        else:
            found.append(Problem(place, _sentence(detail, shapes)))
    return found


def dotted(place: Iterable[str | int]) -> str:
    """`("spec", "env", 0, "name")` as `spec.env[0].name`."""
    path = ""
    for step in place:
        path = _join(path, f"[{step}]" if isinstance(step, int) else step)
    return path


def nearest(name: str, names: Iterable[str]) -> str:
    """`did you mean ...?` with the closest of `names`, or an empty string when none is close."""
    close = closest(name, names)
    return f"did you mean {' or '.join(close)}?" if close else ""


def closest(name: str, names: Iterable[str]) -> list[str]:
    """Up to three of `names` that look like `name`, best first; case, hyphens and underscores do not count."""
    plain = {spelling(candidate): candidate for candidate in names}
    if spelling(name) in plain:
        return [plain[spelling(name)]]
    return [plain[match] for match in difflib.get_close_matches(spelling(name), plain, n=3, cutoff=0.75)]


def spelling(name: str) -> str:
    """A name without what people mix up: `max-num-seqs`, `max_num_seqs` and `maxNumSeqs` are the same."""
    return name.replace("-", "").replace("_", "").lower()


def kind_of(value: object) -> str:
    """What YAML calls a value, without the value."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    for kind, word in _KINDS.items():
        if isinstance(value, kind):
            return word
    return "something else"


_KINDS: Mapping[type, str] = types.MappingProxyType(
    {int: "a whole number", float: "a decimal number", str: "text", Mapping: "a map", Sequence: "a list"}
)


def _join(path: str, step: str) -> str:
    if not path or not step or step.startswith("["):
        return path + step
    return f"{path}.{step}"


def unknown(place: Sequence[str | int], root: type[BaseModel]) -> str:
    """The sentence for a field that does not exist, naming the nearest that does, here or in a part below."""
    name = str(place[-1])
    fields = fields_at(root, place[:-1])
    hint = nearest(name, fields) or _elsewhere(name, root)
    return f"unknown field; {hint}" if hint else f"unknown field; known here: {', '.join(sorted(fields))}"


def fields_at(root: type[BaseModel], place: Sequence[str | int]) -> dict[str, FieldInfo]:
    """The fields, by their names in the file, of the part of `root` that stands at `place`."""
    part: type[BaseModel] | None = root
    for step in place:
        if isinstance(step, str) and part is not None:
            field = _by_alias(part).get(step)
            part = _part_in(field.annotation) if field else None
    return _by_alias(part) if part else {}


def _elsewhere(name: str, root: type[BaseModel]) -> str:
    """Where a field of exactly this name stands instead; a wrong indentation is the commonest mistake."""
    places = sorted(dotted(place) for place in _places(root, ()) if spelling(str(place[-1])) == spelling(name))
    return f"did you mean {places[0]}?" if len(places) == 1 else ""


def _places(part: type[BaseModel], above: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    for alias, field in _by_alias(part).items():
        yield (*above, alias)
        below = _part_in(field.annotation)
        if below is not None and not _is_list(field.annotation):
            yield from _places(below, (*above, alias))


def _by_alias(part: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in part.model_fields.items()}


def _part_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        part = _part_in(argument)
        if part is not None:
            return part
    return None


def _is_list(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return any(_is_list(argument) for argument in get_args(annotation))
    return origin is tuple


def _sentence(detail: ErrorDetails, shapes: Mapping[str, Shape]) -> str:
    kind, ctx = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return "missing; it has no default"
    if kind in _WANTED:
        return _wrong_type(kind, detail["input"])
    if kind == "string_pattern_mismatch":
        return _wrong_shape(shapes[ctx["pattern"]], detail["input"])
    if kind == "literal_error":
        return _wrong_choice(str(ctx["expected"]), detail["input"])
    if kind in _LIMITS:
        return _LIMITS[kind].format(**ctx, found=detail["input"])
    return str(detail["msg"])


_WANTED: Mapping[str, str] = types.MappingProxyType(
    {
        "string_type": "text",
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "int_parsing_size": "a smaller whole number",
        "bool_type": "true or false",
        "float_type": "a number",
        "dict_type": "a map",
        "model_type": "a map",
        "model_attributes_type": "a map",
        "tuple_type": "a list",
        "list_type": "a list",
    }
)

_LIMITS: Mapping[str, str] = types.MappingProxyType(
    {
        "greater_than_equal": "must be at least {ge}, found {found}",
        "less_than_equal": "must be at most {le}, found {found}",
        "string_too_long": "must have at most {max_length} characters",
        "string_too_short": "must not be empty",
        "too_long": "must have at most {max_length} entries, found {actual_length}",
        "too_short": "must have at least {min_length} entries, found {actual_length}",
    }
)


def _wrong_type(kind: str, value: object) -> str:
    sentence = f"expected {_WANTED[kind]}, found {kind_of(value)}"
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"{sentence}; put it in quotes"
    if kind == "int_type" and isinstance(value, str):
        return f"{sentence}; write it without quotes"
    return sentence


def _wrong_shape(shape: Shape, value: object) -> str:
    return f"expected {shape.wanted}, found {value!r}" if shape.showable else f"expected {shape.wanted}"


def _wrong_choice(expected: str, value: object) -> str:
    choices = [choice.strip("'") for choice in expected.replace(" or ", ", ").split(", ")]
    sentence = f"expected {' or '.join(choices)}"
    if not isinstance(value, str):
        found = str(value) if isinstance(value, int) and not isinstance(value, bool) else kind_of(value)
        return f"{sentence}, found {found}"
    hint = nearest(value, choices)
    return f"{sentence}, found {value!r}" + (f"; {hint}" if hint else "")
