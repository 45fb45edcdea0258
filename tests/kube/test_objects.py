"""Objects: what is stored of them, when a write is refused, and what goes away with what."""

import pytest

from tests.kube.cluster import ApiError, KubeCluster
from tests.kube.samples import config_map


def test_an_object_comes_back_with_what_the_server_fills_in(cluster: KubeCluster) -> None:
    created = cluster.create(config_map(x="1"))
    assert created["metadata"]["uid"]
    assert created["metadata"]["namespace"] == cluster.namespace
    assert cluster.get("v1/configmaps", "a") == created


def test_a_writer_who_has_not_seen_the_last_state_is_refused(cluster: KubeCluster) -> None:
    seen = cluster.create(config_map())
    cluster.patch("v1/configmaps", "a", {"data": {"x": "2"}})
    with pytest.raises(ApiError, match="the object has been modified") as refusal:
        cluster.call("PUT", cluster.path("v1/configmaps", "a"), seen)
    assert refusal.value.status["reason"] == "Conflict"
    assert refusal.value.status["details"] == {"name": "a", "kind": "configmaps"}
