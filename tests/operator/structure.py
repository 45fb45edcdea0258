"""What an API server demands of the schema in a CRD, beyond its being a JSON schema.

The checks are those of ValidateStructural (apiextensions-apiserver/pkg/apiserver/schema/validation.go) and of
ValidateCustomResourceDefinitionOpenAPISchema (pkg/apis/apiextensions/validation/validation.go), as far as they can
concern a schema without `allOf`, `oneOf` and `not`, which is itself checked.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import re2

Schema = Mapping[str, Any]

_TYPES = {"string", "integer", "number", "boolean", "object", "array"}
_WORDS = {
    "type", "description", "default", "nullable", "enum", "format", "pattern", "minLength", "maxLength", "minimum",
    "maximum", "minItems", "maxItems", "minProperties", "maxProperties", "anyOf", "required", "properties",
    "additionalProperties", "items", "x-kubernetes-validations", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
}  # fmt: skip
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_REASONS = {"FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate"}


def schemas(schema: Schema, place: str = "") -> Iterator[tuple[str, Schema]]:
    """A schema and all in it, by place."""
    yield place, schema
    for name, field in schema.get("properties", {}).items():
        yield from schemas(field, f"{place}.{name}")
    for word in ("items", "additionalProperties"):
        if word in schema:
            yield from schemas(schema[word], f"{place}[]")


def offences(schema: Schema, place: str = "") -> Iterator[str]:
    """What the API server would say against a schema; `place` is empty at the root."""
    yield from (f"{place}: {sentence}" for sentence in _of_one(schema, at_root=not place))
    for name, field in schema.get("properties", {}).items():
        yield from _metadata(field) if (place, name) == ("", "metadata") else offences(field, f"{place}.{name}")
    for word, step in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(word), Mapping):
            yield from offences(schema[word], place + step)


def _of_one(schema: Schema, *, at_root: bool) -> Iterator[str]:
    yield from (f"{word} is not known" for word in schema.keys() - _WORDS)
    if at_root and (schema.get("type") != "object" or {"nullable", "additionalProperties", "default"} & schema.keys()):
        yield "the root must be a plain object"
    yield from _type(schema)
    if "pattern" in schema:
        re2.compile(schema["pattern"])
    if schema.keys() >= {"properties", "additionalProperties"}:
        yield "properties and additionalProperties exclude each other"
    yield from (
        f"{word} must be a schema" for word in ("items", "additionalProperties") if schema.get(word, {}) is False
    )
    missing = set(schema.get("required", ())) - schema.get("properties", {}).keys()
    if missing:
        yield f"requires {missing}, which are not specified"
    yield from _list_type(schema)
    if schema.get("x-kubernetes-map-type") and schema.get("type") != "object":
        yield "only objects have a map type"
    for rule in schema.get("x-kubernetes-validations", ()):
        yield from _rule(rule, schema)


def _type(schema: Schema) -> Iterator[str]:
    if schema.get("x-kubernetes-int-or-string"):
        if "type" in schema or schema.get("anyOf", _INT_OR_STRING) != _INT_OR_STRING:
            yield "an int-or-string has no type"
    elif "anyOf" in schema:
        yield "anyOf is for int-or-string"
    elif "type" not in schema:
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            yield "type is missing"
    elif schema["type"] not in _TYPES:
        yield f"there is no type {schema['type']}"
    if schema.get("type") == "array" and "items" not in schema:
        yield "items are missing"


def _list_type(schema: Schema) -> Iterator[str]:
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys", [])
    if kind is None and not keys:
        return
    items = schema.get("items", {})
    if schema.get("type") != "array" or kind not in ("atomic", "set", "map") or items.get("nullable"):
        yield "a list type is for lists of values"
    if kind == "set" and items.get("type") in ("object", "array"):
        yield "the items of a set are scalars"
    if (kind == "map") != bool(keys) or set(keys) - set(items.get("required", ())):
        yield "a list of type map has required keys"


def _rule(rule: Schema, schema: Schema) -> Iterator[str]:
    if rule.keys() - {"rule", "message", "fieldPath", "reason"} or "\n" in rule["message"] or not rule["rule"].strip():
        yield f"not a rule: {rule}"
    if rule.get("reason", "FieldValueInvalid") not in _REASONS:
        yield f"there is no reason {rule['reason']}"
    path = rule.get("fieldPath", "")
    for step in path.removeprefix(".").split(".") if path else ():
        schema = schema.get("properties", {}).get(step)
        if not path.startswith(".") or schema is None:
            yield f"{path} leads nowhere"
            return


def _metadata(schema: Schema) -> Iterator[str]:
    if schema.keys() - {"type", "properties"} or schema.get("properties", {}).keys() - {"name", "generateName"}:
        yield "metadata: only name and generateName may be restricted"
