"""The OpenAPI v3 documents, one for each group and version: for `kubectl explain` and for its client-side apply."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import msgspec

from tests.kube.resources import Manifest, Resource
from tests.kube.shapes import OBJECT_META, definitions

_OURS, _THEIRS = "#/$defs/", "#/components/schemas/"
_PARAMETERS = [
    {"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
    for name in ("dryRun", "fieldManager", "fieldValidation", "pretty")
]
_METHODS = {"get": "get", "put": "put", "patch": "patch", "delete": "delete"}


def document(resources: list[Resource], path: str) -> Manifest | bytes | None:
    """The index for an empty path, else the document of `api/v1` or `apis/<group>/<version>`; None for any other."""
    found: dict[str, list[Resource]] = {}
    for resource in resources:
        found.setdefault(f"apis/{resource.api_version}" if resource.group else "api/v1", []).append(resource)
    if not path:
        return {"paths": {name: {"serverRelativeURL": _address(name, group)} for name, group in found.items()}}
    if path not in found:
        return None
    if any(resource.custom for resource in found[path]):
        return msgspec.json.encode(_document(found[path]))
    return _built_in(tuple(found[path]))


def _address(name: str, resources: list[Resource]) -> str:
    """Where the document is; kubectl keeps one as long as its address is the same."""
    schemas = [resource.custom for resource in resources]
    return f"/openapi/v3/{name}?hash={hashlib.sha256(msgspec.json.encode(schemas)).hexdigest()[:32].upper()}"


@cache
def _built_in(resources: tuple[Resource, ...]) -> bytes:
    return msgspec.json.encode(_document(list(resources)))


def _document(resources: list[Resource]) -> Manifest:
    schemas: Manifest = {}
    paths: Manifest = {}
    for resource in resources:
        name, schema = _schema_of(resource)
        schemas[name] = {**schema, "x-kubernetes-group-version-kind": [_kind(resource)]}
        paths.update(_paths(resource, name))
    for name in [one for schema in list(schemas.values()) for one in _references(schema)]:
        _collect(name, schemas)
    info = {"title": "Kubernetes", "version": "v1.32.5"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _schema_of(resource: Resource) -> tuple[str, Manifest]:
    if resource.custom is None:
        return resource.shape.name, _translated(definitions()[resource.shape.name])
    reversed_group = ".".join(reversed(resource.group.split(".")))
    schema = resource.custom.get("schema", {}).get("openAPIV3Schema", {"type": "object"})
    metadata = {"allOf": [{"$ref": _THEIRS + OBJECT_META}], "description": "Standard object's metadata."}
    properties = {**schema.get("properties", {}), "metadata": metadata}
    return f"{reversed_group}.{resource.version}.{resource.kind}", {**schema, "properties": properties}


def _kind(resource: Resource) -> dict[str, str]:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _paths(resource: Resource, schema: str) -> Manifest:
    root = f"/apis/{resource.api_version}" if resource.group else "/api/v1"
    place = f"{root}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{root}/{resource.plural}"
    answer = {"200": {"description": "OK", "content": {"application/json": {"schema": {"$ref": _THEIRS + schema}}}}}
    shared = {"x-kubernetes-group-version-kind": _kind(resource), "responses": answer, "parameters": _PARAMETERS}
    return {
        place: {
            "get": {**shared, "x-kubernetes-action": "list"},
            "post": {**shared, "x-kubernetes-action": "post"},
        },
        f"{place}/{{name}}": {method: {**shared, "x-kubernetes-action": action} for method, action in _METHODS.items()},
    }


def _translated(schema: Any) -> Any:
    """A schema of the package's document in the form of OpenAPI v3."""
    if isinstance(schema, list):
        return [_translated(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    if isinstance(reference := schema.get("$ref"), str):
        described = {"description": schema["description"]} if "description" in schema else {}
        return {"allOf": [{"$ref": reference.replace(_OURS, _THEIRS)}], "default": {}, **described}
    result = {}
    for word, value in schema.items():
        if word == "properties":
            result[word] = {name: _translated(one) for name, one in value.items()}
        elif word == "type" and isinstance(value, list):
            result[word] = next(one for one in value if one != "null")
        elif word not in ("enum", "x-kubernetes-group-version-kind"):
            result[word] = _translated(value)
    return result


def _collect(name: str, schemas: Manifest) -> None:
    if name not in schemas:
        schemas[name] = _translated(definitions()[name])
        for inner in list(_references(schemas[name])):
            _collect(inner, schemas)


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for one in schema:
            yield from _references(one)
    elif isinstance(schema, Mapping):
        reference = schema.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix(_THEIRS)
        for one in schema.values():
            yield from _references(one)
