"""Server-side apply: who owns what, what is merged, what goes when nobody wants it any more."""

import copy
from typing import Any

import pytest

from tests.kube.cluster import ApiError, KubeCluster
from tests.kube.resources import Manifest
from tests.kube.samples import container, deployment
from tests.kube.server import KubeServer

DEPLOYMENTS = "apps/v1/deployments"


def stored(cluster: KubeCluster) -> Manifest:
    found = cluster.get(DEPLOYMENTS, "m")
    assert found is not None
    return found


def only_container(cluster: KubeCluster) -> Manifest:
    (found,) = stored(cluster)["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def owned(cluster: KubeCluster, manager: str) -> Any:
    entries = stored(cluster)["metadata"]["managedFields"]
    return next(entry["fieldsV1"] for entry in entries if entry["manager"] == manager)


def test_an_apply_owns_what_it_says_and_nothing_that_the_server_fills_in(cluster: KubeCluster) -> None:
    cluster.apply(deployment(container(ports=[{"containerPort": 8000}])), manager="fairlead")
    assert owned(cluster, "fairlead") == {
        "f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"engine"}': {
                            ".": {},
                            "f:image": {},
                            "f:name": {},
                            "f:ports": {'k:{"containerPort":8000,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                        }
                    }
                },
            },
        },
    }
    assert only_container(cluster)["terminationMessagePath"] == "/dev/termination-log"


def test_an_apply_with_a_version_that_nothing_has_only_makes_what_is_new(cluster: KubeCluster) -> None:
    wanted = deployment(container(), replicas=2)
    wanted["metadata"]["resourceVersion"] = "1"
    (made,) = cluster.apply(wanted, manager="fairlead")
    assert made["metadata"]["resourceVersion"] != "1"
    assert [entry["operation"] for entry in made["metadata"]["managedFields"]] == ["Apply"]
    with pytest.raises(ApiError, match="the object has been modified") as refused:
        cluster.apply(wanted, manager="fairlead")
    assert refused.value.code == 409
    assert stored(cluster) == made


def test_the_same_apply_again_is_no_change(cluster: KubeCluster, standin: KubeServer) -> None:
    wanted = deployment(container(resources={"limits": {"cpu": "1000m", "memory": "1024Mi"}}), replicas=2)
    (first,) = cluster.apply(wanted)
    (second,) = cluster.apply(wanted)
    assert second == first
    assert only_container(cluster)["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}


def test_what_is_applied_no_longer_is_taken_away(cluster: KubeCluster) -> None:
    probe = {"exec": {"command": ["true"]}}
    cluster.apply(deployment(container(env=[{"name": "A", "value": "1"}], livenessProbe=probe), replicas=3))
    cluster.apply(deployment())
    left = only_container(cluster)
    assert "env" not in left or left["env"] == []
    assert "livenessProbe" not in left
    # Nobody wants a number any more, so it is the default.
    assert stored(cluster)["spec"]["replicas"] == 1


def test_items_with_keys_are_merged_and_those_of_others_stay(cluster: KubeCluster) -> None:
    cluster.apply(deployment(container(env=[{"name": "A", "value": "1"}])), manager="fairlead")
    sidecar = {"name": "sidecar", "image": "registry/sidecar:1"}
    cluster.apply(deployment(container(env=[{"name": "B", "value": "2"}]), sidecar), manager="other")
    cluster.apply(deployment(), manager="fairlead")
    spec = stored(cluster)["spec"]["template"]["spec"]
    assert [one["name"] for one in spec["containers"]] == ["engine", "sidecar"]
    assert spec["containers"][0]["env"] == [{"name": "B", "value": "2"}]


def test_an_atomic_list_belongs_to_one_and_is_replaced(cluster: KubeCluster) -> None:
    cluster.apply(deployment(container(args=["a", "b"])))
    cluster.apply(deployment(container(args=["c"])))
    assert only_container(cluster)["args"] == ["c"]


def test_a_field_of_another_is_a_conflict_that_names_both(cluster: KubeCluster) -> None:
    cluster.apply(deployment(replicas=1), manager="other")
    with pytest.raises(ApiError) as refusal:
        cluster.apply(deployment(replicas=2), manager="fairlead", force=False)
    status = refusal.value.status
    assert (status["code"], status["reason"]) == (409, "Conflict")
    assert status["message"] == 'Apply failed with 1 conflict: conflict with "other": .spec.replicas'
    assert status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "other"', "field": ".spec.replicas"}
    ]


def test_force_takes_the_field_from_the_other(cluster: KubeCluster) -> None:
    cluster.apply(deployment(replicas=1), manager="other")
    cluster.apply(deployment(replicas=2), manager="fairlead")
    assert stored(cluster)["spec"]["replicas"] == 2
    assert "f:replicas" not in owned(cluster, "other")["f:spec"]
    cluster.apply(deployment(), manager="other")
    assert stored(cluster)["spec"]["replicas"] == 2


def test_two_who_say_the_same_own_it_together(cluster: KubeCluster) -> None:
    cluster.apply(deployment(replicas=2), manager="other")
    cluster.apply(deployment(replicas=2), manager="fairlead", force=False)
    cluster.apply(deployment(), manager="fairlead")
    assert stored(cluster)["spec"]["replicas"] == 2


def test_a_plain_write_takes_a_field_from_who_applied_it(cluster: KubeCluster) -> None:
    cluster.apply(deployment(replicas=2), manager="fairlead")
    assert cluster.kubectl("scale", "deployment/m", "--replicas=5").returncode == 0
    assert "f:replicas" not in owned(cluster, "fairlead")["f:spec"]
    with pytest.raises(ApiError, match='conflict with "kubectl" with subresource "scale" using apps/v1 at '):
        cluster.apply(deployment(replicas=2), manager="fairlead", force=False)
    cluster.apply(deployment(replicas=2), manager="fairlead")
    assert stored(cluster)["spec"]["replicas"] == 2


def test_an_apply_of_the_status_changes_nothing_else(cluster: KubeCluster) -> None:
    before = cluster.apply(deployment())[0]
    wanted = copy.deepcopy(deployment(replicas=7))
    wanted["status"] = {"replicas": 3, "conditions": [{"type": "Available", "status": "True"}]}
    (after,) = cluster.apply(wanted, manager="controller", subresource="status")
    assert after["spec"] == before["spec"]
    assert after["status"]["replicas"] == 3
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    entry = next(one for one in after["metadata"]["managedFields"] if one["manager"] == "controller")
    assert entry["subresource"] == "status"
    assert list(entry["fieldsV1"]) == ["f:status"]


def test_a_field_that_there_is_not_is_refused(cluster: KubeCluster) -> None:
    with pytest.raises(ApiError, match=r"\.spec\.replica: field not declared in schema"):
        cluster.apply(deployment(replica=2))


def test_a_key_that_is_there_twice_is_refused(cluster: KubeCluster) -> None:
    with pytest.raises(ApiError, match=r'duplicate entries for key \[name="engine"\]'):
        cluster.apply(deployment(container(), container()))


def test_an_apply_for_a_trial_stores_nothing(cluster: KubeCluster) -> None:
    query = {"fieldManager": "fairlead", "dryRun": "All"}
    kind = "application/apply-patch+yaml"
    made = cluster.call("PATCH", cluster.path(DEPLOYMENTS, "m"), deployment(), query=query, content_type=kind)
    assert made["spec"]["replicas"] == 1
    assert cluster.get(DEPLOYMENTS, "m") is None


def test_kubectl_applies_on_its_own_side_what_it_applied_before(cluster: KubeCluster) -> None:
    first = """
apiVersion: v1
kind: Service
metadata: {name: m}
spec: {clusterIP: None, selector: {app: m}, ports: [{name: http, port: 8000}, {name: more, port: 8001}]}
"""
    assert cluster.kubectl("apply", "-f", "-", text=first).stdout == "service/m created\n"
    assert cluster.kubectl("apply", "-f", "-", text=first).stdout == "service/m unchanged\n"
    less = first.replace(", {name: more, port: 8001}", "")
    assert cluster.kubectl("apply", "-f", "-", text=less).stdout == "service/m configured\n"
    found = cluster.get("v1/services", "m")
    assert found is not None
    assert found["spec"]["ports"] == [{"name": "http", "port": 8000, "protocol": "TCP", "targetPort": 8000}]
