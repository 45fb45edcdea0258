"""Structural schemas: what the API server's OpenAPI v3 can say of pydantic types.

A structural schema has no references, no `null`, and one type for every value; see "Specifying a structural schema" in
the Kubernetes documentation of custom resources. No I/O.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead_operator.cel_rules import Rule
from fairlead_serve.model import Part

Schema = dict[str, Any]

_NULL = {"type": "null"}
# In the order in which a reader wants them.
_WORDS = (
    "type",
    "description",
    "default",
    "nullable",
    "enum",
    "format",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "anyOf",
    "required",
    "properties",
    "additionalProperties",
    "items",
)


def structural_schema(part: type[Part], rules: Mapping[type[Part], Sequence[Rule]], *, defaults: bool = True) -> Schema:
    """The schema of `part` with everything in it, and the `rules` of each part where the part stands.

    Left out are defaults that say nothing: an absent text, list or map is an empty one. So a stored object holds the
    numbers that its engine runs with, and no rows of empty fields. Without `defaults` there are none.
    Raises ValueError for what a structural schema cannot say.
    """
    schema = part.model_json_schema(by_alias=True)
    named = {one.__name__: [rule.extension() for rule in several] for one, several in rules.items()}
    return _Inliner(schema.get("$defs", {}), named, defaults=defaults).part(part.__name__, schema)


class _Inliner:
    """Puts definitions where they are referred to."""

    def __init__(
        self, definitions: Mapping[str, Schema], rules: Mapping[str, Sequence[Schema]], *, defaults: bool
    ) -> None:
        self._definitions = definitions
        self._rules = rules
        self._defaults = defaults

    def part(self, name: str, schema: Schema) -> Schema:
        rules = {"x-kubernetes-validations": list(self._rules[name])} if name in self._rules else {}
        return self._converted({**schema, **rules})

    def _field(self, schema: Schema, *, fills_itself: bool = False) -> Schema:
        """`fills_itself`: the field need not be given, and is then made of the defaults of its own fields."""
        schema, nullable = _without_null(schema)
        reference = schema.pop("$ref", "").rpartition("/")[2]
        if not reference:
            return self._converted(schema)
        # What the field says of itself goes before what its part says.
        schema = {**self._definitions[reference], **schema}
        if fills_itself and not nullable and "required" not in schema:
            # The API server checks a default as it stands, before the defaults within it are filled in.
            schema["default"] = _defaults(self.part(reference, schema))
        return self.part(reference, schema)

    def _converted(self, schema: Schema) -> Schema:
        said = {word: value for word, value in schema.items() if not self._needless(word, value)}
        unknown = [word for word in said if word not in _WORDS and not word.startswith("x-kubernetes-")]
        if unknown:
            raise ValueError(f"a structural schema has no {unknown[0]}")
        extensions = sorted(said.keys() - set(_WORDS))
        return {word: self._value(word, said) for word in (*_WORDS, *extensions) if word in said}

    def _needless(self, word: str, value: Any) -> bool:
        # Fields that a part does not have are refused, or dropped, without being told.
        if word in ("title", "$defs") or (word == "additionalProperties" and value is False):
            return True
        return word == "default" and (not self._defaults or value in (None, "", [], {}))

    def _value(self, word: str, schema: Schema) -> Any:
        value = schema[word]
        if word == "properties":
            optional = value.keys() - set(schema.get("required", ()))
            return {name: self._field(field, fills_itself=name in optional) for name, field in value.items()}
        return self._field(value) if word in ("items", "additionalProperties") else value


def _without_null(schema: Schema) -> tuple[Schema, bool]:
    """The schema without the alternative `null`, and whether it had one."""
    options = schema.get("anyOf", [])
    if _NULL not in options:
        return dict(schema), False
    (option,) = (option for option in options if option != _NULL)
    return {**option, **{word: value for word, value in schema.items() if word != "anyOf"}}, True


def _defaults(schema: Schema) -> Schema:
    return {name: field["default"] for name, field in schema.get("properties", {}).items() if "default" in field}
