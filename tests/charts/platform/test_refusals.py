"""What the chart refuses, and how it says so."""

import json
import re
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
import yaml

from tests.charts.platform.release import ANONYMOUS, CHART, LARGE, merged, release

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


def refusal(values: dict[str, Any], *, name: str = "fairlead") -> str:
    with pytest.raises((helm_python.HelmRenderError, helm_python.HelmValuesError)) as raised:
        release(values, name=name)
    return str(raised.value)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "gateway.keys.existingSecret: missing; make a key (fairlead key create me --file keys.yaml) and a Secret"),
        (merged(LARGE, ANONYMOUS), "gateway: keys and allowAnonymous exclude each other; leave one out"),
        (merged(LARGE, {"namespaces": ["a"]}), "namespaces: scope cluster is for all of them; remove it, or set scope"),
        (
            merged(ANONYMOUS, {"gateway": {"replicas": 2}}),
            "gateway.replicas: more than one need a database that they share; name a Secret in gateway.database.exis",
        ),
        (
            merged(ANONYMOUS, {"gateway": {"env": [{"name": "FAIRLEAD_PORT", "value": "1"}]}}),
            "gateway.env: FAIRLEAD_PORT is a setting; write it under gateway.settings, or name a Secret where there",
        ),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_a_combination_that_cannot_work_is_refused_in_a_sentence(values: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal(values)


def test_a_name_that_no_service_may_have_is_refused() -> None:
    assert "the name of the release names a Service too" in refusal(ANONYMOUS, name="7b")


def objects(schema: dict[str, Any], place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every object of the schema that has fields of its own, and its place."""
    schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if "properties" in schema:
        yield place, schema
    for name, field in schema.get("properties", {}).items():
        yield from objects(field, (*place, name))


PLACES = [place for place, _ in objects(SCHEMA) if place != ("global",)]


def test_the_places_of_the_schema_were_found() -> None:
    assert {(), ("gateway", "image"), ("gateway", "settings", "times"), ("operator", "settings", "ray", "head")} <= set(
        PLACES
    )


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_a_key_that_the_chart_does_not_have_is_refused_wherever_it_stands(place: tuple[str, ...]) -> None:
    change: dict[str, Any] = {"madeUp": 1}
    for key in reversed(place):
        change = {key: change}
    assert "madeUp" in refusal(merged(ANONYMOUS, change))


@pytest.mark.parametrize(
    "change",
    [
        {"scope": "node"},
        {"namespaces": ["Not a name"]},
        {"namespaces": ["a", "a"]},
        {"operator": {"replicas": 0}},
        {"operator": {"settings": {"runAsUser": 0}}},
        {"operator": {"settings": {"internalToken": {"name": "a", "key": "b"}}}},
        {"gateway": {"settings": {"keyFile": "/keys"}}},
        {"gateway": {"settings": {"times": {"drainSeconds": -1}}}},
        {"gateway": {"image": {"digest": "latest"}}},
        {"gateway": {"service": {"port": 0}}},
        {"gateway": {"keys": {"key": "../keys"}}},
        {"gateway": {"networkPolicy": {"clients": [{}]}}},
    ],
    ids=str,
)
def test_a_value_of_the_wrong_form_is_refused(change: dict[str, Any]) -> None:
    assert next(iter(change)) in refusal(merged(ANONYMOUS, change))


def test_every_value_is_described_and_has_a_default() -> None:
    with helm_python.Chart.load(CHART) as chart:
        defaults = chart.values
    for place, schema in objects(SCHEMA):
        assert not [name for name, field in schema["properties"].items() if "$ref" not in field and _silent(field)]
        if "settings" in place or place == ("global",):
            continue
        found: Any = defaults
        for key in place:
            found = found[key]
        assert set(schema["properties"]) - {"global"} == set(found), place


def names(values: dict[str, Any]) -> Iterator[str]:
    """The keys of values and of what is in them; resources go to a pod as a whole."""
    for name, value in values.items():
        yield name
        if isinstance(value, dict) and name != "resources":
            yield from names(value)


def test_every_value_is_used() -> None:
    templates = "".join(path.read_text(encoding="utf-8") for path in (CHART / "templates").rglob("*.*"))
    with helm_python.Chart.load(CHART) as chart:
        assert not [name for name in names(chart.values) if not re.search(rf"\.{name}\b", templates)]


def test_the_values_that_the_readme_shows_work() -> None:
    shown = re.findall(r"```yaml\n(.*?)```", (CHART / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert [release(yaml.safe_load(text)).manifests for text in shown]


def _silent(field: dict[str, Any]) -> bool:
    return not field.get("description")
