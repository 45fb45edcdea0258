"""Types of single fields: what they hold, within which bounds, and their schemas in the CRD."""

from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, Strict, WithJsonSchema
from pydantic_core import PydanticCustomError

from fairlead_serve import shapes


def _usable_path(uri: str) -> str:
    if ".." in uri.split("/"):
        raise PydanticCustomError("path", 'a path must not contain ".."')
    if uri.startswith("hf://") and (".." in uri or "--" in uri):
        raise PydanticCustomError("path", 'the Hub allows no repository with ".." or "--" in its name')
    return uri


def _quantity(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _map_schema(most: int, **value: Any) -> dict[str, Any]:
    """Schema of a map. Said outright, because the API server knows neither `patternProperties` nor `propertyNames`."""
    return {"type": "object", "additionalProperties": value, "maxProperties": most}


_OPAQUE_SCHEMA: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_ANY_SCHEMA: dict[str, Any] = {"nullable": True, "x-kubernetes-preserve-unknown-fields": True}
_QUANTITY_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "pattern": shapes.QUANTITY.pattern,
    "maxLength": 32,
    "minimum": 0,
    "x-kubernetes-int-or-string": True,
}

# How server-side apply merges: entries of a map by their key, of a set by their value; atomic is replaced as a whole.
MAP_BY_NAME: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
MAP_BY_TYPE: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}
ATOMIC: dict[str, Any] = {"x-kubernetes-map-type": "atomic"}


T = TypeVar("T")
# Strict would refuse a list where a tuple is declared, and files hold lists.
Several = Annotated[tuple[T, ...], Strict(strict=False)]

ObjectName = Annotated[str, Field(pattern=shapes.OBJECT_NAME.pattern, max_length=253)]
OptionalObjectName = Annotated[str, Field(pattern=shapes.OPTIONAL_OBJECT_NAME.pattern, max_length=253)]
DataKey = Annotated[str, Field(pattern=shapes.DATA_KEY.pattern, max_length=253)]
ServedName = Annotated[str, Field(pattern=shapes.SERVED_NAME.pattern, max_length=128)]
WeightsUri = Annotated[str, Field(pattern=shapes.WEIGHTS.pattern, max_length=1024), AfterValidator(_usable_path)]
AdapterUri = Annotated[
    str, Field(pattern=shapes.ADAPTER_WEIGHTS.pattern, max_length=1024), AfterValidator(_usable_path)
]
LabelKey = Annotated[str, Field(pattern=shapes.QUALIFIED_NAME.pattern, max_length=317)]
LabelValue = Annotated[str, Field(pattern=shapes.LABEL_VALUE.pattern, max_length=63)]
Quantity = Annotated[
    str,
    BeforeValidator(_quantity),
    Field(pattern=shapes.QUANTITY.pattern, max_length=32),
    WithJsonSchema(_QUANTITY_SCHEMA),
]
"""A Kubernetes quantity; always text in Python."""
Seconds = Annotated[int, Field(ge=0, le=604_800)]
"""Up to a week."""
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""Up to what every JSON reader holds exactly."""
Opaque = Annotated[dict[str, JsonValue], WithJsonSchema(_OPAQUE_SCHEMA)]
"""An object of the Kubernetes API, passed on as it is."""
Labels = Annotated[
    dict[LabelKey, LabelValue],
    Field(max_length=256),
    WithJsonSchema(_map_schema(256, type="string", pattern=shapes.LABEL_VALUE.pattern, maxLength=63)),
]
Annotations = Annotated[
    dict[LabelKey, Annotated[str, Field(max_length=262_144)]],
    Field(max_length=256),
    WithJsonSchema(_map_schema(256, type="string", maxLength=262_144)),
]
Quantities = Annotated[
    dict[LabelKey, Quantity],
    Field(max_length=32),
    WithJsonSchema(_map_schema(32, **_QUANTITY_SCHEMA)),
]
EngineArgs = Annotated[
    dict[Annotated[str, Field(max_length=64)], JsonValue],
    Field(max_length=128),
    WithJsonSchema(_map_schema(128, **_ANY_SCHEMA)),
]
