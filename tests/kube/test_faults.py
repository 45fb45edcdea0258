"""What goes wrong on purpose."""

import time

import pytest
import urllib3

from tests.kube.cluster import ApiError, KubeCluster
from tests.kube.samples import config_map
from tests.kube.server import KubeServer

MAPS = "v1/configmaps"


def test_matching_requests_fail_as_often_as_asked(cluster: KubeCluster, standin: KubeServer) -> None:
    standin.fault(code=503, verb="create", resource="configmaps", times=1)
    cluster.list(MAPS)
    with pytest.raises(ApiError) as failure:
        cluster.create(config_map())
    assert (failure.value.code, failure.value.status["reason"]) == (503, "ServiceUnavailable")
    cluster.create(config_map())


def test_a_write_may_take_effect_and_fail_all_the_same(cluster: KubeCluster, standin: KubeServer) -> None:
    standin.fault(code=504, verb="create", times=1, after=True)
    with pytest.raises(ApiError):
        cluster.create(config_map())
    assert cluster.get(MAPS, "a") is not None


def test_a_connection_may_be_cut_instead_of_an_answer(cluster: KubeCluster, standin: KubeServer) -> None:
    standin.fault(hang_up=True, verb="patch", times=1)
    cluster.create(config_map())
    with pytest.raises(urllib3.exceptions.HTTPError):
        cluster.client.rest_client.pool_manager.request(
            "PATCH",
            standin.url + cluster.path(MAPS, "a"),
            body=b"{}",
            headers={"Content-Type": "application/merge-patch+json"},
            retries=False,
        )


def test_an_answer_may_take_its_time(cluster: KubeCluster, standin: KubeServer) -> None:
    standin.fault(delay_seconds=0.2, resource="configmaps")
    before = time.monotonic()
    cluster.list(MAPS)
    assert time.monotonic() - before >= 0.2
    standin.heal()
    before = time.monotonic()
    cluster.list(MAPS)
    assert time.monotonic() - before < 0.2


def test_the_audit_counts_what_was_asked(cluster: KubeCluster, standin: KubeServer) -> None:
    mark = len(standin.audit)
    cluster.list(MAPS)
    assert standin.audit.writes(mark) == []
    cluster.create(config_map())
    cluster.delete(MAPS, "a")
    assert standin.audit.verbs(mark) == {("list", "configmaps"), ("create", "configmaps"), ("delete", "configmaps")}
    assert [record.verb for record in standin.audit.writes(mark)] == ["create", "delete"]
