"""Operator and gateway of an installed release at work, with the rights that the chart gives them and no others."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import helm_python
import httpx
import pytest
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from fairlead_operator.app import Installation, Operator, create_operator
from fairlead_operator.render import Manifest
from fairlead_operator.settings import load_operator_settings, watching
from fairlead_serve.api_server import connect
from tests.charts.platform.release import ANONYMOUS, CHART, merged
from tests.charts.platform.test_rbac import table
from tests.charts.workload import ROOT
from tests.kube.cluster import KubeCluster
from tests.kube.fixture import standin_cluster
from tests.kube.simulation.simulation import node, simulated
from tests.processes import Command

MODELS = "fairlead.dev/v1alpha1/models"
ENGINE = {"model": {"uri": "tiny://chat"}, "engine": {"device": "cpu"}}
SETTINGS: dict[str, Any] = {"images": {"cpu": "registry/engine:1"}, "monitoring": {"enabled": True}}


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[KubeCluster]:
    """The namespace of the platform, in a cluster in which everybody may do only what a role says."""
    with standin_cluster(tmp_path, rbac=True) as cluster:
        yield cluster


@pytest.fixture
def models(platform: KubeCluster) -> KubeCluster:
    """Another namespace, with a Model in it."""
    name = f"{platform.namespace}-models"
    platform.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    other = KubeCluster(platform.client, platform.kubeconfig, name, server=platform.server)
    other.apply(model("m", replicas=2, cache={"deletionPolicy": "Delete"}))
    return other


def model(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "fairlead.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {**ENGINE, **spec},
    }


def install(platform: KubeCluster, **values: Any) -> None:
    own = {"crds": {"install": False}, "operator": {"settings": SETTINGS}}
    with helm_python.Config(
        kubeconfig_path=platform.kubeconfig, namespace=platform.namespace, storage_driver="memory"
    ) as helm:
        helm.install(CHART, "fairlead", merged(ANONYMOUS, own, values), namespace=platform.namespace)


def settings_file(platform: KubeCluster, component: str, directory: Path) -> Path:
    """What the pod of a component finds mounted."""
    found = platform.get("v1/configmaps", f"fairlead-{component}")
    assert found is not None
    path = directory / f"{component}.yaml"
    path.write_text(found["data"][path.name], encoding="utf-8")
    return path


def account(platform: KubeCluster, component: str) -> str:
    return f"system:serviceaccount:{platform.namespace}:fairlead-{component}"


@contextmanager
def operating(
    platform: KubeCluster, directory: Path, monkeypatch: pytest.MonkeyPatch, *, namespaces: Sequence[str] = ()
) -> Iterator[Operator]:
    """The operator of the release, with its account and its settings; in all namespaces where none are given."""
    assert platform.server is not None
    monkeypatch.setenv("FAIRLEAD_OPERATOR_CHART", str(ROOT / "charts/model"))
    monkeypatch.setenv("FAIRLEAD_OPERATOR_HTTP", '{"host": "127.0.0.1", "port": 0}')
    settings = load_operator_settings(settings_file(platform, "operator", directory))
    settings = watching(settings, namespaces=tuple(namespaces), all_namespaces=not namespaces)
    kubeconfig = platform.server.kubeconfig(directory / "operator", account(platform, "operator"), platform.namespace)
    with connect(kubeconfig) as client:
        operator = create_operator(settings, Installation(client, platform.namespace, "secret"))
        stopping = threading.Event()
        thread = threading.Thread(target=operator.run, args=(stopping,))
        thread.start()
        try:
            yield operator
        finally:
            stopping.set()
            thread.join()


def reason(found: Manifest | None, condition: str) -> str:
    """The reason of a condition; empty while there is none."""
    conditions = (found or {}).get("status", {}).get("conditions", ())
    return next((one["reason"] for one in conditions if one["type"] == condition), "")


def refused(operator: Operator) -> list[str]:
    """Requests of the operator for which it had no right."""
    return [line for line in operator.metrics.render().decode().splitlines() if 'code="403"' in line]


@pytest.mark.parametrize("scope", ["namespace", "cluster"])
def test_the_operator_has_the_rights_that_it_needs(
    scope: str, platform: KubeCluster, models: KubeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespaces = [models.namespace] if scope == "namespace" else []
    # Without the right to list all pods, which would hide that one to list its own is missing.
    install(platform, scope=scope, namespaces=namespaces, operator={"rbac": {"readNodes": False}})
    assert platform.server is not None
    with simulated(platform.server), operating(platform, tmp_path, monkeypatch, namespaces=namespaces) as operator:
        models.wait_until(MODELS, "m", lambda found: found is not None and "status" in found)
        for kind in ("apps/v1/deployments", "v1/services", "monitoring.coreos.com/v1/podmonitors"):
            assert models.get(kind, "m") is not None
        assert models.get("v1/secrets", "fairlead-internal-token") is not None
        # What a Model no longer has is deleted.
        models.apply(model("m"))
        models.wait_gone("policy/v1/poddisruptionbudgets", "m")
        models.wait_gone("v1/persistentvolumeclaims", "m-cache")
        models.apply(model("r", cluster="KubeRay"))
        models.wait_until("ray.io/v1/rayservices", "r", lambda found: found is not None)
        models.apply(model("s", model={"uri": "hf://org/model", "accessSecretRef": {"name": "hf", "key": "token"}}))
        models.wait_until(MODELS, "s", lambda found: reason(found, "SpecValid") == "SecretNotFound")
        assert models.list("v1/events")
        assert refused(operator) == []


OWN_KINDS = (
    "v1/serviceaccounts", "v1/configmaps", "v1/persistentvolumeclaims", "v1/services",
    "networking.k8s.io/v1/networkpolicies", "policy/v1/poddisruptionbudgets", "apps/v1/deployments",
    "apps/v1/controllerrevisions", "ray.io/v1/rayservices", "monitoring.coreos.com/v1/podmonitors",
)  # fmt: skip
# The stand-in does not ask for it; OpenShift does, of whoever names an owner that blocks deletion.
ASKED_FOR_ELSEWHERE = {("update", "fairlead.dev/models/finalizers")}


def granted(platform: KubeCluster, models: KubeCluster) -> set[tuple[str, str]]:
    """Verbs and `group/resource` of every rule for the operator, wherever it is bound."""
    of_operator = "app.kubernetes.io/component=operator"
    within = [cluster.list("rbac.authorization.k8s.io/v1/roles", of_operator) for cluster in (platform, models)]
    roles = [*chain(*within), *platform.list("rbac.authorization.k8s.io/v1/clusterroles", of_operator)]
    rights = [(place.partition("#")[0], verbs) for role in roles for place, verbs in table(role).items()]
    return {(verb, place) for place, verbs in rights for verb in verbs}


def take_labels(models: KubeCluster, name: str) -> None:
    """Hide everything of a Model from whoever follows it by its label, and wait until it is found again."""
    label = "fairlead.dev/model"
    for kind in OWN_KINDS:
        for one in models.list(kind, f"{label}={name}"):
            models.patch(kind, one["metadata"]["name"], {"metadata": {"labels": {label: None}}})
            models.wait_until(
                kind, one["metadata"]["name"], lambda found: label in ((found or {})["metadata"].get("labels") or {})
            )


def turn_to_upstream(models: KubeCluster, name: str) -> None:
    there = models.get(MODELS, name)
    assert there is not None
    spec = {"model": {}, "upstream": {"url": "http://elsewhere/v1"}}
    models.call("PUT", models.path(MODELS, name), {**there, "spec": spec})


def test_the_operator_needs_every_right_that_it_has(
    platform: KubeCluster, models: KubeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(platform, scope="namespace", namespaces=[models.namespace], operator={"rbac": {"readNodes": True}})
    assert platform.server is not None
    with (
        simulated(platform.server, nodes=[node("n1", gpus=1)]),
        operating(platform, tmp_path, monkeypatch, namespaces=[models.namespace]) as operator,
    ):
        whole = {"replicas": 2, "cache": {"deletionPolicy": "Delete"}}
        # The second time is counted in the Event of the first.
        for suspend in (False, True, False, True, False):
            models.apply(model("m", **whole, suspend=suspend))
            state = "NotSuspended" if not suspend else "Suspended"
            models.wait_until(MODELS, "m", lambda found, state=state: reason(found, "Suspended") == state)  # type: ignore[misc]
        for spec in ({}, {"replicas": 2}, {"engine": {"device": "cpu", "image": "registry/engine:2"}}):
            models.apply(model("r", cluster="KubeRay", **spec))
            models.wait_until(MODELS, "r", has_settled)
            take_labels(models, "m" if spec else "r")
        models.apply(model("g", engine={"device": "cuda", "image": "registry/engine:1"}, replicas=2))
        models.wait_until(MODELS, "g", lambda found: reason(found, "WorkloadReady") == "Unschedulable")
        for name in ("m", "r"):
            turn_to_upstream(models, name)
            for kind in OWN_KINDS:
                for one in models.list(kind, f"fairlead.dev/model={name}"):
                    models.wait_gone(kind, one["metadata"]["name"])
        assert refused(operator) == []
    used = platform.server.rights_used(account(platform, "operator"))
    assert granted(platform, models) - ASKED_FOR_ELSEWHERE == used


def is_current(found: Manifest | None) -> bool:
    """Whether the status is about the Model as it is now."""
    return found is not None and found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"]


def has_settled(found: Manifest | None) -> bool:
    """Whether every engine is of the Model as it is now."""
    return is_current(found) and reason(found, "Progressing") == "RolloutComplete"


def test_the_gateway_has_the_rights_that_it_needs(platform: KubeCluster, models: KubeCluster, tmp_path: Path) -> None:
    assert platform.server is not None
    install(platform, namespaces=[models.namespace])
    found = platform.get("apps/v1/deployments", "fairlead-gateway")
    assert found is not None
    (container,) = found["spec"]["template"]["spec"]["containers"]
    file = settings_file(platform, "gateway", tmp_path)
    kubeconfig = platform.server.kubeconfig(tmp_path / "account", account(platform, "gateway"), platform.namespace)
    # The last of an option that is given twice counts.
    here = [f"--config={file}", f"--kubeconfig={kubeconfig}", "--host=127.0.0.1", "--port=0"]
    with Command("gateway", *container["args"], *here) as gateway:
        assert "m" in listed(gateway.wait_ready())


@retry(stop=stop_after_delay(20), wait=wait_fixed(0.1), retry=retry_if_exception_type(httpx.HTTPError), reraise=True)
def listed(url: str) -> list[str]:
    """The models of the gateway, when it has heard of them."""
    httpx.get(f"{url}/readyz").raise_for_status()
    return [one["id"] for one in httpx.get(f"{url}/v1/models").json()["data"]]
