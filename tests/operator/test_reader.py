"""A cluster that is only looked at."""

from collections.abc import Iterator

import pytest

from fairlead_operator.api import Api
from fairlead_operator.errors import NotAllowed
from fairlead_operator.kinds import CHILDREN, Key, Kind
from fairlead_operator.reader import Reader
from fairlead_serve.api_server import ApiServer, connect
from tests.kube.cluster import KubeCluster
from tests.kube.resources import Manifest
from tests.kube.server import KubeServer

CONFIG_MAP = Kind("v1", "ConfigMap")
RAY_SERVICE = Kind("ray.io/v1", "RayService")


@pytest.fixture
def reader(cluster: KubeCluster) -> Iterator[Reader]:
    client = connect(cluster.kubeconfig)
    yield Reader(Api(ApiServer(client)))
    client.close()


def config_map(cluster: KubeCluster, name: str, model: str) -> Manifest:
    metadata = {"name": name, "namespace": cluster.namespace, "labels": {"fairlead.dev/model": model}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}


def test_what_bears_the_label_of_a_model_is_found_by_kind_and_says_what_it_is(
    cluster: KubeCluster, reader: Reader
) -> None:
    for name, model in (("one", "m"), ("two", "n")):
        cluster.create(config_map(cluster, name, model))
    found = reader.children(Key(cluster.namespace, "m"))
    assert list(found) == list(CHILDREN)
    (child,) = found[CONFIG_MAP] or ()
    assert (child["apiVersion"], child["kind"], child["metadata"]["name"]) == ("v1", "ConfigMap", "one")
    assert found[RAY_SERVICE] == []


def test_a_kind_that_the_cluster_does_not_know_is_told_apart_from_one_of_which_there_is_none(
    cluster: KubeCluster, reader: Reader, standin: KubeServer
) -> None:
    standin.fault(code=404, resource="rayservices.ray.io")
    assert reader.children(Key(cluster.namespace, "m"))[RAY_SERVICE] is None


def test_what_is_tried_is_not_made(cluster: KubeCluster, reader: Reader) -> None:
    assert reader.tried(config_map(cluster, "one", "m"))["data"] == {"a": "1"}
    assert reader.read(CONFIG_MAP, cluster.namespace, "one") is None


def test_what_may_not_be_looked_at_is_an_error(cluster: KubeCluster, reader: Reader, standin: KubeServer) -> None:
    standin.fault(code=403, resource="pods")
    with pytest.raises(NotAllowed):
        reader.children(Key(cluster.namespace, "m"))
