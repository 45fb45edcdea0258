"""What the chart refuses, and how it says so; as somebody meets it who uses the chart by hand."""

import json
from typing import Any

import helm_python
import pytest
import yaml

from fairlead_operator.errors import RenderError
from tests.charts.workload import CHART, by_hand

FILE = "{apiVersion: fairlead.dev/v1alpha1, kind: Model, metadata: {name: m}, spec: {model: {uri: 'hf://a/b'}%s}}"
GPU = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
GOOD: dict[str, Any] = {"model": FILE % "", "image": "registry/engine:1", **GPU}


def refusal(values: dict[str, Any], *, name: str = "m") -> str:
    with pytest.raises(RenderError) as raised:
        by_hand(values, name=name)
    return str(raised.value)


def test_few_values_are_enough() -> None:
    made = by_hand(GOOD)
    assert made["Deployment"]["spec"]["replicas"] == 1
    assert made["NetworkPolicy"]["spec"]["ingress"][1]["from"][0]["podSelector"]["matchLabels"]


def test_the_values_that_the_readme_shows_work() -> None:
    _, shown, *_ = (CHART / "README.md").read_text(encoding="utf-8").split("```")
    made = by_hand(yaml.safe_load(shown.removeprefix("yaml\n")), name="qwen")
    assert {"Deployment", "PersistentVolumeClaim"} <= set(made.kinds)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model": ""}, "model: missing; give the Model file as text, as README.md shows"),
        ({"model": "kind: Pod"}, "model: expected a Model file as text, with apiVersion, kind: Model, metadata"),
        ({"model": "{"}, "model: expected a Model file as text"),
        ({"model": (FILE % "").replace("name: m", "name: x")}, "metadata.name is x and the release is called m"),
        ({"model": FILE % ", replicas: 3"}, "spec.replicas is not the engine's to read; remove it"),
        ({"model": FILE % ", drainTimeoutSeconds: 9"}, "drainTimeoutSeconds: is 120 here and 9 in the Model file"),
        ({"cluster": "KubeRay"}, "cluster: is KubeRay here and Standalone in the Model file; make them equal"),
        ({"image": ""}, "image: missing; name the container image of the engine"),
        ({"rollout": {"maxUnavailable": 0}}, "maxSurge and maxUnavailable are both 0, so no engine could be replaced"),
        (
            {"env": [{"name": "FAIRLEAD_INTERNAL_TOKEN", "value": "x"}]},
            "env: FAIRLEAD_INTERNAL_TOKEN comes from internalToken; remove it",
        ),
        ({"cache": {"claimName": "weights"}}, "cache: claimName is given, but enabled is false; set it to true"),
        ({"ray": {"podsPerEngine": 2}}, "ray: scaling, redis and podsPerEngine are for cluster: KubeRay; leave them"),
        ({"resources": {}}, "the engine computes on GPUs, but limits has none; add nvidia.com/gpu"),
        ({"resources": {"limits": {"nvidia.com/gpu": 2}}}, "GPUs of the engine's pods: 2; of the engine (tensor times"),
        ({"model": FILE % ", engine: {device: cpu}"}, "limits has nvidia.com/gpu, but the engine's device is cpu"),
        (
            {"cluster": "KubeRay", "model": FILE % ", cluster: KubeRay", "replicas": None},
            "replicas: give either replicas or ray.scaling",
        ),
        (
            {
                "cluster": "KubeRay",
                "model": FILE % ", cluster: KubeRay",
                "adapters": [{"name": "a", "uri": "hf://a/b"}],
            },
            "adapters: with cluster: KubeRay they stand in the Model file; move them there",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_combination_that_cannot_work_is_refused_in_a_sentence(change: dict[str, Any], sentence: str) -> None:
    said = refusal({**GOOD, **change})
    assert sentence in said
    assert "\n" not in said


@pytest.mark.parametrize("name", ["a" * 41, "7b"])
def test_the_name_of_the_release_must_be_that_of_a_model(name: str) -> None:
    values = {**GOOD, "model": (FILE % "").replace("name: m", f"name: {name}")}
    assert "the name of the release must be that of a Model" in refusal(values, name=name)


def test_a_part_of_a_gpu_is_as_good_as_one() -> None:
    made = by_hand({**GOOD, "resources": {"limits": {"nvidia.com/mig-3g.20gb": 1}}})
    assert made.container["resources"]["limits"] == {"nvidia.com/mig-3g.20gb": 1}


@pytest.mark.parametrize(
    "place",
    ["", "rollout", "cache", "service", "podMonitor", "networkPolicy", "ray", "ray.redis", "ray.head", "hfToken"],
)
def test_a_key_that_the_chart_does_not_have_is_refused(place: str) -> None:
    change: dict[str, Any] = {"madeUp": 1}
    for key in reversed(place.split(".") if place else []):
        change = {key: change}
    assert "madeUp" in refusal({**GOOD, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"replicas": -1},
        {"replicas": "two"},
        {"cluster": "Slurm"},
        {"runAsUser": 0},
        {"hfToken": {"name": "hf"}},
        {"cache": {"accessModes": []}},
    ],
    ids=str,
)
def test_a_value_of_the_wrong_form_is_refused(change: dict[str, Any]) -> None:
    assert next(iter(change)) in refusal({**GOOD, **change})


def test_every_value_has_a_description_and_a_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    with helm_python.Chart.load(CHART) as chart:
        defaults = chart.values
    assert set(schema["properties"]) - {"global"} == set(defaults)
    assert not list(_without_description(schema, ""))
    assert schema["additionalProperties"] is False


def _without_description(schema: dict[str, Any], place: str) -> list[str]:
    found = []
    for name, field in schema.get("properties", {}).items():
        if not field.get("description"):
            found.append(f"{place}.{name}")
        found += _without_description(field, f"{place}.{name}")
    return found


def test_helm_finds_nothing_to_criticise() -> None:
    # Lint renders a release of this name.
    values = {**GOOD, "model": (FILE % "").replace("name: m", "name: test-release")}
    report = helm_python.lint(CHART, values, strict=True)
    assert [message for message in report["messages"] if "icon is recommended" not in message["error"]] == []
    assert report["errors"] == []


def test_the_notes_say_where_the_engine_answers() -> None:
    with helm_python.Chart.load(CHART) as chart:
        notes = chart.render(GOOD, name="m", namespace="models")["model/templates/NOTES.txt"]
    assert "http://m.models.svc:8000/engines/m/v1" in notes
