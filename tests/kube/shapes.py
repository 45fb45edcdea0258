"""What a field may hold, and how it merges: one view of built-in types and of custom resources.

Built-in types come from the OpenAPI document of Kubernetes that the package kubernetes-validate carries; custom ones
from their CustomResourceDefinition.
"""

import json
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import kubernetes_validate

Schema = Mapping[str, Any]

_RELEASE = "v1.32.0"
_PREFIX = "#/$defs/"
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
# The OpenAPI document here leaves out defaults; this one decides the key of a port.
_KEY_DEFAULTS = {"protocol": "TCP"}


@cache
def definitions() -> dict[str, Any]:
    """Every type of Kubernetes by its name in OpenAPI."""
    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"{_RELEASE}-local"
    document: dict[str, Any] = json.loads((folder / "_definitions.json").read_text(encoding="utf-8"))
    return dict(document["$defs"])


@cache
def built_in(definition: str) -> "Shape":
    """The shape of a type of Kubernetes by its name in OpenAPI. Shared, so that its parts are looked up once."""
    return Shape(definitions()[definition], name=definition)


def custom(schema: Schema) -> "Shape":
    """The shape of a custom resource by its structural schema; its metadata is that of every object."""
    shape = Shape(schema, custom=True)
    shape.fields["metadata"] = built_in(OBJECT_META)
    for name in ("apiVersion", "kind"):
        shape.fields.setdefault(name, Shape({"type": "string"}))
    return shape


class Shape:
    """One place in a type."""

    def __init__(self, schema: Schema, *, name: str = "", custom: bool = False) -> None:
        self.schema = schema
        self.name = name
        self.custom = custom
        kinds = schema.get("type", "")
        self.kind: str = next((kind for kind in kinds if kind != "null"), "") if isinstance(kinds, list) else kinds
        self.list_type: str = schema.get("x-kubernetes-list-type", "atomic") if self.kind == "array" else ""
        self.keys: tuple[str, ...] = tuple(schema.get("x-kubernetes-list-map-keys", ()))
        self.merge_key: str = schema.get("x-kubernetes-patch-merge-key", "")
        # Of strategic merge patches: merge, replace, retainKeys.
        self.strategy: str = schema.get("x-kubernetes-patch-strategy", "")

    @property
    def open(self) -> bool:
        """Whether fields that are not declared are kept."""
        if self.custom:
            return bool(self.schema.get("x-kubernetes-preserve-unknown-fields"))
        return self.kind in ("", "object") and self.opaque

    @cached_property
    def fields(self) -> dict[str, "Shape"]:
        """The fields by name; empty for maps, and for objects of which nothing is known."""
        return {name: self._part(schema) for name, schema in self.schema.get("properties", {}).items()}

    @cached_property
    def items(self) -> "Shape | None":
        """What is in the list, or behind every key of the map."""
        schema = self.schema.get("items" if self.kind == "array" else "additionalProperties")
        return self._part(schema) if isinstance(schema, Mapping) else None

    @cached_property
    def atomic(self) -> bool:
        """Whether one writer owns all of it: it is replaced, never merged."""
        if self.schema.get("x-kubernetes-map-type") == "atomic":
            return True
        if self.kind == "array":
            return self.list_type == "atomic"
        return self.kind == "object" and self.opaque and not self.custom

    @property
    def opaque(self) -> bool:
        """An object of which nothing is known."""
        return not self.schema.get("properties") and self.items is None

    def at(self, name: str) -> "Shape | None":
        """The shape behind a field or key, None for one that is not declared."""
        return self.fields.get(name) or (self.items if self.kind == "object" else None)

    def key_of(self, item: Any) -> tuple[Any, ...]:
        """What tells `item` from the others of a keyed list."""
        return tuple(item.get(key, _KEY_DEFAULTS.get(key)) for key in self.keys)

    def _part(self, schema: Schema) -> "Shape":
        reference = schema.get("$ref", "")
        if reference:
            return built_in(reference.removeprefix(_PREFIX))
        return Shape(schema, custom=self.custom)
