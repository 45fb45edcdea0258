"""The official client of Python: typed, dynamic, paging and watching."""

import threading
from typing import Any

import kubernetes
import pytest
from kubernetes.client import ApiException, AppsV1Api, CoreV1Api, V1ConfigMap, V1ObjectMeta
from kubernetes.dynamic import DynamicClient

from tests.kube.cluster import KubeCluster
from tests.kube.samples import config_map, deployment
from tests.operator.samples import model


def test_typed_objects_are_written_and_read(cluster: KubeCluster) -> None:
    core: Any = CoreV1Api(cluster.client)
    apps: Any = AppsV1Api(cluster.client)
    made = core.create_namespaced_config_map(
        cluster.namespace, V1ConfigMap(metadata=V1ObjectMeta(generate_name="a-"), data={"x": "1"})
    )
    assert made.metadata.name.startswith("a-")
    assert core.read_namespaced_config_map(made.metadata.name, cluster.namespace).data == {"x": "1"}
    apps.create_namespaced_deployment(cluster.namespace, deployment(replicas=2))
    apps.patch_namespaced_deployment_scale("m", cluster.namespace, {"spec": {"replicas": 3}})
    assert apps.read_namespaced_deployment("m", cluster.namespace).spec.replicas == 3
    with pytest.raises(ApiException) as refusal:
        core.read_namespaced_config_map("none", cluster.namespace)
    assert refusal.value.status == 404


def test_the_dynamic_client_finds_custom_kinds(cluster: KubeCluster) -> None:
    models = DynamicClient(cluster.client).resources.get(api_version="fairlead.dev/v1alpha1", kind="Model")
    models.create(body=model(replicas=1), namespace=cluster.namespace)
    models.server_side_apply(
        body=model(replicas=2), name="m", namespace=cluster.namespace, field_manager="x", force_conflicts=True
    )
    assert models.get(name="m", namespace=cluster.namespace).spec.replicas == 2


def test_a_long_list_comes_in_pages(cluster: KubeCluster) -> None:
    for name in "abcde":
        cluster.create(config_map(name))
    core: Any = CoreV1Api(cluster.client)
    first = core.list_namespaced_config_map(cluster.namespace, limit=2, label_selector="")
    assert first.metadata.remaining_item_count >= 3
    names = [item.metadata.name for item in first.items]
    token = first.metadata._continue
    while token:
        page = core.list_namespaced_config_map(cluster.namespace, limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
    assert [name for name in names if len(name) == 1] == list("abcde")


def test_selectors_find_what_they_say(cluster: KubeCluster) -> None:
    for name, team in (("a", "red"), ("b", "blue"), ("c", "")):
        metadata = {"name": name, **({"labels": {"team": team}} if team else {})}
        cluster.create({**config_map(name), "metadata": metadata})
    core: Any = CoreV1Api(cluster.client)

    def found(**selector: str) -> set[str]:
        listed = core.list_namespaced_config_map(cluster.namespace, **selector)
        return {item.metadata.name for item in listed.items} & set("abc")

    assert found(label_selector="team=red") == {"a"}
    assert found(label_selector="team in (red, blue)") == {"a", "b"}
    assert found(label_selector="team!=red") == {"b", "c"}
    assert found(label_selector="!team") == {"c"}
    assert found(label_selector="team") == {"a", "b"}
    assert found(field_selector="metadata.name=b") == {"b"}


def test_a_watch_of_the_client_sees_every_change(cluster: KubeCluster) -> None:
    core: Any = CoreV1Api(cluster.client)
    version = core.list_namespaced_config_map(cluster.namespace).metadata.resource_version
    seen: list[tuple[str, str]] = []
    watch = kubernetes.watch.Watch()

    def follow() -> None:
        for event in watch.stream(
            core.list_namespaced_config_map, cluster.namespace, resource_version=version, timeout_seconds=10
        ):
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                watch.stop()

    following = threading.Thread(target=follow)
    following.start()
    cluster.create(config_map("a"))
    cluster.patch("v1/configmaps", "a", {"data": {"x": "1"}})
    cluster.delete("v1/configmaps", "a")
    following.join(15)
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
