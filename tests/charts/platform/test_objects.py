"""The pods of operator and gateway, and what surrounds them."""

from typing import Any

import pytest
import yaml

from fairlead_serve import __version__
from fairlead_serve.internal import TOKEN_VARIABLE
from fairlead_serve.settings import GatewaySettings
from tests.charts.platform.release import ANONYMOUS, CHART, LARGE, Release, merged, release

COMPONENTS = ["operator", "gateway"]


def gateway(**values: Any) -> Release:
    """A release whose gateway is as `values` say."""
    return release(merged(ANONYMOUS, {"gateway": values}))


def test_a_small_release_is_little_more_than_two_pods() -> None:
    assert sorted({manifest["kind"] for manifest in release().manifests}) == [
        "ClusterRole", "ClusterRoleBinding", "ConfigMap", "Deployment", "NetworkPolicy", "PersistentVolumeClaim",
        "Role", "RoleBinding", "Secret", "Service", "ServiceAccount",
    ]  # fmt: skip
    assert len(release().of("Deployment")) == 2


@pytest.mark.parametrize("values", [ANONYMOUS, LARGE], ids=["small", "large"])
def test_every_object_says_whose_it_is(values: dict[str, Any]) -> None:
    for manifest in release(values, name="fl").manifests:
        labels = manifest["metadata"]["labels"]
        assert (labels["app.kubernetes.io/name"], labels["app.kubernetes.io/instance"]) == ("fairlead", "fl")
        assert (labels["app.kubernetes.io/part-of"], labels["app.kubernetes.io/version"]) == ("fairlead", __version__)
        if manifest["kind"] != "Secret":
            assert labels["app.kubernetes.io/component"] in COMPONENTS


@pytest.mark.parametrize("component", COMPONENTS)
def test_what_selects_pods_selects_those_of_its_component_alone(component: str) -> None:
    made = release(merged(LARGE, {component: {"podLabels": {"app.kubernetes.io/component": "x", "team": "a"}}}))
    selectors = [
        made["Deployment", f"fairlead-{component}"]["spec"]["selector"]["matchLabels"],
        made["NetworkPolicy", f"fairlead-{component}"]["spec"]["podSelector"]["matchLabels"],
        made["PodDisruptionBudget", f"fairlead-{component}"]["spec"]["selector"]["matchLabels"],
        *(
            spread["labelSelector"]["matchLabels"]
            for spread in made.pod(component)["spec"]["topologySpreadConstraints"]
        ),
    ]
    if component == "gateway":
        selectors.append(made["Service", "fairlead-gateway"]["spec"]["selector"])
    (other,) = set(COMPONENTS) - {component}
    for selector in selectors:
        assert selector.items() <= made.pod(component)["metadata"]["labels"].items()
        assert not selector.items() <= made.pod(other)["metadata"]["labels"].items()
    assert made.pod(component)["metadata"]["labels"]["team"] == "a"


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_pod_has_no_right_on_its_machine(component: str) -> None:
    spec = release().pod(component)["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert release().container(component)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = [
        mount["mountPath"] for mount in release().container(component)["volumeMounts"] if "readOnly" not in mount
    ]
    assert writable == (["/tmp"] if component == "operator" else ["/var/lib/fairlead", "/tmp"])


@pytest.mark.parametrize("component", COMPONENTS)
def test_new_settings_make_a_new_pod_and_other_values_do_not(component: str) -> None:
    settings: dict[str, Any] = {"operator": {"runAsUser": 2000}, "gateway": {"defaultModel": "m"}}
    changed = release(merged(ANONYMOUS, {component: {"settings": settings[component]}}))
    assert changed.pod(component) != release().pod(component)
    (other,) = set(COMPONENTS) - {component}
    assert changed.pod(other) == release().pod(other)
    same = release(merged(ANONYMOUS, {component: {"networkPolicy": {"enabled": False}}}))
    assert same.pod(component) == release().pod(component)
    assert ("NetworkPolicy", f"fairlead-{component}") not in same


@pytest.mark.parametrize("component", COMPONENTS)
def test_pods_are_placed_as_the_values_say(component: str) -> None:
    placement = {
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
    }
    values = {component: {**placement, "podAnnotations": {"a": "b"}, "resources": {"limits": {"memory": "1Gi"}}}}
    made = release(merged(ANONYMOUS, values, {"imagePullSecrets": [{"name": "registry"}]}))
    assert placement.items() <= made.pod(component)["spec"].items()
    assert made.pod(component)["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert made.pod(component)["metadata"]["annotations"]["a"] == "b"
    assert made.container(component)["resources"]["limits"] == {"memory": "1Gi"}


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_image_is_that_of_the_chart_unless_another_is_named(component: str) -> None:
    def image(**values: str) -> str:
        made = release(merged(ANONYMOUS, {component: {"image": values}}))
        return str(made.container(component)["image"])

    digest = f"sha256:{'0' * 64}"
    assert image() == f"ghcr.io/fairlead/{component}:{__version__}"
    assert image(repository="registry/x", tag="2") == "registry/x:2"
    assert image(tag="2", digest=digest) == f"ghcr.io/fairlead/{component}@{digest}"


def test_the_chart_is_of_the_version_that_it_installs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == __version__


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize(
    ("values", "arguments"),
    [
        ({}, ["--namespace=platform"]),
        ({"namespaces": ["a", "b"]}, ["--namespace=a", "--namespace=b"]),
        ({"scope": "cluster"}, ["--all-namespaces"]),
    ],
    ids=str,
)
def test_both_look_where_they_have_rights(component: str, values: dict[str, Any], arguments: list[str]) -> None:
    given = release(merged(ANONYMOUS, values)).container(component)["args"]
    assert [argument for argument in given if "namespace" in argument] == arguments


def test_a_single_pod_may_always_be_drained_and_of_several_only_one_at_a_time() -> None:
    assert not release().of("PodDisruptionBudget")
    assert [budget["spec"]["maxUnavailable"] for budget in release(LARGE).of("PodDisruptionBudget")] == [1, 1]


def test_several_pods_stand_apart_where_there_is_room() -> None:
    assert "topologySpreadConstraints" not in release().pod("gateway")["spec"]
    spread = release(LARGE).pod("gateway")["spec"]["topologySpreadConstraints"]
    assert {one["whenUnsatisfiable"] for one in spread} == {"ScheduleAnyway"}


def test_sqlite_has_one_writer_and_its_claim_stays() -> None:
    made = release()
    assert made["Deployment", "fairlead-gateway"]["spec"]["strategy"] == {"type": "Recreate"}
    claim = made["PersistentVolumeClaim", "fairlead-gateway"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}
    (data,) = [one for one in made.pod("gateway")["spec"]["volumes"] if one["name"] == "data"]
    assert data["persistentVolumeClaim"] == {"claimName": "fairlead-gateway"}


def test_the_claim_is_as_the_values_say() -> None:
    made = gateway(database={"size": "1Ti", "storageClassName": "fast"})
    spec = made["PersistentVolumeClaim", "fairlead-gateway"]["spec"]
    assert (spec["resources"]["requests"]["storage"], spec["storageClassName"]) == ("1Ti", "fast")


def test_with_a_database_no_gateway_is_missing_during_an_upgrade() -> None:
    made = release(LARGE)
    strategy = made["Deployment", "fairlead-gateway"]["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert not made.of("PersistentVolumeClaim")
    assert made.environment("gateway")["FAIRLEAD_DATABASE_URL"] == {"secretKeyRef": {"name": "database", "key": "url"}}


def test_a_redis_and_variables_of_the_users_reach_the_gateway() -> None:
    environment = release(LARGE).environment("gateway")
    assert environment["FAIRLEAD_LIMITS_URL"] == {"secretKeyRef": {"name": "redis", "key": "address"}}
    assert environment["PGSSLMODE"] == "verify-full"
    assert list(release().environment("gateway")) == [TOKEN_VARIABLE]


@pytest.mark.parametrize(
    ("times", "seconds"), [({}, 140), ({"drainSeconds": 600}, 620), ({"drainDelaySeconds": 2.5}, 143)], ids=str
)
def test_a_gateway_is_not_killed_before_it_has_drained(times: dict[str, float], seconds: int) -> None:
    made = gateway(settings={"times": times})
    assert made.pod("gateway")["spec"]["terminationGracePeriodSeconds"] == seconds
    sleep = made.container("gateway")["lifecycle"]["preStop"]["sleep"]["seconds"]
    usual = GatewaySettings().times
    drain = times.get("drainSeconds", usual.drain_seconds) + times.get("drainDelaySeconds", usual.drain_delay_seconds)
    assert seconds >= sleep + drain + 10


def test_the_service_leads_to_the_gateways_port() -> None:
    for made, type_, port in ((release(), "ClusterIP", 80), (release(LARGE), "LoadBalancer", 8443)):
        spec = made["Service", "fairlead-gateway"]["spec"]
        (found,) = spec["ports"]
        (container_port,) = made.container("gateway")["ports"]
        assert (spec["type"], found["port"], found["targetPort"]) == (type_, port, container_port["name"])
        assert f"--port={container_port['containerPort']}" in made.container("gateway")["args"]
    assert made["Service", "fairlead-gateway"]["metadata"]["annotations"] == {"a": "b"}


def peer(namespace: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"name": namespace}}}


def ingress_of_the_gateway(made: Release) -> dict[str, Any]:
    (rule,) = made["NetworkPolicy", "fairlead-gateway"]["spec"]["ingress"]
    return dict(rule)


def test_the_gateway_is_open_to_everybody_on_one_port_unless_clients_are_named() -> None:
    everybody = {"ports": [{"port": "http", "protocol": "TCP"}]}
    assert ingress_of_the_gateway(release()) == everybody
    assert ingress_of_the_gateway(gateway(networkPolicy={"prometheus": [peer("monitoring")]})) == everybody
    named = ingress_of_the_gateway(gateway(networkPolicy={"clients": [peer("apps")]}))
    assert named.pop("from")[:-1] == [peer("apps")]
    assert named == everybody


def test_clients_that_are_named_lock_out_neither_prometheus_nor_the_operator() -> None:
    made = gateway(networkPolicy={"clients": [peer("apps")], "prometheus": [peer("monitoring")]})
    *others, operator = ingress_of_the_gateway(made)["from"]
    assert others == [peer("apps"), peer("monitoring")]
    assert operator == {
        "podSelector": {"matchLabels": made["Deployment", "fairlead-operator"]["spec"]["selector"]["matchLabels"]}
    }


def test_the_operator_is_open_to_prometheus_alone() -> None:
    prometheus = [peer("monitoring")]
    made = release(merged(ANONYMOUS, {"operator": {"networkPolicy": {"prometheus": prometheus}}}))
    assert release()["NetworkPolicy", "fairlead-operator"]["spec"]["ingress"] == []
    (rule,) = made["NetworkPolicy", "fairlead-operator"]["spec"]["ingress"]
    (port,) = made.container("operator")["ports"]
    assert rule == {"from": prometheus, "ports": [{"port": port["name"], "protocol": "TCP"}]}


@pytest.mark.parametrize("component", COMPONENTS)
def test_kubernetes_asks_both_how_they_are(component: str) -> None:
    container = release().container(component)
    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert paths == {"startupProbe": "/livez", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
    (port,) = container["ports"]
    assert all(container[probe]["httpGet"]["port"] == port["name"] for probe in paths)
