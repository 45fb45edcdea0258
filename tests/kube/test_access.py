"""Role-based access control: who may do what, and how one finds out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kube.cluster import ApiError, KubeCluster
from tests.kube.fixture import standin_cluster
from tests.kube.samples import config_map
from tests.kube.server import KubeServer

ROLE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [get, list, patch]}
- {apiGroups: [""], resources: [configmaps], resourceNames: [mine], verbs: [delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {kind: Role, name: reader, apiGroup: rbac.authorization.k8s.io}
subjects:
- {kind: User, name: ann}
- {kind: ServiceAccount, name: robot}
"""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[KubeCluster]:
    with standin_cluster(tmp_path, rbac=True) as opened:
        opened.apply(ROLE)
        opened.create(config_map("mine"))
        yield opened


def acting(cluster: KubeCluster, user: str, directory: Path) -> KubeCluster:
    server = cluster.server
    assert isinstance(server, KubeServer)
    file = server.kubeconfig(directory / "other", user, cluster.namespace)
    return KubeCluster(server.client(user), file, cluster.namespace, server=server)


def test_what_no_role_allows_is_forbidden_in_the_words_of_the_server(guarded: KubeCluster, tmp_path: Path) -> None:
    ann = acting(guarded, "ann", tmp_path)
    assert ann.get("v1/configmaps", "mine") is not None
    with pytest.raises(ApiError) as refusal:
        ann.get("v1/secrets", "x")
    assert refusal.value.status == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'secrets "x" is forbidden: User "ann" cannot get resource "secrets" in API group "" '
        f'in the namespace "{guarded.namespace}"',
        "reason": "Forbidden",
        "details": {"name": "x", "kind": "secrets"},
        "code": 403,
    }


def test_an_apply_that_would_create_needs_the_right_to_create(guarded: KubeCluster, tmp_path: Path) -> None:
    ann = acting(guarded, "ann", tmp_path)
    ann.apply(config_map("mine", x="1"))
    with pytest.raises(ApiError, match="cannot create resource"):
        ann.apply(config_map("new"))


def test_a_rule_may_be_about_one_name(guarded: KubeCluster, tmp_path: Path) -> None:
    robot = acting(guarded, f"system:serviceaccount:{guarded.namespace}:robot", tmp_path)
    guarded.create(config_map("other"))
    robot.delete("v1/configmaps", "mine")
    with pytest.raises(ApiError, match="cannot delete resource"):
        robot.delete("v1/configmaps", "other")


def test_kubectl_says_what_one_may_do(guarded: KubeCluster, tmp_path: Path) -> None:
    ann = acting(guarded, "ann", tmp_path)
    assert ann.kubectl("auth", "can-i", "list", "configmaps").stdout == "yes\n"
    assert ann.kubectl("auth", "can-i", "list", "secrets").stdout.startswith("no")
    assert "Forbidden" in ann.kubectl("get", "secrets").stderr
    assert "ann" in ann.kubectl("auth", "whoami").stdout
