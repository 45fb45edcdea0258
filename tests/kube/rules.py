"""The rules of a CustomResourceDefinition, which are CEL; run by cel-python."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import celpy
import msgspec
from celpy.adapter import json_to_cel

from tests.kube.errors import Cause
from tests.kube.shapes import Schema
from tests.kube.validation import MISSING, children, counterpart

_REMEMBERED = 20_000


class Rules:
    """Asks rules about values. An answer is remembered: most of many objects of a kind is alike."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, bytes, bytes], bool] = {}

    def broken(self, value: Any, schema: Schema, place: str = "", old: Any = MISSING) -> Iterator[Cause]:
        """The rules that `value` and what is in it break, but for what is as it was in `old`.

        Raises CELEvalError where a rule does not understand the value.
        """
        if old is not MISSING and value == old:
            return
        typed = bool(schema.get("properties"))
        for rule in schema.get("x-kubernetes-validations", ()):
            used = _used(rule["rule"]) if typed else None
            if not self._holds(rule["rule"], _part(value, used), _part(old, used)):
                yield _cause(rule, value, place)
        for name, inner, field in children(value, schema):
            if _ruled(field):
                was = counterpart(old, name, inner, schema)
                yield from self.broken(inner, field, f"{place}{name}".removeprefix("."), was)

    def _holds(self, expression: str, value: Any, old: Any) -> bool:
        compares = "oldSelf" in expression
        if compares and old is MISSING:
            return True
        key = expression, msgspec.json.encode(value), msgspec.json.encode(old) if compares else b""
        if key not in self._answers:
            if len(self._answers) > _REMEMBERED:
                self._answers.clear()
            names = {"self": json_to_cel(value), **({"oldSelf": json_to_cel(old)} if compares else {})}
            self._answers[key] = bool(_program(expression).evaluate(names))
        return self._answers[key]


@cache
def _program(expression: str) -> celpy.Runner:
    """Compiled once for every server of the process, since that takes longest."""
    environment = celpy.Environment()
    return environment.program(environment.compile(expression))


@cache
def _used(expression: str) -> frozenset[tuple[str, ...]] | None:
    """The fields of `self` that a rule speaks of, two names deep; None for a rule about all of it."""
    if re.search(r"\b(self|oldSelf)\b(?!\.)", expression):
        return None
    return frozenset(tuple(path.split(".")[1:3]) for path in re.findall(r"\b(?:self|oldSelf)((?:\.\w+)+)", expression))


def _part(value: Any, used: frozenset[tuple[str, ...]] | None) -> Any:
    """What of an object a rule speaks of: answers are then the same for more objects."""
    if used is None or not isinstance(value, dict):
        return value
    result: dict[str, Any] = {}
    # What is wanted as a whole comes last.
    for name, *inner in sorted(used, key=len, reverse=True):
        found = value.get(name, MISSING)
        if isinstance(found, dict) and inner and name in ("spec", "metadata"):
            result.setdefault(name, {}).update({inner[0]: found[inner[0]]} if inner[0] in found else {})
        elif found is not MISSING:
            result[name] = found
    return result


def _ruled(schema: Schema) -> bool:
    """Whether there can be a rule in it."""
    return any(word in schema for word in ("x-kubernetes-validations", "properties", "items", "additionalProperties"))


def _cause(rule: Schema, value: Any, place: str) -> Cause:
    shown = '"object"' if isinstance(value, dict) else '"array"' if isinstance(value, list) else None
    shown = shown or msgspec.json.encode(value).decode()
    message = rule.get("message") or f"failed rule: {rule['rule']}"
    field = f"{place}{rule.get('fieldPath', '')}".removeprefix(".")
    return Cause(field or "<nil>", rule.get("reason", "FieldValueInvalid"), f"Invalid value: {shown}: {message}")
