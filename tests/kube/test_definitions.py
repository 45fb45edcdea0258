"""CustomResourceDefinitions: what they make of objects, and what becomes of objects when they change."""

from typing import Any

import pytest

from fairlead_operator.crd import custom_resource_definition
from tests.kube.cluster import ApiError, KubeCluster
from tests.kube.resources import Manifest
from tests.kube.server import KubeServer
from tests.operator.samples import model

MODELS = "fairlead.dev/v1alpha1/models"
DEFINITIONS = "apiextensions.k8s.io/v1/customresourcedefinitions"


def stored(cluster: KubeCluster, name: str = "m") -> Manifest:
    found = cluster.get(MODELS, name)
    assert found is not None
    return found


def causes(refusal: ApiError) -> list[tuple[str, str]]:
    return [(cause["field"], cause["message"]) for cause in refusal.status["details"]["causes"]]


def test_a_model_comes_back_with_its_defaults(cluster: KubeCluster) -> None:
    cluster.create(model(replicas=2))
    spec = stored(cluster)["spec"]
    assert (spec["replicas"], spec["cluster"], spec["limits"]["maxOngoing"]) == (2, "Standalone", 256)


def test_a_field_that_there_is_not_is_dropped_or_refused_as_the_client_wants(cluster: KubeCluster) -> None:
    cluster.create(model(bogus=1))
    assert "bogus" not in stored(cluster)["spec"]
    with pytest.raises(ApiError, match=r'strict decoding error: unknown field "spec\.bogus"') as refusal:
        cluster.call("POST", cluster.path(MODELS), model("n", bogus=1), query={"fieldValidation": "Strict"})
    assert (refusal.value.code, refusal.value.status["reason"]) == (400, "BadRequest")


def test_wrong_values_are_refused_each_at_its_place(cluster: KubeCluster) -> None:
    with pytest.raises(ApiError) as refusal:
        cluster.create(model(replicas="two", cluster="Slurm", fallback=["a", "a"]))
    assert refusal.value.code == 422
    assert refusal.value.status["message"].startswith('Model.fairlead.dev "m" is invalid: [')
    assert set(causes(refusal.value)) == {
        ("spec.replicas", 'Invalid value: "string": spec.replicas in body must be of type integer: "string"'),
        ("spec.cluster", 'Unsupported value: "Slurm": supported values: "Standalone", "KubeRay"'),
        ("spec.fallback[1]", 'Duplicate value: "a"'),
    }


def test_a_broken_rule_is_refused_in_its_own_sentence(cluster: KubeCluster) -> None:
    with pytest.raises(ApiError) as refusal:
        cluster.create(model(replicas=1, scaling={"maxReplicas": 2}))
    assert causes(refusal.value) == [
        ("spec.scaling", 'Invalid value: "object": replicas and scaling exclude each other; keep one')
    ]


def test_status_and_spec_are_written_apart(cluster: KubeCluster) -> None:
    created = cluster.create({**model(replicas=1), "status": {"phase": "Serving"}})
    assert "status" not in created
    cluster.patch(MODELS, "m", {"spec": {"replicas": 5}, "status": {"phase": "Serving"}}, subresource="status")
    after = stored(cluster)
    assert (after["spec"]["replicas"], after["status"], after["metadata"]["generation"]) == (1, {"phase": "Serving"}, 1)
    cluster.patch(MODELS, "m", {"spec": {"replicas": 5}, "status": {"phase": "Failed"}})
    after = stored(cluster)
    assert (after["spec"]["replicas"], after["status"]["phase"], after["metadata"]["generation"]) == (5, "Serving", 2)


def test_labels_do_not_raise_the_generation(cluster: KubeCluster) -> None:
    cluster.create(model())
    cluster.patch(MODELS, "m", {"metadata": {"labels": {"team": "a"}}})
    assert stored(cluster)["metadata"]["generation"] == 1


def test_a_model_has_a_scale_where_it_has_a_number(cluster: KubeCluster) -> None:
    cluster.create(model(replicas=1))
    cluster.patch(MODELS, "m", {"status": {"replicas": 1, "selector": "fairlead.dev/model=m"}}, subresource="status")
    path = cluster.path(MODELS, "m", "scale")
    scale = cluster.call("GET", path)
    assert scale["status"] == {"replicas": 1, "selector": "fairlead.dev/model=m"}
    scale["spec"]["replicas"] = 3
    assert cluster.call("PUT", path, scale)["spec"] == {"replicas": 3}
    assert stored(cluster)["spec"]["replicas"] == 3


def test_a_scale_without_a_number_can_be_written_and_not_read(cluster: KubeCluster) -> None:
    cluster.create(model())
    path = cluster.path(MODELS, "m", "scale")
    with pytest.raises(
        ApiError, match=r'^500 InternalError: .*the spec replicas field ".spec.replicas" does not exist'
    ):
        cluster.call("GET", path)
    with pytest.raises(ApiError, match=r'^400 .*the spec replicas field ".spec.replicas" cannot be empty'):
        cluster.patch(MODELS, "m", {"metadata": {}}, subresource="scale")
    assert cluster.patch(MODELS, "m", {"spec": {"replicas": 3}}, subresource="scale")["spec"] == {"replicas": 3}
    assert stored(cluster)["spec"]["replicas"] == 3


def test_a_scale_of_what_somebody_else_scales_is_refused(cluster: KubeCluster) -> None:
    cluster.create(model(scaling={"maxReplicas": 2}))
    with pytest.raises(ApiError, match=r"^422 .*replicas"):
        cluster.patch(MODELS, "m", {"spec": {"replicas": 3}}, subresource="scale")
    assert "replicas" not in stored(cluster)["spec"]


def newer(**fields: Any) -> Manifest:
    """A definition in which a Model has more fields."""
    definition = custom_resource_definition()
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].update(fields)
    return definition


def test_an_upgrade_fills_the_objects_there_are(cluster: KubeCluster, standin: KubeServer) -> None:
    before = cluster.create(model())
    cluster.apply(newer(tier={"type": "string", "default": "gold"}))
    after = stored(cluster)
    assert after["spec"]["tier"] == "gold"
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_what_a_newer_schema_refuses_may_stay_as_long_as_it_is_left_alone(
    cluster: KubeCluster, standin: KubeServer
) -> None:
    cluster.create(model(replicas=5))
    cluster.apply(newer(replicas={"type": "integer", "maximum": 3}))
    cluster.patch(MODELS, "m", {"metadata": {"labels": {"team": "a"}}})
    with pytest.raises(ApiError, match="should be less than or equal to 3"):
        cluster.patch(MODELS, "m", {"spec": {"replicas": 4}})


def test_objects_go_with_their_definition(cluster: KubeCluster, standin: KubeServer) -> None:
    cluster.create(model())
    cluster.delete(DEFINITIONS, "models.fairlead.dev")
    with pytest.raises(ApiError, match="could not find the requested resource"):
        cluster.call("GET", cluster.path(MODELS))
    cluster.apply(custom_resource_definition())
    assert cluster.list(MODELS) == []
