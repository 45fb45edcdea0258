"""Fixtures: a cluster with the kinds that Fairlead uses, and a fresh namespace in it.

A conftest takes them over with `from tests.kube.fixture import cluster, standin`. With FAIRLEAD_TEST_KUBECONFIG the
cluster is the real one of that kubeconfig; tests that take `standin` are then skipped.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kubernetes
import pytest

from fairlead_operator.crd import custom_resource_definition
from tests.kube import foreign, kubeconfig
from tests.kube.cluster import ApiError, KubeCluster
from tests.kube.resources import Manifest
from tests.kube.server import KubeServer

REAL = "FAIRLEAD_TEST_KUBECONFIG"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[KubeCluster]:
    """A cluster with a namespace of its own; the stand-in unless a real one is named."""
    real = os.environ.get(REAL)
    with real_cluster(Path(real), tmp_path) if real else standin_cluster(tmp_path) as opened:
        yield opened


@pytest.fixture
def standin(cluster: KubeCluster) -> KubeServer:
    """The server behind `cluster`, for what only the stand-in can do: faults, the audit, leaving and coming back."""
    if cluster.server is None:
        pytest.skip("only the stand-in can be made to fail, and this is a real cluster")
    return cluster.server


@contextmanager
def standin_cluster(directory: Path, *, rbac: bool = False, bookmark_seconds: float = 30) -> Iterator[KubeCluster]:
    """A cluster of the stand-in, with what it needs written to `directory`."""
    with KubeServer(rbac=rbac, bookmark_seconds=bookmark_seconds) as server:
        name = _name()
        file = server.kubeconfig(directory / "kubeconfig", namespace=name)
        with server.client() as client:
            server.define((custom_resource_definition(), *foreign.definitions()))
            opened = KubeCluster(client, file, name, server=server)
            opened.create(_namespace(name))
            yield opened


@contextmanager
def real_cluster(file: Path, directory: Path) -> Iterator[KubeCluster]:
    """A real cluster: a namespace in it for as long as the test runs. The custom kinds stay."""
    name = _name()
    client = kubernetes.config.new_client_from_config(str(file))
    copied = kubeconfig.with_namespace(file, directory / "kubeconfig", name)
    opened = KubeCluster(client, copied, name)
    try:
        opened.create(_namespace(name))
        _define(opened)
        yield opened
    finally:
        opened.delete("v1/namespaces", name)
        client.close()


def _name() -> str:
    return f"fairlead-test-{secrets.token_hex(4)}"


def _namespace(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def _define(cluster: KubeCluster) -> None:
    for definition in (custom_resource_definition(), *_absent(cluster)):
        cluster.apply(definition)
        cluster.wait_until(
            "apiextensions.k8s.io/v1/customresourcedefinitions",
            definition["metadata"]["name"],
            lambda found: found is not None and _established(found),
        )


def _absent(cluster: KubeCluster) -> list[Manifest]:
    """The kinds of others that the cluster does not have; a real one may have its own."""
    found = {one["metadata"]["name"] for one in cluster.list("apiextensions.k8s.io/v1/customresourcedefinitions")}
    return [one for one in foreign.definitions() if one["metadata"]["name"] not in found]


def _established(definition: Manifest) -> bool:
    conditions = definition.get("status", {}).get("conditions", ())
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


__all__ = ["ApiError", "KubeCluster", "cluster", "real_cluster", "standin", "standin_cluster"]
