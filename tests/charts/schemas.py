"""What the API server accepts, from the schemas of Kubernetes and of the custom kinds."""

import json
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from fairlead_operator.render import Manifest
from tests.charts.workload import ROOT

KUBERNETES = "1.34"
CRDS = ROOT.parent / "shared/crds"


def check(manifest: Manifest) -> None:
    """Raise jsonschema's ValidationError for what the API server would refuse or drop as unknown.

    Skips the test where the schemas of custom kinds are not at hand.
    """
    group, _, version = manifest["apiVersion"].rpartition("/")
    if group in ("ray.io", "monitoring.coreos.com"):
        _validator(f"{group}_{version}_{manifest['kind']}.json").validate(manifest)
    else:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@cache
def _validator(name: str) -> Any:
    file = CRDS / name
    if not file.exists():
        pytest.skip(f"the schema {name} of a custom kind is not in {CRDS}")
    return jsonschema.Draft7Validator(_strict(json.loads(file.read_text(encoding="utf-8"))))


def _strict(schema: Any) -> Any:
    """The same schema, which refuses fields that it does not name."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        strict.setdefault("additionalProperties", False)
    return strict
