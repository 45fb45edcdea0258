"""From what a client sent to what the server understood of it: fields it declares, in the form it gives them back."""

from typing import Any

from tests.kube.errors import BadRequest
from tests.kube.resources import Manifest, Resource
from tests.kube.shapes import Shape

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_WORDS = {dict: "object", list: "array", str: "string", int: "number", float: "number", bool: "bool"}
# Fields whose Go type is no pointer: the server does not give back a false or empty one (`omitempty`).
_OMITTED_EMPTY = frozenset(
    {"hostNetwork", "hostPID", "hostIPC", "stdin", "stdinOnce", "tty", "publishNotReadyAddresses", "paused", "value"}
)


def decoded(manifest: Manifest, resource: Resource, unknown: list[str]) -> Manifest:
    """A new object with the declared fields of `manifest`; the places of all others are added to `unknown`.

    Raises BadRequest where a value has another type than a field of a built-in kind.
    """
    decoder = _Decoder(resource, unknown)
    result = {name: value for name, value in manifest.items() if name in ("apiVersion", "kind")}
    for name, value in manifest.items():
        shape = resource.shape.fields.get(name)
        if shape is None and resource.shape.open:
            result[name] = value
        elif shape is None:
            unknown.append(name)
        elif name not in result and value is not None:
            result[name] = decoder.value(value, shape, name)
    return result


class _Decoder:
    def __init__(self, resource: Resource, unknown: list[str]) -> None:
        self._resource = resource
        self._unknown = unknown

    def value(self, value: Any, shape: Shape, place: str) -> Any:
        if shape.custom:
            return self._custom(value, shape, place)
        if shape.kind:
            self._check(value, shape, place)
        if isinstance(value, dict):
            return dict(value) if shape.open else self._object(value, shape, place)
        if isinstance(value, list) and shape.items is not None:
            return [self.value(item, shape.items, f"{place}[{index}]") for index, item in enumerate(value)]
        return value

    def _object(self, value: dict[str, Any], shape: Shape, place: str) -> dict[str, Any]:
        result = {}
        for name, inner in value.items():
            field = shape.at(name)
            if field is None:
                self._unknown.append(f"{place}.{name}")
            elif inner is not None and not _omitted(name, inner, field):
                result[name] = self.value(inner, field, f"{place}.{name}")
        return result

    def _custom(self, value: Any, shape: Shape, place: str) -> Any:
        if isinstance(value, list) and shape.items is not None:
            return [self._custom(item, shape.items, f"{place}[{index}]") for index, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        result = {}
        for name, inner in value.items():
            field = shape.at(name)
            if field is not None:
                result[name] = self._custom(inner, field, f"{place}.{name}")
            elif shape.open:
                result[name] = inner
            else:
                self._unknown.append(f"{place}.{name}")
        return result

    def _check(self, value: Any, shape: Shape, place: str) -> None:
        fits = isinstance(value, _TYPES[shape.kind]) and (shape.kind == "boolean" or not isinstance(value, bool))
        if not fits:
            kind, version = self._resource.kind, self._resource.version
            raise BadRequest(
                f'{kind} in version "{version}" cannot be handled as a {kind}: json: cannot unmarshal '
                f"{_WORDS[type(value)]} into Go struct field {kind}.{place} of type {shape.kind}"
            )


def _omitted(name: str, value: Any, shape: Shape) -> bool:
    if value in ([], {}):
        # A map; a struct without fields, such as the subresource `status` of a definition, stays.
        return isinstance(value, list) or (shape.kind == "object" and "additionalProperties" in shape.schema)
    return name in _OMITTED_EMPTY and value in (False, "")
