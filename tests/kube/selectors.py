"""Which objects a request is about: label selectors and field selectors."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.kube.errors import BadRequest
from tests.kube.resources import Manifest, Resource

Test = Callable[[Mapping[str, str]], bool]

_SET = re.compile(r"(?P<key>\S+)\s+(?P<word>in|notin)\s+\((?P<values>[^)]*)\)")
_PAIR = re.compile(r"(?P<key>[^\s=!]+)\s*(?P<sign>==|=|!=)\s*(?P<value>\S*)")
_BARE = re.compile(r"(?P<no>!?)\s*(?P<key>[^\s=!()]+)")
_COMMA = re.compile(r",(?![^()]*\))")


@dataclass(frozen=True)
class Selector:
    """What labels and fields have to be."""

    labels: tuple[Test, ...] = ()
    fields: tuple[tuple[tuple[str, ...], bool, str], ...] = ()
    pair: tuple[str, str] | None = field(default=None)
    """One label with its value, where one is asked for: what an index finds."""

    def matches(self, manifest: Manifest) -> bool:
        labels = manifest["metadata"].get("labels") or {}
        return all(test(labels) for test in self.labels) and all(
            (_at(manifest, path) == value) is wanted for path, wanted, value in self.fields
        )


def selector(resource: Resource, labels: str, fields: str) -> Selector:
    """The selector of a request's parameters `labelSelector` and `fieldSelector`. Raises BadRequest."""
    terms = [term.strip() for term in _COMMA.split(labels) if term.strip()]
    pairs = [match for term in terms if (match := _PAIR.fullmatch(term)) and match["sign"] != "!="]
    return Selector(
        tuple(_label(term) for term in terms),
        tuple(_field(resource, term.strip()) for term in fields.split(",") if term.strip()),
        (pairs[0]["key"], pairs[0]["value"]) if pairs else None,
    )


def of_object(wanted: Mapping[str, Any]) -> Selector:
    """The selector of a field like `spec.selector`: matchLabels and matchExpressions."""
    terms = [f"{key}={value}" for key, value in (wanted.get("matchLabels") or {}).items()]
    for expression in wanted.get("matchExpressions") or ():
        key, values = expression["key"], ",".join(expression.get("values", ()))
        terms.append(
            {"Exists": key, "DoesNotExist": f"!{key}", "In": f"{key} in ({values})"}.get(
                expression["operator"], f"{key} notin ({values})"
            )
        )
    return Selector(tuple(_label(term) for term in terms))


def _label(term: str) -> Test:
    if match := _SET.fullmatch(term):
        key, values = match["key"], {value.strip() for value in match["values"].split(",")}
        if match["word"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if match := _PAIR.fullmatch(term):
        key, value = match["key"], match["value"]
        if match["sign"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if match := _BARE.fullmatch(term):
        key, absent = match["key"], bool(match["no"])
        return lambda labels: (key in labels) is not absent
    raise BadRequest(f"unable to parse requirement: {term}")


def _field(resource: Resource, term: str) -> tuple[tuple[str, ...], bool, str]:
    match = _PAIR.fullmatch(term)
    if match is None:
        raise BadRequest(f"invalid selector: '{term}'; can't understand '{term}'")
    if resource.custom is not None and match["key"] not in ("metadata.name", "metadata.namespace"):
        raise BadRequest(f"field label not supported: {match['key']}")
    return tuple(match["key"].split(".")), match["sign"] != "!=", match["value"]


def _at(manifest: Manifest, path: tuple[str, ...]) -> str:
    value: Any = manifest
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
