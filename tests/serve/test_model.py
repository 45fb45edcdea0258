"""The Model resource: what it accepts, what it refuses and in which words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from fairlead_serve import shapes
from fairlead_serve.engine.weights.uri import parse as parse_weights_uri
from fairlead_serve.errors import ModelFileError
from fairlead_serve.model import Model, ModelStatus, Part, load, load_all, parse, parse_stored

HF = {"uri": "hf://org/model"}


def resource(name: str = "m", /, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {"model": HF, **spec},
    }


def accepted(document: object) -> Model:
    return parse(document, source="test")


def refusals(document: object) -> list[str]:
    with pytest.raises(ModelFileError) as refusal:
        parse(document, source="test")
    return [str(problem) for problem in refusal.value.problems]


def written(path: Path, *documents: Mapping[str, Any]) -> Path:
    path.write_text("---\n".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
    return path


def failure_of(path: Path) -> list[str]:
    with pytest.raises(ModelFileError) as refusal:
        load(path)
    return [str(problem) for problem in refusal.value.problems]


# What a Model says about itself


def test_a_model_is_served_under_its_resource_name_unless_it_has_another() -> None:
    assert accepted(resource("qwen")).served_names == ("qwen",)
    named = accepted(resource("qwen", model={**HF, "name": "MyCoder", "aliases": ["coder", "org/x:7b"]}))
    assert (named.name, named.served_names) == ("qwen", ("MyCoder", "coder", "org/x:7b"))


def test_gpus_of_an_engine_are_tensor_times_pipeline_and_none_on_a_cpu() -> None:
    assert accepted(resource()).gpus_per_engine == 1
    split = resource(parallelism={"tensor": 8, "pipeline": 2}, cluster="KubeRay")
    assert accepted(split).gpus_per_engine == 16
    assert accepted(resource(engine={"device": "cpu"}, parallelism={"tensor": 2})).gpus_per_engine == 0
    assert accepted(resource(model={}, upstream={"url": "http://h/v1"})).gpus_per_engine == 0


@pytest.mark.parametrize(
    ("spec", "fewest", "most"),
    [
        ({}, 1, 1),
        ({"replicas": 3}, 3, 3),
        ({"replicas": 0}, 0, 0),
        ({"scaling": {"minReplicas": 0, "maxReplicas": 4}}, 0, 4),
        ({"scaling": {"maxReplicas": 4}, "suspend": True}, 0, 0),
    ],
)
def test_replicas_come_from_the_fixed_number_or_from_scaling(spec: dict[str, Any], fewest: int, most: int) -> None:
    model = accepted(resource(**spec))
    assert (model.min_replicas, model.max_replicas) == (fewest, most)


def test_defaults_are_those_of_the_design() -> None:
    spec = accepted(resource(scaling={"maxReplicas": 4}, lora={}, cache={})).spec
    model = accepted(resource())
    assert model.engine.gpu_memory_utilization == "0.90"
    assert (spec.limits.max_ongoing, spec.limits.max_queued, spec.limits.request_timeout_seconds) == (256, 256, 600)
    assert spec.scaling is not None
    assert (spec.scaling.target_ongoing_requests, spec.scaling.scale_to_zero_delay_seconds) == (16, 1800)
    assert (spec.rollout_strategy.max_surge, spec.rollout_strategy.on_failure) == (0, "Rollback")
    assert (spec.startup_timeout_seconds, spec.drain_timeout_seconds, spec.suspend) == (3600, 120, False)
    assert spec.cache is not None
    assert (spec.cache.size, spec.cache.deletion_policy, spec.cache.access_modes) == (
        "50Gi",
        "Retain",
        ("ReadWriteOnce",),
    )
    assert (spec.routing.strategy, spec.cluster) == ("PrefixHash", "Standalone")


def test_a_live_object_with_everything_the_api_server_adds_is_read() -> None:
    live = resource()
    live["metadata"] |= {
        "uid": "b4e", "resourceVersion": "12", "generation": 3, "managedFields": [{"manager": "kubectl"}],
        "ownerReferences": [], "creationTimestamp": "2025-01-31T12:00:00Z", "namespace": "ml",
    }  # fmt: skip
    live["status"] = {"phase": "Serving", "of": {"any": "kind"}}
    model = accepted(live)
    assert (model.metadata.namespace, model.name) == ("ml", "m")


def test_a_model_written_out_and_read_again_is_the_same() -> None:
    model = accepted(
        resource(
            engine={"env": [{"name": "A", "value": "b"}], "args": {"seed": 1, "hf_overrides": {"a": [None, 1.5]}}},
            resources={"limits": {"cpu": 4, "memory": "1.5Gi"}},
            podTemplate={"tolerations": [{"key": "gpu", "operator": "Exists"}], "affinity": {"nodeAffinity": {}}},
        )
    )
    assert accepted(json.loads(model.model_dump_json(by_alias=True, exclude_unset=True))) == model
    assert accepted(json.loads(model.model_dump_json(by_alias=True, exclude_none=True))) == model


def test_a_model_cannot_be_changed() -> None:
    model = accepted(resource())
    with pytest.raises(ValidationError):
        model.spec.suspend = True


# What is refused, and in which words


def test_every_problem_of_a_model_is_told_at_once_with_its_place() -> None:
    document = resource(
        engine={"maxNumSeq": 3, "device": "gpu", "env": [{"nam": "A", "value": "b"}]},
        scaling={"minReplicas": 3, "maxReplicas": 2},
        limits={"maxOngoing": 0},
        maxModelLen=5,
    )
    assert refusals(document) == [
        "spec.engine.device: expected cuda or cpu, found 'gpu'",
        "spec.engine.env[0].name: missing; it has no default",
        "spec.engine.env[0].nam: unknown field; did you mean name?",
        "spec.engine.maxNumSeq: unknown field; did you mean maxNumSeqs?",
        "spec.scaling.minReplicas: is above maxReplicas (2); lower it",
        "spec.limits.maxOngoing: must be at least 1, found 0",
        "spec.maxModelLen: unknown field; did you mean spec.engine.maxModelLen?",
    ]


def test_a_misspelt_field_does_not_hide_a_combination_that_cannot_work() -> None:
    document = resource(replicas=1, scaling={"maxReplicas": 2}, sacling={})
    assert refusals(document) == [
        "spec.sacling: unknown field; did you mean scaling?",
        "spec.scaling: replicas and scaling exclude each other; keep one",
    ]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"engine": {"maxModelLen": "8192"}},
         "spec.engine.maxModelLen: expected a whole number, found text; write it without quotes"),
        ({"engine": {"maxModelLen": 1.5}},
         "spec.engine.maxModelLen: expected a whole number, found a decimal number"),
        ({"engine": {"maxModelLen": True}},
         "spec.engine.maxModelLen: expected a whole number, found true or false"),
        ({"engine": {"gpuMemoryUtilization": 0.9}},
         "spec.engine.gpuMemoryUtilization: expected text, found a decimal number; put it in quotes"),
        ({"engine": {"gpuMemoryUtilization": "90%"}},
         'spec.engine.gpuMemoryUtilization: expected a fraction above 0 and up to 1, in quotes, such as "0.90", '
         "found '90%'"),
        ({"engine": []}, "spec.engine: expected a map, found a list"),
        ({"engine": {"env": {"A": "b"}}}, "spec.engine.env: expected a list, found a map"),
        ({"suspend": "yes"}, "spec.suspend: expected true or false, found text"),
        ({"model": None}, "spec.model: expected a map, found nothing"),
        ({"fallback": ["x"] * 9}, "spec.fallback: must have at most 8 entries, found 9"),
        ({"lora": {"maxRank": 33}},
         "spec.lora.maxRank: expected 1 or 8 or 16 or 32 or 64 or 128 or 256 or 320 or 512, found 33"),
        ({"cache": {"deletionPolicy": "retain"}},
         "spec.cache.deletionPolicy: expected Retain or Delete, found 'retain'; did you mean Retain?"),
        ({"model": {**HF, "name": "my model"}},
         "spec.model.name: expected a model name: letters, digits and . _ : / @ + -, beginning with a letter or a "
         "digit, found 'my model'"),
        ({"resources": {"limits": {"cpu": 0.5}}},
         "spec.resources.limits.cpu: expected text, found a decimal number; put it in quotes"),
        ({"podTemplate": {"nodeSelector": {"a b": "c"}}},
         "spec.podTemplate.nodeSelector.a b: the key expected a name with an optional prefix, such as "
         "example.com/team, found 'a b'"),
        ({"unheardOf": 1}, "spec.unheardOf: unknown field; known here: "),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_what_was_expected_and_what_was_found(spec: dict[str, Any], problem: str) -> None:
    (found,) = refusals(resource(**spec))
    assert found == problem or (problem.endswith(": ") and found.startswith(problem))


def test_names_in_a_file_are_camel_case_only() -> None:
    assert refusals(resource(engine={"max_num_seqs": 3})) == [
        "spec.engine.max_num_seqs: unknown field; did you mean maxNumSeqs?"
    ]


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({"replicas": 1, "scaling": {"maxReplicas": 2}}, "spec.scaling"),
        ({"scaling": {"minReplicas": 2, "maxReplicas": 1}}, "spec.scaling.minReplicas"),
        ({"scaling": {"maxReplicas": 2, "targetOngoingRequests": 300}}, "spec.scaling.targetOngoingRequests"),
        ({"resources": {}, "resourceProfile": "l4"}, "spec.resources"),
        ({"rolloutStrategy": {"maxSurge": 0, "maxUnavailable": 0}}, "spec.rolloutStrategy"),
        ({"parallelism": {"pipeline": 2}}, "spec.parallelism.pipeline"),
        ({"parallelism": {"tensor": 32}}, "spec.parallelism.tensor"),
        ({"parallelism": {"pipeline": 2}, "cluster": "KubeRay", "engine": {"device": "cpu"}},
         "spec.parallelism.pipeline"),
        ({"engine": {"device": "cpu", "gpuMemoryUtilization": "0.5"}}, "spec.engine.gpuMemoryUtilization"),
        ({"engine": {"device": "cpu"}, "resources": {"limits": {"nvidia.com/gpu": 1}}}, "spec.resources"),
        ({"resources": {"limits": {"nvidia.com/gpu": 2}}}, "spec.resources"),
        ({"resources": {"limits": {"nvidia.com/gpu": 0}}}, "spec.resources"),
        ({"resources": {"limits": {"nvidia.com/gpu": 3}}, "parallelism": {"tensor": 4}, "cluster": "KubeRay"},
         "spec.resources"),
        ({"resources": {"limits": {"nvidia.com/gpu": "500m"}}}, "spec.resources.limits.nvidia.com/gpu"),
        ({"resources": {"requests": {"nvidia.com/gpu": 1}}}, "spec.resources.requests.nvidia.com/gpu"),
        ({"model": {}}, "spec.model.uri"),
        ({"model": {"uri": "s3://b/m", "revision": "v2"}}, "spec.model.revision"),
        ({"model": {"uri": "tiny://chat", "accessSecretRef": {"name": "a", "key": "b"}}},
         "spec.model.accessSecretRef"),
        ({"model": {"uri": "pvc://claim/m"}, "cache": {}}, "spec.cache"),
        ({"model": {**HF, "aliases": ["m"]}}, "spec.model"),
        ({"lora": {"adapters": [{"name": "m", "uri": "hf://a/b"}]}}, "spec.model"),
        ({"lora": {"adapters": [{"name": "a", "uri": "hf://a/b"}] * 2}}, "spec.lora.adapters"),
        ({"lora": {"adapters": [{"name": "a", "uri": "tiny://chat"}]}}, "spec.lora.adapters[0].uri"),
        ({"fallback": ["m"]}, "spec.fallback"),
        ({"fallback": ["a", "a"]}, "spec.fallback"),
        ({"disruption": {"minAvailable": 2}}, "spec.disruption.minAvailable"),
        ({"cache": {"accessModes": ["ReadWriteOncePod"]}, "replicas": 2}, "spec.cache.accessModes"),
        ({"cache": {"accessModes": ["ReadOnlyMany"]}}, "spec.cache.accessModes"),
        ({"cache": {"claimName": "mine", "deletionPolicy": "Delete"}}, "spec.cache.deletionPolicy"),
        ({"podTemplate": {"labels": {"fairlead.dev/model": "x"}}}, "spec.podTemplate.labels.fairlead.dev/model"),
        ({"engine": {"env": [{"name": "A"}, {"name": "A"}]}}, "spec.engine.env"),
        ({"engine": {"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "y"}}}]}},
         "spec.engine.env[0]"),
        ({"engine": {"env": [{"name": "A", "valueFrom": {}}]}}, "spec.engine.env[0].valueFrom"),
        ({"engine": {"env": [{"name": "VLLM_API_KEY", "value": "x"}]}}, "spec.engine.env[0].name"),
        ({"engine": {"envFrom": [{"prefix": "A_"}]}}, "spec.engine.envFrom[0]"),
        ({"engine": {"args": {"max_num_seqs": 3}}}, "spec.engine.args.max_num_seqs"),
    ],
)  # fmt: skip
def test_a_combination_that_cannot_work_is_refused_at_its_place(spec: dict[str, Any], place: str) -> None:
    (found,) = refusals(resource(**spec))
    assert found.startswith(f"{place}: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("engine", {}),
        ("replicas", 1),
        ("scaling", {"maxReplicas": 1}),
        ("resources", {}),
        ("resourceProfile", "l4"),
        ("lora", {}),
        ("cache", {}),
        ("parallelism", {"tensor": 2}),
        ("cluster", "KubeRay"),
        ("priorityClassName", "high"),
    ],
)
def test_an_upstream_excludes_whatever_belongs_to_an_engine(field: str, value: object) -> None:
    document = resource(model={"name": "x"}, upstream={"url": "http://h/v1"}, **{field: value})
    (found,) = refusals(document)
    assert found.startswith(f"spec.{field}: ")


def test_an_upstream_has_no_weights_but_may_have_names_limits_and_fallbacks() -> None:
    upstream = {"url": "https://api.example.com/v1", "apiKeySecretRef": {"name": "k", "key": "k"}}
    accepted(resource(model={"aliases": ["x"]}, upstream=upstream, limits={"maxOngoing": 8}, fallback=["other"]))
    (found,) = refusals(resource(upstream=upstream))
    assert found.startswith("spec.model.uri: ")


@pytest.mark.parametrize(
    "uri",
    ["org/model", "https://huggingface.co/a/b", "hf://", "hf://a/b/c", "hf://a/../b", "hf://a/b--c", "hf:/a/b",
     "pvc://", "pvc://claim/../other", "file://relative", "file:///a b", "s3://", "gs://b/m", "tiny://", "tiny://x"],
)  # fmt: skip
def test_weights_in_an_unknown_place_are_refused_without_repeating_the_uri(uri: str) -> None:
    (found,) = refusals(resource(model={"uri": uri}))
    assert found.startswith("spec.model.uri: ")
    assert uri not in found.removeprefix("spec.model.uri: ") or uri in {"hf://", "pvc://", "s3://", "tiny://"}


@settings(deadline=None)
@given(st.from_regex(shapes.WEIGHTS.pattern.removesuffix("$") + r"\Z", alphabet=st.characters(codec="ascii")))
def test_weights_that_a_model_accepts_can_be_named_by_those_who_fetch_them(uri: str) -> None:
    try:
        model = accepted(resource(model={"uri": uri}))
    except ModelFileError:
        assume(condition=False)
    parse_weights_uri(model.spec.model.uri)


@pytest.mark.parametrize("name", ["", "Qwen", "7b", "a_b", "a-", "a.b", "a" * 41])
def test_a_resource_name_that_could_not_name_a_service_is_refused(name: str) -> None:
    assert all(found.startswith("metadata.name: ") for found in refusals(resource(name)))
    accepted(resource("a" * 40))


@pytest.mark.parametrize("url", ["ftp://h/v1", "h:11434/v1", "http://", "http://h/v1?key=hunter2", "http://h:x/v1"])
def test_an_upstream_that_is_no_web_address_is_refused(url: str) -> None:
    (found,) = refusals(resource(model={}, upstream={"url": url}))
    assert found.startswith("spec.upstream.url: ")
    assert "hunter2" not in found


def test_a_misspelt_metadata_field_is_refused() -> None:
    document = resource()
    document["metadata"]["lables"] = {}
    assert refusals(document) == ["metadata.lables: unknown field; did you mean labels?"]


def stored(document: Mapping[str, Any]) -> tuple[Model, list[str]]:
    """A Model as the API server has it, and the fields of it that nobody here knows."""
    unknown: list[str] = []
    return parse_stored(document, source="test", on_unknown=unknown.append), unknown


def test_fields_of_a_later_release_are_left_out_of_a_stored_model_and_told() -> None:
    env = [{"name": "A", "value": "b", "secret": True}]
    later = resource(future={"a": 1}, engine={"env": env, "args": {"seed": 1}})
    later["metadata"] |= {"uid": "u", "futureOfKubernetes": 1}
    model, unknown = stored(later)
    assert model == accepted(resource(engine={"env": [{"name": "A", "value": "b"}], "args": {"seed": 1}}))
    assert sorted(unknown) == ["spec.engine.env[0].secret", "spec.future"]
    assert refusals(resource(future={"a": 1})) != []


def test_a_stored_model_that_is_wrong_besides_is_refused_for_that_alone() -> None:
    with pytest.raises(ModelFileError) as refusal:
        stored(resource(future=1, replicas=1, scaling={"maxReplicas": 2}))
    (problem,) = refusal.value.problems
    assert "replicas and scaling exclude each other" in str(problem)


def test_another_version_or_kind_is_named_and_nothing_else_is_said() -> None:
    assert refusals({"apiVersion": "apps/v1", "kind": "Deployment", "spec": 5}) == [
        "apiVersion: expected fairlead.dev/v1alpha1, found apps/v1",
        "kind: expected Model, found Deployment",
    ]
    assert refusals({}) == [
        "apiVersion: missing; write apiVersion: fairlead.dev/v1alpha1",
        "kind: missing; write kind: Model",
    ]
    assert refusals(["a"]) == ["expected a Model, found a list"]


SECRET = "hunter2"


@pytest.mark.parametrize(
    "spec",
    [
        {"engine": {"env": [{"name": "A", "value": [SECRET]}]}},
        {"engine": {"env": [{"name": "A", "value": SECRET, "valueFrom": {"fieldRef": {"fieldPath": SECRET}}}]}},
        {"engine": {"env": [{"name": "VLLM_API_KEY", "value": SECRET}]}},
        {"engine": {"env": [{"name": "A", "value": SECRET * 10_000}]}},
        {"engine": {"env": SECRET}},
        {"engine": {"args": {"hf_token": SECRET, "api_key": [SECRET], "seed": SECRET}}},
        {"model": {"uri": f"s3://key:{SECRET}@bucket/m"}},
        {"model": {"uri": "hf://a/b", "accessSecretRef": SECRET}},
        {"model": {}, "upstream": {"url": f"http://user:{SECRET}@host/v1"}},
        {"model": {}, "upstream": {"url": f"http://user:{SECRET}@[host/v1"}},
        {"model": {}, "upstream": {"url": "http://h/v1", "apiKeySecretRef": SECRET}},
    ],
)
def test_secret_values_are_never_repeated(spec: dict[str, Any]) -> None:
    document = resource(**spec)
    assert SECRET not in "".join(refusals(document))
    with pytest.raises(ValidationError) as plain:
        Model.model_validate(document)
    assert SECRET not in str(plain.value)


@settings(deadline=None)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(
        ["model", "uri", "engine", "args", "env", "scaling", "seed", "lora", "upstream", "resources", "limits"]
    ), inner, max_size=4),
    max_leaves=12,
))  # fmt: skip
def test_whatever_stands_in_a_spec_is_answered_in_sentences(spec: object) -> None:
    document = {**resource(), "spec": spec}
    try:
        messages = [accepted(document).name]
    except ModelFileError as refusal:
        messages = [problem.message for problem in refusal.problems]
    assert all(messages)
    assert messages


# Files


def test_the_models_of_a_file_come_in_its_order(tmp_path: Path) -> None:
    path = written(tmp_path / "m.yaml", resource("a"), resource("b"))
    assert [model.name for model in load(path)] == ["a", "b"]


def test_a_problem_in_one_of_several_documents_names_the_document(tmp_path: Path) -> None:
    path = written(tmp_path / "m.yaml", resource("a"), resource("b", replicas=-1), {"kind": "Model"})
    assert failure_of(path) == [
        "document 2: spec.replicas: must be at least 0, found -1",
        "document 3: apiVersion: missing; write apiVersion: fairlead.dev/v1alpha1",
    ]


def test_a_problem_is_told_with_the_file_it_is_in(tmp_path: Path) -> None:
    path = written(tmp_path / "m.yaml", resource("a", replicas=-1))
    with pytest.raises(ModelFileError) as refusal:
        load(path)
    assert str(refusal.value) == f"{path}: spec.replicas: must be at least 0, found -1"


def refusal_of(*paths: Path) -> str:
    with pytest.raises(ModelFileError) as refusal:
        load_all(paths)
    return str(refusal.value)


def test_models_of_several_files_are_loaded_together(tmp_path: Path) -> None:
    first = written(tmp_path / "a.yaml", resource("a", fallback=["b"]))
    second = written(tmp_path / "b.yaml", resource("b"), resource("c"))
    assert [model.name for model in load_all([first, second])] == ["a", "b", "c"]


def test_problems_of_several_files_are_told_together(tmp_path: Path) -> None:
    first = written(tmp_path / "a.yaml", resource("a", replicas=-1))
    text = refusal_of(first, tmp_path / "b.yaml")
    assert f"{first}: spec.replicas: must be at least 0" in text
    assert f"{tmp_path / 'b.yaml'}: no such file" in text


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    first = written(tmp_path / "a.yaml", resource("a"))
    second = written(tmp_path / "b.yaml", resource("a"))
    assert f"metadata.name: a is also the name of a Model in {first}" in refusal_of(first, second)


def test_two_models_that_answer_to_one_name_are_refused(tmp_path: Path) -> None:
    lora = {"adapters": [{"name": "sql", "uri": "hf://a/b"}]}
    path = written(tmp_path / "a.yaml", resource("a", lora=lora), resource("b", model={**HF, "name": "sql"}))
    assert "spec.model: b answers to sql, but so does a; names must differ" in refusal_of(path)


def test_a_fallback_that_is_not_there_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    path = written(tmp_path / "a.yaml", resource("a", fallback=["codr"]), resource("coder"))
    assert "spec.fallback: there is no Model codr; did you mean coder?" in refusal_of(path)


def test_weights_in_a_claim_are_refused_without_a_cluster(tmp_path: Path) -> None:
    path = written(tmp_path / "a.yaml", resource("a", model={"uri": "pvc://claim/m"}))
    assert [model.name for model in load(path)] == ["a"]
    assert "pvc:// weights exist only in a cluster" in refusal_of(path)


# What the CRD is made of


def parts(root: type[BaseModel]) -> dict[str, Any]:
    schema = root.model_json_schema(by_alias=True)
    found: dict[str, Any] = {root.__name__: schema, **schema["$defs"]}
    return found


SCHEMAS = {**parts(Model), **parts(ModelStatus)}


def leaves(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A field's own schema and all that it is made of, but references, which are parts of their own."""
    if schema.get("x-kubernetes-int-or-string"):
        return [schema]
    inside = [option for key in ("anyOf", "allOf") for option in schema.get(key, ())]
    inside += [schema[key] for key in ("items", "propertyNames") if key in schema]
    if isinstance(schema.get("additionalProperties"), Mapping):
        inside.append(schema["additionalProperties"])
    return [schema, *(leaf for item in inside for leaf in leaves(item))]


BOUNDS = {"string": "maxLength", "array": "maxItems", "integer": "maximum", "object": "maxProperties"}

FIELDS = [
    pytest.param(field, id=f"{part}.{name}")
    for part, schema in SCHEMAS.items()
    for name, field in schema.get("properties", {}).items()
]


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_described_and_bounded(field: Mapping[str, Any]) -> None:
    # A field described just as its part is described there only.
    described = SCHEMAS[field["$ref"].rpartition("/")[2]] if "description" not in field else field
    assert described["description"].endswith(".")
    if field.get("x-kubernetes-preserve-unknown-fields"):
        return
    for leaf in leaves(field):
        if leaf.get("x-kubernetes-int-or-string"):
            assert {"pattern", "maxLength"} <= leaf.keys()
        if "enum" in leaf or "const" in leaf:
            continue
        bound = BOUNDS.get(leaf.get("type", ""))
        assert bound is None or bound in leaf or ("additionalProperties" not in leaf and bound == "maxProperties")


def test_every_pattern_has_words() -> None:
    patterns = {
        leaf["pattern"]
        for schema in SCHEMAS.values()
        for field in schema.get("properties", {}).values()
        for leaf in leaves(field)
        if "pattern" in leaf
    }
    assert patterns <= set(shapes.ALL)


def test_the_schema_uses_only_what_the_api_server_knows() -> None:
    words = {key for schema in SCHEMAS.values() for field in schema.get("properties", {}).values()
             for leaf in leaves(field) for key in leaf}  # fmt: skip
    assert not words & {"patternProperties", "propertyNames", "prefixItems", "exclusiveMinimum", "uniqueItems"}


def test_names_in_the_schema_are_camel_case() -> None:
    names = {name for schema in SCHEMAS.values() for name in schema.get("properties", {})}
    assert {"maxNumSeqs", "scaleToZeroDelaySeconds", "envFrom", "apiKeySecretRef", "gpuMemoryUtilization"} <= names
    assert not [name for name in names if "_" in name]


def test_every_part_refuses_unknown_fields_but_the_metadata() -> None:
    open_parts = {part.__name__ for part in Part.__subclasses__() if part.model_config["extra"] != "forbid"}
    assert open_parts == {"Metadata"}


def test_the_operators_status_can_be_written() -> None:
    status = ModelStatus.model_validate(
        {
            "observedGeneration": 3, "phase": "Serving", "replicas": 1, "readyReplicas": 1, "desiredReplicas": 1,
            "selector": "fairlead.dev/model=m", "url": "http://gateway.ns.svc/v1",
            "endpoint": "http://m.ns.svc:8000", "currentRevision": "7f3a", "updatedRevision": "7f3a",
            "download": {"bytesDone": 1, "bytesTotal": 2, "bytesPerSecond": 1},
            "lastFailure": {"reason": "ContainerOOMKilled", "message": "x", "pod": "p", "exitCode": 137, "time": "t"},
            "adapters": [{"name": "sql", "state": "Loaded"}],
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "EnginesReady", "lastTransitionTime": "t"}
            ],
        }
    )  # fmt: skip
    assert status.conditions[0].observed_generation == 0
