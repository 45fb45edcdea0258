"""What a CustomResourceDefinition does to its objects before they are stored: defaults, schema and rules.

The order, and that no rule is asked about an object of wrong types, are those of apiextensions-apiserver
(pkg/registry/customresource/strategy.go).
"""

import copy
from typing import Any

from tests.kube.errors import Cause
from tests.kube.rules import Rules
from tests.kube.shapes import Schema
from tests.kube.validation import BLOCKING, MISSING, causes, children


class Judge:
    """Fills and judges the objects of one kind."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._rules = Rules()

    def fill(self, value: Any) -> None:
        """Put in the defaults, in place."""
        _fill(value, self._schema)

    def causes(self, value: Any, old: Any = MISSING) -> list[Cause]:
        """Everything against an object with its defaults; `old` is its state before."""
        found = list(causes(value, self._schema, "", old))
        if not any(cause.reason in BLOCKING for cause in found):
            found += self._rules.broken(value, self._schema, "", old)
        return found


def _fill(value: Any, schema: Schema) -> None:
    if isinstance(value, dict):
        for name, field in schema.get("properties", {}).items():
            if value.get(name, MISSING) is None and "default" in field and not field.get("nullable"):
                del value[name]
            if "default" in field and name not in value:
                value[name] = copy.deepcopy(field["default"])
    for _, inner, field in children(value, schema):
        _fill(inner, field)
