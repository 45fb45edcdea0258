"""Kubernetes' own kinds: what the server fills in, keeps from changing, and refuses."""

import copy
from typing import Any

import pytest

from tests.kube.cluster import ApiError, KubeCluster
from tests.kube.resources import Manifest
from tests.kube.samples import config_map, container, deployment
from tests.kube.server import KubeServer

DEPLOYMENTS = "apps/v1/deployments"


def test_a_deployment_comes_back_with_the_defaults_of_its_pods(cluster: KubeCluster) -> None:
    probe = {"httpGet": {"port": 8000}}
    field = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    wanted = deployment(
        container(readinessProbe=probe, env=[field], ports=[{"containerPort": 8000}], volumeMounts=[]),
    )
    spec = wanted["spec"]["template"]["spec"]
    spec["volumes"] = [{"name": "model", "configMap": {"name": "m"}}, {"name": "scratch", "emptyDir": {}}]
    spec["nodeSelector"] = {}
    made = cluster.create(wanted)["spec"]
    pod = made["template"]["spec"]
    (engine,) = pod["containers"]
    assert made["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (made["revisionHistoryLimit"], made["progressDeadlineSeconds"]) == (10, 600)
    assert (pod["restartPolicy"], pod["dnsPolicy"], pod["terminationGracePeriodSeconds"]) == (
        "Always",
        "ClusterFirst",
        30,
    )
    assert pod["volumes"][0]["configMap"] == {"name": "m", "defaultMode": 420}
    assert engine["readinessProbe"] == {
        "httpGet": {"port": 8000, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert engine["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert engine["imagePullPolicy"] == "IfNotPresent"
    # What is empty is not kept.
    assert "volumeMounts" not in engine
    assert "nodeSelector" not in pod


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1000m", "1"),
        ("0.5", "500m"),
        (2, "2"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1e3", "1e3"),
        ("100M", "100M"),
    ],
)
def test_a_quantity_comes_back_in_its_one_form(cluster: KubeCluster, written: Any, read: str) -> None:
    made = cluster.create(deployment(container(resources={"limits": {"memory": written}})))
    (engine,) = made["spec"]["template"]["spec"]["containers"]
    assert engine["resources"] == {"limits": {"memory": read}, "requests": {"memory": read}}


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"selector": {"matchLabels": {"app": "x"}}}, "spec.template.metadata.labels", "does not match template"),
        ({"selector": None}, "spec.selector", "Required value"),
        (
            {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}},
            "spec.strategy.rollingUpdate.maxUnavailable",
            "may not be 0 when `maxSurge` is 0",
        ),
    ],
)
def test_a_deployment_that_cannot_be_is_refused(
    cluster: KubeCluster, change: Manifest, field: str, message: str
) -> None:
    with pytest.raises(ApiError) as refusal:
        cluster.create(deployment(**change))
    assert refusal.value.code == 422
    (cause,) = refusal.value.status["details"]["causes"]
    assert cause["field"] == field
    assert message in cause["message"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": ""}, r"containers\[0\]\.image: Required value"),
        ({"volumeMounts": [{"name": "x", "mountPath": "/x"}]}, r'volumeMounts\[0\]\.name: Not found: "x"'),
        (
            {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
            "must be less than or equal to cpu limit of 1",
        ),
        ({"resources": {"limits": {"cpu": "much"}}}, "quantities must match the regular expression"),
        ({"ports": "8000"}, "cannot unmarshal string into Go struct field"),
    ],
)
def test_a_container_that_cannot_be_is_refused(cluster: KubeCluster, change: Manifest, message: str) -> None:
    with pytest.raises(ApiError, match=message):
        cluster.create(deployment(container(**change)))


def test_a_label_that_cannot_be_is_refused(cluster: KubeCluster) -> None:
    wrong = deployment()
    wrong["metadata"]["labels"] = {"team": "a b"}
    with pytest.raises(ApiError, match="a valid label must be an empty string or consist of"):
        cluster.create(wrong)


def test_a_selector_stays_as_it_is(cluster: KubeCluster) -> None:
    made = cluster.create(deployment())
    changed = copy.deepcopy(made)
    changed["spec"]["selector"]["matchLabels"] = {"app": "n"}
    changed["spec"]["template"]["metadata"]["labels"] = {"app": "n"}
    with pytest.raises(ApiError, match="field is immutable"):
        cluster.call("PUT", cluster.path(DEPLOYMENTS, "m"), changed)


def test_an_immutable_config_map_stays_as_it_is(cluster: KubeCluster) -> None:
    cluster.create({**config_map(x="1"), "immutable": True})
    with pytest.raises(ApiError, match="field is immutable when `immutable` is set"):
        cluster.patch("v1/configmaps", "a", {"data": {"x": "2"}})
    cluster.patch("v1/configmaps", "a", {"metadata": {"labels": {"team": "a"}}})


def test_a_service_has_an_address_unless_it_is_headless(cluster: KubeCluster) -> None:
    def service(name: str, **spec: Any) -> Manifest:
        ports = [{"port": 8000, "name": "http"}]
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports, **spec}}

    plain = cluster.create(service("plain"))["spec"]
    assert plain["clusterIP"].startswith("10.96.")
    assert plain["ports"] == [{"port": 8000, "name": "http", "protocol": "TCP", "targetPort": 8000}]
    assert cluster.create(service("headless", clusterIP="None"))["spec"]["clusterIP"] == "None"
    with pytest.raises(ApiError, match="a DNS-1035 label must consist of"):
        cluster.create(service("7b"))


def test_text_of_a_secret_is_kept_as_bytes(cluster: KubeCluster) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"token": "abc"}}
    made = cluster.create(secret)
    assert (made["type"], made["data"]) == ("Opaque", {"token": "YWJj"})
    assert "stringData" not in made


def pod(name: str) -> Manifest:
    metadata = {"name": name, "labels": {"app": "m"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container()]}}


def test_a_pod_on_a_node_is_gone_when_its_kubelet_says_so(cluster: KubeCluster) -> None:
    on_a_node = pod("p")
    on_a_node["spec"]["nodeName"] = "a"
    cluster.create(on_a_node)
    cluster.delete("v1/pods", "p")
    leaving = cluster.get("v1/pods", "p")
    assert leaving is not None
    assert leaving["metadata"]["deletionGracePeriodSeconds"] == 30
    cluster.delete("v1/pods", "p", gracePeriodSeconds=0)
    assert cluster.get("v1/pods", "p") is None


def test_an_eviction_keeps_to_the_budget(cluster: KubeCluster) -> None:
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    for name in ("a", "b"):
        cluster.create(pod(name))
        cluster.patch("v1/pods", name, ready, subresource="status")
    budget = {"minAvailable": 1, "selector": {"matchLabels": {"app": "m"}}}
    kind = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "m"}}
    cluster.create({**kind, "spec": budget})

    def evict(name: str) -> None:
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        cluster.call("POST", cluster.path("v1/pods", name, "eviction"), eviction)

    evict("a")
    with pytest.raises(ApiError, match="would violate the pod's disruption budget") as refusal:
        evict("b")
    assert refusal.value.code == 429


def test_a_service_that_was_given_an_address_cannot_become_headless(cluster: KubeCluster) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": [{"port": 8000}]}}
    (made,) = cluster.apply(service)
    headless = {**service, "spec": {"ports": [{"port": 8000}], "clusterIP": "None"}}
    with pytest.raises(ApiError, match="may not change once set"):
        cluster.apply(headless)
    assert cluster.apply(service)[0] == made


def test_what_the_server_filled_in_stands_in_the_way_of_another_strategy(cluster: KubeCluster) -> None:
    cluster.apply(deployment())
    with pytest.raises(ApiError, match="may not be specified when strategy `type` is 'Recreate'"):
        cluster.apply(deployment(strategy={"type": "Recreate"}))


def test_a_claim_may_grow_and_nothing_else(cluster: KubeCluster) -> None:
    def claim(size: str, **spec: Any) -> Manifest:
        wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
        return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": wanted}

    storage = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "tests"}
    name = f"{cluster.namespace}-grows"
    cluster.create({**storage, "metadata": {"name": name}, "allowVolumeExpansion": True})
    cluster.apply(claim("10Gi", storageClassName=name))
    with pytest.raises(ApiError, match="Only bound persistent volume claims can be expanded"):
        cluster.apply(claim("20Gi", storageClassName=name))
    cluster.patch("v1/persistentvolumeclaims", "c", {"status": {"phase": "Bound"}}, subresource="status")
    cluster.apply(claim("20Gi", storageClassName=name))
    with pytest.raises(ApiError, match="can not be less than previous value"):
        cluster.apply(claim("10Gi", storageClassName=name))
    with pytest.raises(ApiError, match="spec is immutable after creation"):
        cluster.apply(claim("20Gi", storageClassName=name, accessModes=["ReadWriteMany"]))


def test_a_claim_without_a_class_is_given_the_default_one(cluster: KubeCluster, standin: KubeServer) -> None:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"}
    storage = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "tests"}
    cluster.create({**storage, "metadata": {"name": "standard", "annotations": annotations}})
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}}
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    (made,) = cluster.apply({**claim, "spec": wanted})
    assert made["spec"]["storageClassName"] == "standard"
    assert cluster.apply({**claim, "spec": wanted})[0] == made
