"""The rules of a CustomResourceDefinition, which are CEL; run by cel-python."""

from collections.abc import Iterator
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
        self._environment = celpy.Environment()
        self._programs: dict[str, celpy.Runner] = {}
        self._answers: dict[tuple[str, bytes, bytes], bool] = {}

    def broken(self, value: Any, schema: Schema, place: str = "", old: Any = MISSING) -> Iterator[Cause]:
        """The rules that `value` and what is in it break, but for what is as it was in `old`.

        Raises CELEvalError where a rule does not understand the value.
        """
        if old is not MISSING and value == old:
            return
        for rule in schema.get("x-kubernetes-validations", ()):
            if not self._holds(rule["rule"], value, old):
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
            self._answers[key] = bool(self._program(expression).evaluate(names))
        return self._answers[key]

    def _program(self, expression: str) -> celpy.Runner:
        if expression not in self._programs:
            self._programs[expression] = self._environment.program(self._environment.compile(expression))
        return self._programs[expression]


def _ruled(schema: Schema) -> bool:
    """Whether there can be a rule in it."""
    return any(word in schema for word in ("x-kubernetes-validations", "properties", "items", "additionalProperties"))


def _cause(rule: Schema, value: Any, place: str) -> Cause:
    shown = '"object"' if isinstance(value, dict) else '"array"' if isinstance(value, list) else None
    shown = shown or msgspec.json.encode(value).decode()
    message = rule.get("message") or f"failed rule: {rule['rule']}"
    field = f"{place}{rule.get('fieldPath', '')}".removeprefix(".")
    return Cause(field or "<nil>", rule.get("reason", "FieldValueInvalid"), f"Invalid value: {shown}: {message}")
