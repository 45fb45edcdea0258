"""Who may do what: the rights of operator and gateway, as a table."""

from itertools import product
from typing import Any

import pytest

from fairlead_operator.render import Manifest
from tests.charts.platform.release import ANONYMOUS, LARGE, Release, merged, release
from tests.charts.workload import KUBERAY, model, workload

LOOK = ["list", "watch"]
OWN = ["get", *LOOK, "create", "patch", "delete"]
OPERATOR = {
    "fairlead.dev/models": LOOK,
    "fairlead.dev/models/status": ["update"],
    "fairlead.dev/models/finalizers": ["update"],
    "apps/deployments": OWN,
    "apps/controllerrevisions": OWN,
    "/services": OWN,
    "/configmaps": OWN,
    "/serviceaccounts": OWN,
    "networking.k8s.io/networkpolicies": OWN,
    "policy/poddisruptionbudgets": OWN,
    "ray.io/rayservices": OWN,
    "monitoring.coreos.com/podmonitors": OWN,
    "/persistentvolumeclaims": OWN,
    "ray.io/rayclusters": [*LOOK, "patch", "delete"],
    "/pods": LOOK,
    "/events": ["list", "watch", "create", "patch"],
    "/secrets": ["get"],
}
GATEWAY = {"fairlead.dev/models": LOOK, "discovery.k8s.io/endpointslices": LOOK}
LEASE = {
    "coordination.k8s.io/leases": ["create"],
    "coordination.k8s.io/leases#fairlead-operator": ["get", "update"],
}
TOKEN = {"/secrets": ["create"], "/secrets#fairlead-internal-token": ["patch"]}
NODES = {"/nodes": ["list"], "/pods": ["list"]}


def table(role: Manifest) -> dict[str, list[str]]:
    """Verbs by `group/resource`; `#` and a name where only objects of that name are meant."""
    found: dict[str, list[str]] = {}
    for rule in role["rules"]:
        names = [f"#{one}" for one in rule.get("resourceNames", ())] or [""]
        for group, resource, name in product(rule["apiGroups"], rule["resources"], names):
            found.setdefault(f"{group}/{resource}{name}", []).extend(rule["verbs"])
    return found


def both(one: dict[str, list[str]], other: dict[str, list[str]]) -> dict[str, list[str]]:
    return {place: [*one.get(place, ()), *other.get(place, ())] for place in {**one, **other}}


def rights(made: Release, component: str) -> dict[tuple[str, str], dict[str, list[str]]]:
    """The tables that a component's account is bound to, by the binding's kind and namespace."""
    account = made.pod(component)["spec"]["serviceAccountName"]
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for binding in (*made.of("RoleBinding"), *made.of("ClusterRoleBinding")):
        (subject,) = binding["subjects"]
        if (subject["name"], subject["namespace"]) != (account, "platform"):
            continue
        place = binding["kind"], binding["metadata"].get("namespace", "")
        (role,) = [
            one
            for one in made.of(binding["roleRef"]["kind"])
            if one["metadata"]["name"] == binding["roleRef"]["name"]
            and one["metadata"].get("namespace", "") == place[1]
        ]
        found[place] = both(found.get(place, {}), table(role))
    return found


def test_by_default_the_rights_end_with_the_namespace() -> None:
    assert rights(release(), "operator") == {
        ("RoleBinding", "platform"): {**OPERATOR, **LEASE},
        ("ClusterRoleBinding", ""): NODES,
    }
    assert rights(release(), "gateway") == {("RoleBinding", "platform"): GATEWAY}


def test_nothing_reaches_beyond_the_namespace_where_nodes_are_not_to_be_read() -> None:
    made = release(merged(ANONYMOUS, {"operator": {"rbac": {"readNodes": False}}}))
    assert list(rights(made, "operator")) == [("RoleBinding", "platform")]
    assert not made.of("ClusterRole")


def test_in_each_namespace_with_models_there_are_the_rights_and_that_to_bring_the_token() -> None:
    made = release(merged(ANONYMOUS, {"namespaces": ["a", "b"], "operator": {"rbac": {"readNodes": False}}}))
    assert rights(made, "operator") == {
        ("RoleBinding", "a"): both(OPERATOR, TOKEN),
        ("RoleBinding", "b"): both(OPERATOR, TOKEN),
        ("RoleBinding", "platform"): LEASE,
    }
    assert set(rights(made, "gateway")) == {("RoleBinding", "a"), ("RoleBinding", "b")}


def test_for_the_whole_cluster_the_rights_are_the_same() -> None:
    made = release(merged(LARGE, {"operator": {"rbac": {"readNodes": False}}}))
    assert rights(made, "operator") == {
        ("ClusterRoleBinding", ""): both(OPERATOR, {"/secrets": ["create"], "/secrets#token": ["patch"]}),
        ("RoleBinding", "platform"): LEASE,
    }


def test_the_gateway_reads_no_secret_but_those_that_it_is_told() -> None:
    assert rights(release(LARGE), "gateway") == {
        ("ClusterRoleBinding", ""): {**GATEWAY, "/secrets#openai": ["get"]},
    }


def test_nobody_lists_secrets_or_may_do_everything() -> None:
    for role in (*release().of("Role"), *release().of("ClusterRole"), *release(LARGE).of("ClusterRole")):
        verbs = table(role)
        assert not [place for place, several in verbs.items() if "*" in place or "*" in several]
        assert not {"list", "watch"} & set(verbs.get("/secrets", ()))


@pytest.mark.parametrize("spec", [{"cache": {}, "replicas": 2}, {**KUBERAY, "replicas": 2}], ids=str)
def test_the_operator_may_apply_whatever_it_renders(spec: dict[str, Any]) -> None:
    (role,) = [one for one in release().of("Role") if one["metadata"]["name"] == "fairlead-operator"]
    allowed = table(role)
    for manifest in workload(model(**spec)).manifests:
        group = manifest["apiVersion"].rpartition("/")[0]
        plural = manifest["kind"].lower().removesuffix("y") + ("ies" if manifest["kind"].endswith("y") else "s")
        assert {"create", "patch", "get"} <= set(allowed[f"{group}/{plural}"])


def test_releases_in_two_namespaces_do_not_share_an_object_of_the_cluster() -> None:
    one, other = (release(LARGE, namespace=namespace).of("ClusterRole") for namespace in ("a", "a-b"))
    assert not {role["metadata"]["name"] for role in one} & {role["metadata"]["name"] for role in other}


def test_only_the_pods_that_ask_the_api_server_get_its_token() -> None:
    made = release()
    assert [account["automountServiceAccountToken"] for account in made.of("ServiceAccount")] == [False, False]
    assert all(made.pod(component)["spec"]["automountServiceAccountToken"] for component in ("operator", "gateway"))
