"""The rules in the CRD: what they refuse, in which words, that they say what the Model's types say, and their cost."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_operator.cel_rules import RULES
from fairlead_operator.crd import custom_resource_definition, model_schema
from fairlead_serve import shapes
from fairlead_serve.errors import ModelFileError, Problem
from fairlead_serve.model import parse
from tests.operator import cel_cost, samples
from tests.operator.api_server import ApiServer
from tests.operator.samples import BROKEN, GPU, HF, model, upstream
from tests.operator.structure import schemas

SERVER = ApiServer(custom_resource_definition())


def problems(document: dict[str, Any]) -> tuple[Problem, ...]:
    """What the Model's own types say against a document."""
    try:
        parse(document, source="test")
    except ModelFileError as error:
        return error.problems
    return ()


@pytest.mark.parametrize("name", samples.files())
def test_the_samples_are_stored(name: str) -> None:
    assert SERVER.refusals(samples.files()[name]) == []


@pytest.mark.parametrize(("document", "place", "message"), BROKEN, ids=[place for _, place, _ in BROKEN])
def test_a_combination_that_cannot_work_is_refused_at_its_place_in_a_sentence(
    document: dict[str, Any], place: str, message: str
) -> None:
    found = SERVER.refusals(document)
    assert [refusal for refusal in found if refusal.place == place and message in refusal.message], found
    assert problems(document)


def test_every_rule_is_broken_by_a_sample() -> None:
    broken = [(f".{place}", message) for _, place, message in BROKEN]
    for rule in (rule for several in RULES.values() for rule in several):
        assert any(place.endswith(rule.place) and message in rule.message for place, message in broken), rule


@pytest.mark.parametrize(
    "document",
    [
        upstream(),
        upstream(resourceProfile="", priorityClassName="", parallelism={"tensor": 1}, routing={}, limits={}),
        upstream(model={"name": "x", "aliases": ["m"]}, fallback=["other"], suspend=True),
        upstream(upstream={"url": "https://[::1]:65535/v1", "apiKeySecretRef": {"name": "k", "key": "k"}}),
        model(resources={}, resourceProfile=""),
        model(resources={"requests": {GPU: 1}, "limits": {GPU: "1", "cpu": "500m", "memory": 1}}),
        model(resources={"limits": {GPU: 8}}, parallelism={"tensor": 8, "pipeline": 2}, cluster="KubeRay"),
        model(engine={"device": "cpu"}, resources={"limits": {GPU: 0, "cpu": 2}}, parallelism={"tensor": 2}),
        model(cache={"claimName": "mine", "accessModes": ["ReadOnlyMany"]}),
        model(cache={"accessModes": ["ReadWriteOncePod"]}),
        model(scaling={"minReplicas": 2, "maxReplicas": 4}, disruption={"minAvailable": 3}),
        model(replicas=0),
        model("a" * 40, lora={"adapters": [{"name": "a", "uri": "pvc://c/a..b"}]}),
        model(engine={"args": {"tokenizer": None, "hf_overrides": {"a": [None, 1.5]}}, "env": [{"name": "A"}]}),
    ],
)
def test_what_can_work_is_stored(document: dict[str, Any]) -> None:
    assert problems(document) == ()
    assert SERVER.refusals(document) == []


# Parts of a spec, good and bad; what is drawn together makes combinations of all kinds.
PARTS: dict[str, list[Any]] = {
    "model": [
        HF, {}, {"uri": "pvc://claim/m"}, {"uri": "file:///m"}, {"uri": "hf://a/b", "revision": "v2", "name": "x"},
        {"uri": "s3://b/m", "revision": "v2"}, {"uri": "tiny://chat", "aliases": ["m", "sql"]}, {"aliases": ["x", "x"]},
        {"uri": "hf://a/b--c"}, {"uri": "s3://b/../c", "accessSecretRef": {"name": "a", "key": "b"}}, {"uri": "gs://b"},
        {"uri": "file:///m", "accessSecretRef": {"name": "a", "key": "b"}}, {"name": "sql"},
    ],
    "engine": [
        {}, {"device": "cpu"}, {"device": "cpu", "gpuMemoryUtilization": "0.5"}, {"gpuMemoryUtilization": "1"},
        {"env": [{"name": "A", "value": "b"}, {"name": "A"}]}, {"env": [{"name": "VLLM_API_KEY"}]},
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}, {"maxModelLen": 0},
        {"env": [{"name": "A", "value": "", "valueFrom": {}}]}, {"envFrom": [{"secretRef": {"name": "s"}}]},
        {"envFrom": [{"secretRef": {"name": "s"}, "configMapRef": {"name": "c"}}]}, {"args": {"seed": 1}},
    ],
    "resourceProfile": ["", "l4", "-"],
    "resources": [
        {}, *({"limits": {GPU: number}} for number in (0, 1, "1", 2, 8, "500m", -1)), {"requests": {GPU: 1}},
        {"requests": {GPU: "1"}, "limits": {GPU: 1}}, {"requests": {GPU: 1}, "limits": {GPU: 2}},
        {"limits": {"cpu": 4, "memory": "1.5Gi"}}, {"limits": {"a b": 1}},
    ],
    "parallelism": [{}, {"tensor": 2}, {"tensor": 8, "pipeline": 2}, {"tensor": 32}, {"pipeline": 0}],
    "cluster": ["Standalone", "KubeRay", "Ray"],
    "replicas": [0, 1, 3, -1],
    "scaling": [
        {"maxReplicas": 4}, {"minReplicas": 3, "maxReplicas": 2}, {"maxReplicas": 2, "targetOngoingRequests": 300},
        {}, {"maxReplicas": 1, "coldStart": {"maxQueued": 0}},
    ],
    "routing": [{}, {"strategy": "LeastLoad"}],
    "rolloutStrategy": [{}, {"maxSurge": 1}, {"maxUnavailable": 0}, {"maxSurge": 1, "maxUnavailable": 0}],
    "cache": [
        {}, {"accessModes": ["ReadWriteOncePod"]}, {"accessModes": ["ReadOnlyMany"]}, {"accessModes": []},
        {"claimName": "c", "accessModes": ["ReadOnlyMany"]}, {"claimName": "c", "deletionPolicy": "Delete"},
    ],
    "lora": [
        {}, {"maxRank": 33}, *({"adapters": [{"name": name, "uri": "hf://a/b"}]} for name in ("sql", "m", "x")),
        {"adapters": [{"name": "a", "uri": "hf://a/b"}, {"name": "a", "uri": "tiny://chat"}]},
    ],
    "upstream": [
        {"url": url} for url in ("http://h/v1", "https://h:443/v1", "http://u:p@h/v1", "http://h:x/v1", "ftp://h")
    ],
    "fallback": [[], ["a"], ["a", "a"], ["m"], ["A"]],
    "limits": [{}, {"maxOngoing": 8}],
    "startupTimeoutSeconds": [3600, 60],
    "suspend": [True, False],
    "priorityClassName": ["", "high"],
    "disruption": [{}, {"minAvailable": 0}, {"minAvailable": 3}],
    "podTemplate": [
        {"labels": {"a": "b"}}, {"labels": {"fairlead.dev/a": "b"}}, {"nodeSelector": {"a b": "c"}},
        {"tolerations": [{"key": "gpu"}], "affinity": {"nodeAffinity": {}}},
    ],
}  # fmt: skip


@st.composite
def models(draw: st.DrawFn) -> dict[str, Any]:
    """Models of few fields, since of many one is always wrong."""
    fields = draw(st.lists(st.sampled_from(sorted(PARTS)), max_size=5, unique=True))
    spec = {field: draw(st.sampled_from(PARTS[field])) for field in fields}
    if "upstream" in spec:
        spec.setdefault("model", {})
    return copy.deepcopy(model(draw(st.sampled_from(["m", "m", "m", "a" * 41, "7b"])), **spec))


@settings(deadline=None, max_examples=100)
@given(models())
def test_the_api_server_and_the_models_types_judge_alike(document: dict[str, Any]) -> None:
    found, told = SERVER.refusals(document), problems(document)
    assert bool(found) == bool(told), (found, told)
    # The types stop at a part that is wrong in itself; what they blame, the API server blames too.
    for problem in told if SERVER.asks_rules(document) else ():
        place = problem.path.partition("/")[0]
        assert any(refusal.place.startswith(place) or place.startswith(refusal.place) for refusal in found), place


@settings(deadline=None)
@given(models())
def test_a_stored_model_means_what_was_written(document: dict[str, Any]) -> None:
    if not problems(document):
        assert parse(SERVER.stored(document), source="stored") == parse(document, source="written")


def test_every_default_stands_the_rules_before_the_defaults_within_it_are_filled_in() -> None:
    defaults = [(schema["default"], schema) for _, schema in schemas(model_schema()) if "default" in schema]
    assert len(defaults) > 30
    for default, schema in defaults:
        assert list(SERVER.broken_rules(default, schema)) == []


def test_the_words_for_places_of_weights_are_those_of_their_shapes() -> None:
    said = {rule.message for several in RULES.values() for rule in several}
    for shape in (shapes.WEIGHTS, shapes.ADAPTER_WEIGHTS, shapes.URL, shapes.LABEL):
        assert f"expected {shape.wanted}" in said


def test_no_message_is_more_than_a_line_or_ends_like_a_heading() -> None:
    for several in RULES.values():
        for rule in several:
            assert len(rule.message) < 120
            assert rule.message[-1] not in ".:;,"


def test_the_rules_cost_less_than_the_api_server_allows() -> None:
    costs = list(cel_cost.rule_costs(model_schema()))
    assert len(costs) > len([rule for several in RULES.values() for rule in several]) - 1
    assert max(total for _, _, total in costs) < cel_cost.PER_RULE_LIMIT / 2
    assert sum(total for _, _, total in costs) < cel_cost.PER_CRD_LIMIT / 5


def test_no_object_is_so_large_that_its_rules_are_cut_short() -> None:
    schema = _with_bounded_quantities(model_schema())
    costs = list(cel_cost.rule_costs(schema))
    assert max(once for _, once, _ in costs) < cel_cost.PER_CALL_LIMIT
    assert sum(total for _, _, total in costs) < cel_cost.PER_OBJECT_LIMIT


@pytest.mark.parametrize(
    ("rule", "cost"),
    [
        # By hand, from the method in the docstring of cel_cost.
        ("self.a == 'abc'", 1 + 1 + 1),
        ("self.a.matches('abcd')", 2 + 5 * 1),
        ("self.a.startsWith('abcdefghijk')", 2 + 2),
        ("'x' in self.l", 2 + 10),
        ("self.l.all(x, x == 'abc')", 2 + 2 + 10 * (3 + 1 + 1)),
        ("self.n > 1 ? self.n == 1 : self.n > 1 && self.n > 2", 3 + 6),
    ],
)
def test_the_cost_of_a_rule_is_that_of_the_method(rule: str, cost: int) -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "maxLength": 12},
            "l": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 12}},
            "n": {"type": "integer"},
        },
        "x-kubernetes-validations": [{"rule": rule}],
    }
    assert [once for _, once, _ in cel_cost.rule_costs(schema)] == [cost]


def _with_bounded_quantities(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with quantities as long as they can be, which the estimate before a CRD is taken does not know."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": "string", "maxLength": schema["maxLength"]}
    return {
        word: _with_bounded_quantities(value) if isinstance(value, dict) else value for word, value in schema.items()
    }
