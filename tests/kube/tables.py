"""The forms of an answer: objects as they are, their metadata alone, or a table for `kubectl get`."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tests.kube import columns
from tests.kube.calls import Call
from tests.kube.resources import Manifest, Resource
from tests.kube.table import Entry

_META = "meta.k8s.io/v1"
_encode = msgspec.json.Encoder().encode


def form(call: Call) -> Callable[[Entry], bytes]:
    """How one object is written for this client."""
    resource = call.resource
    if "as=Table" in call.accept:
        return lambda entry: _encode(_table(resource, [entry], {}, _include(call)))
    if "as=PartialObjectMetadata" in call.accept:
        return lambda entry: _encode(_partial(entry))
    return lambda entry: entry.json


def rendered(call: Call, entries: list[Entry], metadata: Mapping[str, Any]) -> bytes:
    """How a list is written for this client."""
    resource = call.resource
    if "as=Table" in call.accept:
        return _encode(_table(resource, entries, metadata, _include(call)))
    if "as=PartialObjectMetadata" in call.accept:
        items = [_partial(entry) for entry in entries]
        return _encode(
            {"kind": "PartialObjectMetadataList", "apiVersion": _META, "metadata": dict(metadata), "items": items}
        )
    head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": dict(metadata)}
    return _encode(head)[:-1] + b',"items":[' + b",".join(entry.json for entry in entries) + b"]}"


def _partial(entry: Entry) -> Manifest:
    return {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": entry.manifest["metadata"]}


def _table(resource: Resource, entries: list[Entry], metadata: Mapping[str, Any], include: str) -> Manifest:
    found = columns.columns(resource)
    rows = [
        {
            "cells": [column.cell(entry.manifest) for column in found],
            **({"object": _partial(entry)} if include == "Metadata" else {}),
            **({"object": entry.manifest} if include == "Object" else {}),
        }
        for entry in entries
    ]
    heads = [column.definition() for column in found]
    listed = dict(metadata) or {"resourceVersion": entries[0].manifest["metadata"]["resourceVersion"]}
    return {"kind": "Table", "apiVersion": _META, "metadata": listed, "columnDefinitions": heads, "rows": rows}


def _include(call: Call) -> str:
    return call.query.get("includeObject", "Metadata")
