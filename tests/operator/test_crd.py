"""The CRD as an object: that the API server would take it, and what a person sees of it."""

import copy
from typing import Any

import kubernetes_validate
import pytest
import re2
import yaml
from typer.testing import CliRunner

from fairlead_operator.__main__ import app
from fairlead_operator.crd import as_yaml, custom_resource_definition, model_schema
from fairlead_serve.model import ModelSpec, ModelStatus
from tests.operator.structure import offences, schemas

CRD = custom_resource_definition()
(VERSION,) = CRD["spec"]["versions"]
SCHEMA = model_schema()
# The first that has all of CEL that is used here, and the newest.
RELEASES = ("1.30", "1.37")


@pytest.mark.parametrize("release", RELEASES)
def test_the_crd_is_a_valid_object_of_kubernetes(release: str) -> None:
    kubernetes_validate.validate(CRD, release, strict=True)


def test_the_schema_is_structural() -> None:
    assert list(offences(SCHEMA)) == []


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (("spec",), {"$ref": "#/x"}),
        (("spec", "replicas"), {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (("spec", "engine"), {"additionalProperties": False}),
        (("spec", "model", "aliases"), {"x-kubernetes-list-type": "map"}),
        (("spec", "cache", "size"), {"type": "string"}),
        (("metadata",), {"description": "Known."}),
        (("spec", "scaling"), {"x-kubernetes-validations": [{"rule": "true", "message": "m", "fieldPath": ".most"}]}),
        (("spec", "scaling"), {"required": ["most"]}),
    ],
)
def test_the_check_of_the_structure_sees_what_the_api_server_would(place: tuple[str, ...], change: Any) -> None:
    schema = copy.deepcopy(SCHEMA)
    inner = schema
    for step in place:
        inner = inner["properties"][step]
    inner.update(change)
    assert list(offences(schema))


def test_it_is_a_namespaced_resource_with_a_short_name() -> None:
    spec = CRD["spec"]
    assert (CRD["metadata"]["name"], spec["group"], spec["scope"]) == (
        "models.fairlead.dev",
        "fairlead.dev",
        "Namespaced",
    )
    assert (spec["names"]["kind"], spec["names"]["plural"], spec["names"]["shortNames"]) == ("Model", "models", ["mdl"])
    assert (VERSION["name"], VERSION["served"], VERSION["storage"]) == ("v1alpha1", True, True)


def test_status_and_scale_are_subresources_whose_paths_exist() -> None:
    assert VERSION["subresources"]["status"] == {}
    scale = VERSION["subresources"]["scale"]
    assert scale == {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    assert set(scale.values()) <= {place for place, _ in schemas(SCHEMA)}


def test_kubectl_get_shows_what_an_operator_of_models_asks_first() -> None:
    columns = VERSION["additionalPrinterColumns"]
    narrow = [column["name"] for column in columns if not column.get("priority")]
    assert narrow == ["Ready", "Reason", "Replicas", "Desired", "Phase", "Model", "Age"]
    assert [column["name"] for column in columns if column.get("priority")] == ["URL"]
    places = {place for place, _ in schemas(SCHEMA)} | {".metadata.creationTimestamp"}
    assert {column["jsonPath"].partition("[")[0] for column in columns} <= places


@pytest.mark.parametrize("part", ["spec", "status"])
def test_every_field_is_described(part: str) -> None:
    for place, schema in schemas(SCHEMA["properties"][part]):
        if not place.endswith("[]"):
            assert schema["description"].endswith("."), place


def test_spec_and_status_have_the_fields_of_the_types() -> None:
    for part, name in ((ModelSpec, "spec"), (ModelStatus, "status")):
        aliases = [field.alias for field in part.model_fields.values()]
        assert list(SCHEMA["properties"][name]["properties"]) == aliases


def test_everything_has_a_bound() -> None:
    bounds = {"string": ("maxLength", "enum"), "integer": ("maximum", "enum"), "array": ("maxItems",)}
    for place, schema in schemas({"properties": {name: SCHEMA["properties"][name] for name in ("spec", "status")}}):
        if "type" in schema and schema["type"] in bounds:
            assert any(word in schema for word in bounds[schema["type"]]), place
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, place


def test_every_pattern_is_one_for_go() -> None:
    patterns = [schema["pattern"] for _, schema in schemas(SCHEMA) if "pattern" in schema]
    assert len(patterns) > 30
    for pattern in patterns:
        re2.compile(pattern)


def test_unknown_fields_are_kept_only_where_the_type_is_not_ours() -> None:
    kept = [place for place, schema in schemas(SCHEMA) if schema.get("x-kubernetes-preserve-unknown-fields")]
    assert kept == [".spec.engine.args[]", ".spec.podTemplate.tolerations[]", ".spec.podTemplate.affinity"]


def test_no_default_takes_a_side_that_excludes_another() -> None:
    spec = SCHEMA["properties"]["spec"]["properties"]
    for name in ("engine", "upstream", "replicas", "scaling", "resources", "resourceProfile", "cache", "lora"):
        assert "default" not in spec[name], name


def test_nothing_is_filled_into_a_status() -> None:
    assert not [place for place, schema in schemas(SCHEMA["properties"]["status"]) if "default" in schema]


def test_conditions_are_those_of_kubernetes_one_of_a_type() -> None:
    conditions = SCHEMA["properties"]["status"]["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])
    fields = conditions["items"]["properties"]
    assert set(fields) == {"type", "status", "reason", "message", "lastTransitionTime", "observedGeneration"}
    assert fields["status"]["enum"] == ["True", "False", "Unknown"]
    assert fields["lastTransitionTime"]["format"] == "date-time"
    assert set(conditions["items"]["required"]) == {"type", "status", "reason", "lastTransitionTime"}


def test_what_is_written_is_what_is_read() -> None:
    assert yaml.safe_load(as_yaml(CRD)) == CRD


def test_the_command_prints_the_crd() -> None:
    result = CliRunner().invoke(app, ["crd"])
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout) == CRD
