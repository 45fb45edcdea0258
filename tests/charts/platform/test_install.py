"""Helm itself against a cluster: what an upgrade keeps, and what outlives a release."""

import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import pytest

from fairlead_serve.keys import KeyFile
from tests.charts.platform.release import ANONYMOUS, CHART, LARGE, merged
from tests.kube.cluster import ApiError, KubeCluster
from tests.kube.fixture import cluster
from tests.kube.server import KubeServer

__all__ = ["cluster"]

DEFINITIONS = "apiextensions.k8s.io/v1/customresourcedefinitions"
MODELS = "fairlead.dev/v1alpha1/models"
TOKEN = "fairlead-internal-token"
# The cluster of the tests has the kind already.
SMALL = merged(ANONYMOUS, {"crds": {"install": False}})


@pytest.fixture
def helm(cluster: KubeCluster) -> Iterator[helm_python.Config]:
    # The history of releases in memory: Helm would store it in protobuf, which the stand-in does not read.
    with helm_python.Config(
        kubeconfig_path=cluster.kubeconfig, namespace=cluster.namespace, storage_driver="memory"
    ) as config:
        yield config


def install(helm: helm_python.Config, cluster: KubeCluster, values: dict[str, Any] = SMALL) -> None:
    helm.install(CHART, "fairlead", values, namespace=cluster.namespace)


def upgrade(helm: helm_python.Config, cluster: KubeCluster, values: dict[str, Any]) -> None:
    helm.upgrade(CHART, "fairlead", values, namespace=cluster.namespace)


def token(cluster: KubeCluster) -> str:
    secret = cluster.get("v1/secrets", TOKEN)
    assert secret is not None
    return str(secret["data"]["token"])


def test_an_upgrade_keeps_the_token_that_the_engines_know(helm: helm_python.Config, cluster: KubeCluster) -> None:
    install(helm, cluster)
    first = token(cluster)
    upgrade(helm, cluster, merged(SMALL, {"operator": {"replicas": 2}}))
    assert token(cluster) == first
    assert len(first) >= 64


def test_each_cluster_has_a_token_of_its_own(helm: helm_python.Config, cluster: KubeCluster) -> None:
    install(helm, cluster)
    first = token(cluster)
    cluster.delete("v1/secrets", TOKEN)
    upgrade(helm, cluster, SMALL)
    assert token(cluster) != first


def test_what_outlives_a_release_is_there_for_the_next_one(helm: helm_python.Config, cluster: KubeCluster) -> None:
    install(helm, cluster)
    first = token(cluster)
    helm.uninstall("fairlead")
    assert cluster.get("apps/v1/deployments", "fairlead-gateway") is None
    assert cluster.get("v1/persistentvolumeclaims", "fairlead-gateway") is not None
    install(helm, cluster)
    assert token(cluster) == first


def test_a_small_release_grows_and_shrinks_again(helm: helm_python.Config, cluster: KubeCluster) -> None:
    def strategy() -> str:
        gateway = cluster.get("apps/v1/deployments", "fairlead-gateway")
        assert gateway is not None
        return str(gateway["spec"]["strategy"]["type"])

    install(helm, cluster)
    upgrade(helm, cluster, merged(LARGE, {"crds": {"install": False}}))
    assert strategy() == "RollingUpdate"
    assert cluster.get("rbac.authorization.k8s.io/v1/roles", "fairlead-gateway") is None
    upgrade(helm, cluster, SMALL)
    assert strategy() == "Recreate"
    assert cluster.get("rbac.authorization.k8s.io/v1/roles", "fairlead-gateway") is not None


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl on this machine")
def test_the_commands_of_the_notes_make_a_key_and_a_model(
    helm: helm_python.Config, cluster: KubeCluster, tmp_path: Path
) -> None:
    keyed = merged(LARGE, {"crds": {"install": False}})
    notes = helm.install(CHART, "fairlead", keyed, namespace=cluster.namespace)["notes"]
    commands = [
        line.strip() for line in notes.splitlines() if re.match(r"  (KEY=|kubectl .* create secret|echo )", line)
    ]
    assert len(commands) == 3
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(tmp_path), "KUBECONFIG": str(cluster.kubeconfig)}
    for shell_command in commands:
        subprocess.run(["bash", "-c", shell_command], cwd=tmp_path, env=environment, check=True, timeout=60)
    secret = cluster.get("v1/secrets", "keys")
    assert secret is not None
    stored = tmp_path / "stored.yaml"
    stored.write_bytes(base64.b64decode(secret["data"]["keys.yaml"]))
    assert [key.name for key in KeyFile(stored).load()] == ["me"]
    assert cluster.get("fairlead.dev/v1alpha1/models", "demo") is not None


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[KubeCluster]:
    """A cluster that has never heard of Models."""
    with KubeServer() as server, server.client() as client:
        yield KubeCluster(client, server.kubeconfig(tmp_path / "bare"), "default", server=server)


def test_models_come_with_the_first_release_and_stay_after_the_last(bare: KubeCluster) -> None:
    model = {"apiVersion": "fairlead.dev/v1alpha1", "kind": "Model", "metadata": {"name": "m"}}
    with helm_python.Config(kubeconfig_path=bare.kubeconfig, namespace="default", storage_driver="memory") as helm:
        install(helm, bare, ANONYMOUS)
        bare.apply({**model, "spec": {"model": {"uri": "tiny://chat"}, "engine": {"device": "cpu"}}})
        first = bare.get(DEFINITIONS, "models.fairlead.dev")
        upgrade(helm, bare, merged(ANONYMOUS, {"operator": {"replicas": 2}}))
        helm.uninstall("fairlead")
        assert bare.get("apps/v1/deployments", "fairlead-operator") is None
        assert bare.get(MODELS, "m") is not None
        install(helm, bare, ANONYMOUS)
    last = bare.get(DEFINITIONS, "models.fairlead.dev")
    assert first is not None
    assert last is not None
    assert last["metadata"]["uid"] == first["metadata"]["uid"]
    with pytest.raises(ApiError, match="Unsupported value"):
        bare.patch(MODELS, "m", {"spec": {"cluster": "Nowhere"}})
