"""What an API server does with a Model before it stores it, as far as a CustomResourceDefinition decides it.

Strict fields, defaults, schema, types of lists and rules; the rules are run by cel-python. The order, and that no rule
is asked about an object of wrong types, are those of apiextensions-apiserver
(pkg/registry/customresource/strategy.go).
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import celpy
from celpy.adapter import json_to_cel
from celpy.celtypes import Value
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

Schema = Mapping[str, Any]

# After one of these the rules are not run, since they could not be understood.
_BLOCKING = frozenset(
    {"type", "anyOf", "enum", "required", "maxLength", "maxItems", "maxProperties", "additionalProperties"}
)


@dataclass(frozen=True)
class Refusal:
    """One error of the answer 422: the place as kubectl shows it, and the sentence."""

    place: str
    message: str


class ApiServer:
    """Judges Models by a CRD."""

    def __init__(self, crd: Schema) -> None:
        (version,) = crd["spec"]["versions"]
        self._schema: Schema = version["schema"]["openAPIV3Schema"]
        self._validator = Draft202012Validator(_strict(self._schema))
        self._environment = celpy.Environment()
        self._programs: dict[str, celpy.Runner] = {}

    def stored(self, document: Schema) -> Any:
        """The object with its defaults, as it would be stored and as rules see it."""
        document = copy.deepcopy(document)
        _fill(document, self._schema)
        return document

    def refusals(self, document: Schema) -> list[Refusal]:
        """Everything that would be answered; empty when the object would be stored."""
        stored = self.stored(document)
        found = [Refusal(_place(error), error.message) for error in self._validator.iter_errors(stored)]
        found += _duplicates(stored, self._schema, "")
        if self.asks_rules(document):
            found += self.broken_rules(stored, self._schema)
        return found

    def asks_rules(self, document: Schema) -> bool:
        """Whether the schema leaves the object so that rules can be asked about it."""
        errors = self._validator.iter_errors(self.stored(document))
        return not any(error.validator in _BLOCKING for error in errors)

    def broken_rules(self, value: Any, schema: Schema, place: str = "") -> Iterator[Refusal]:
        """The rules that `value` and what is in it break; raises CELEvalError where a rule does not understand it."""
        rules = schema.get("x-kubernetes-validations", ())
        itself = json_to_cel(value) if rules else None
        for rule in rules:
            if not self._holds(rule["rule"], itself):
                yield Refusal((place + rule.get("fieldPath", "")).removeprefix("."), rule["message"])
        for name, inner, field in _children(value, schema):
            yield from self.broken_rules(inner, field, place + name)

    def _holds(self, expression: str, value: Value | None) -> bool:
        if expression not in self._programs:
            self._programs[expression] = self._environment.program(self._environment.compile(expression))
        return bool(self._programs[expression].evaluate({"self": value}))


def _children(value: Any, schema: Schema) -> Iterator[tuple[str, Any, Schema]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name in schema.get("properties", {}):
                yield f".{name}", inner, schema["properties"][name]
            elif "additionalProperties" in schema:
                yield f"[{name}]", inner, schema["additionalProperties"]
    elif isinstance(value, list) and "items" in schema:
        for index, inner in enumerate(value):
            yield f"[{index}]", inner, schema["items"]


def _fill(value: Any, schema: Schema) -> None:
    if isinstance(value, dict):
        for name, field in schema.get("properties", {}).items():
            if name in value and value[name] is None and not field.get("nullable"):
                del value[name]
            if "default" in field and name not in value:
                value[name] = copy.deepcopy(field["default"])
    for _, inner, field in _children(value, schema):
        _fill(inner, field)


def _strict(schema: Schema) -> dict[str, Any]:
    """The schema for a validator that refuses unknown fields, as `kubectl apply` asks the server to."""
    strict: dict[str, Any] = {word: value for word, value in schema.items() if not word.startswith("x-")}
    if schema.get("nullable"):
        return {}
    for word in ("items", "additionalProperties"):
        if word in schema:
            strict[word] = _strict(schema[word])
    if "properties" in schema:
        strict["properties"] = {name: _strict(field) for name, field in schema["properties"].items()}
        strict["additionalProperties"] = False
        if set(schema["properties"]) == {"name", "generateName"}:
            del strict["additionalProperties"]
    return strict


def _duplicates(value: Any, schema: Schema, place: str) -> Iterator[Refusal]:
    if isinstance(value, list) and schema.get("x-kubernetes-list-type") in ("set", "map"):
        keys = schema.get("x-kubernetes-list-map-keys")
        seen: list[Any] = []
        for index, item in enumerate(value):
            key = [item.get(name) for name in keys] if keys and isinstance(item, Mapping) else item
            if key in seen:
                yield Refusal(f"{place}[{index}]".removeprefix("."), f"Duplicate value: {key}")
            seen.append(key)
    for name, inner, field in _children(value, schema):
        yield from _duplicates(inner, field, place + name)


def _place(error: ValidationError) -> str:
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path]
    return "".join(steps).removeprefix(".")
