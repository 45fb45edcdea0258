"""What the server fills into built-in objects that leave it out (k8s.io/kubernetes/pkg/apis/*/v1/defaults.go).

Only what a client may trip over: an object read back is never quite the one that was written.
"""

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from tests.kube.errors import BadRequest
from tests.kube.quantities import canonical
from tests.kube.resources import Manifest, Resource

Fill = Callable[[Manifest], None]

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_VOLUME_MODES = ("configMap", "secret", "downwardAPI", "projected")


def fill(manifest: Manifest, resource: Resource) -> None:
    """Fill `manifest`, of a built-in kind, in place. Raises BadRequest for a quantity that is none."""
    if (filler := _FILLERS.get(resource.qualified)) is not None:
        filler(manifest)


def carry(old: Manifest, new: Manifest, resource: Resource) -> None:
    """Keep in `new`, in place, what was given to an object for life and is left out of a write."""
    if resource.qualified == "services" and not new.get("spec", {}).get("clusterIP"):
        kept = {name: old["spec"][name] for name in ("clusterIP", "clusterIPs") if name in old["spec"]}
        new["spec"] = {**new.get("spec", {}), **kept}


def pod_spec(spec: Manifest) -> None:
    """The defaults of a pod, by itself or in a template."""
    for name, value in (
        ("restartPolicy", "Always"),
        ("terminationGracePeriodSeconds", 30),
        ("dnsPolicy", "ClusterFirst"),
        ("securityContext", {}),
        ("schedulerName", "default-scheduler"),
    ):
        spec.setdefault(name, value)
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        _container(container)
    for volume in spec.get("volumes", ()):
        _volume(volume)


def _container(container: Manifest) -> None:
    image = str(container.get("image", ""))
    latest = "@" not in image and image.rpartition("/")[2].partition(":")[2] in ("", "latest")
    for name, value in (
        ("terminationMessagePath", "/dev/termination-log"),
        ("terminationMessagePolicy", "File"),
        ("imagePullPolicy", "Always" if latest else "IfNotPresent"),
        ("resources", {}),
    ):
        container.setdefault(name, value)
    for port in container.get("ports", ()):
        port.setdefault("protocol", "TCP")
    for variable in container.get("env", ()):
        field = variable.get("valueFrom", {}).get("fieldRef")
        if field is not None:
            field.setdefault("apiVersion", "v1")
    for name in _PROBES:
        if name in container:
            _probe(container[name])
    for hook in container.get("lifecycle", {}).values():
        _http_get(hook)
    resources = container["resources"]
    _quantities(resources)
    # A limit without a request asks for as much.
    for name, value in resources.get("limits", {}).items():
        resources.setdefault("requests", {}).setdefault(name, value)


def _probe(probe: Manifest) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        probe.setdefault(name, value)
    _http_get(probe)
    if "grpc" in probe:
        probe["grpc"].setdefault("service", "")


def _http_get(action: Manifest) -> None:
    if "httpGet" in action:
        action["httpGet"].setdefault("path", "/")
        action["httpGet"].setdefault("scheme", "HTTP")


def _volume(volume: Manifest) -> None:
    if len(volume) == 1:
        volume["emptyDir"] = {}
    for name in _VOLUME_MODES:
        if name in volume:
            volume[name].setdefault("defaultMode", 420)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    if "sizeLimit" in volume.get("emptyDir", {}):
        volume["emptyDir"]["sizeLimit"] = _canonical(volume["emptyDir"]["sizeLimit"])
    fields = volume.get("downwardAPI", {}).get("items", ())
    for item in (
        *fields,
        *(one for source in volume.get("projected", {}).get("sources", ()) for one in _items(source)),
    ):
        item.get("fieldRef", {}).setdefault("apiVersion", "v1")


def _items(source: Manifest) -> list[Manifest]:
    if "serviceAccountToken" in source:
        source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
    items: list[Manifest] = source.get("downwardAPI", {}).get("items", [])
    return items


def _quantities(resources: Manifest) -> None:
    for name in ("limits", "requests", "capacity", "allocatable", "hard", "used"):
        if name in resources:
            resources[name] = {key: _canonical(value) for key, value in resources[name].items()}


def _canonical(quantity: Any) -> str:
    try:
        return canonical(str(quantity))
    except ValueError:
        raise BadRequest(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        ) from None


def _template(spec: Manifest) -> None:
    template = spec.setdefault("template", {})
    # What Go makes of a time that is not there; it is in every template that the server gives back.
    template.setdefault("metadata", {}).setdefault("creationTimestamp", None)
    pod_spec(template.setdefault("spec", {}))


def _deployment(manifest: Manifest) -> None:
    spec = manifest.setdefault("spec", {})
    for name, value in (("replicas", 1), ("revisionHistoryLimit", 10), ("progressDeadlineSeconds", 600)):
        spec.setdefault(name, value)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    _template(spec)


def _replica_set(manifest: Manifest) -> None:
    spec = manifest.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    _template(spec)
    manifest.setdefault("status", {}).setdefault("replicas", 0)


def _stateful_set(manifest: Manifest) -> None:
    spec = manifest.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("updateStrategy", {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    _template(spec)


def _pod(manifest: Manifest) -> None:
    spec = manifest.setdefault("spec", {})
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    manifest.setdefault("status", {}).setdefault("phase", "Pending")


def _service(manifest: Manifest) -> None:
    spec = manifest.setdefault("spec", {})
    for name, value in (("type", "ClusterIP"), ("sessionAffinity", "None"), ("internalTrafficPolicy", "Cluster")):
        spec.setdefault(name, value)
    for port in spec.get("ports", ()):
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    if spec["type"] != "ExternalName":
        spec.setdefault("clusterIP", _address(manifest["metadata"]))
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
    manifest.setdefault("status", {}).setdefault("loadBalancer", {})


def _address(metadata: Manifest) -> str:
    """A cluster address; the same for the same Service, so that nobody keeps a list."""
    digest = hashlib.sha256(f"{metadata.get('namespace')}/{metadata['name']}".encode()).digest()
    return f"10.96.{digest[0]}.{max(1, digest[1])}"


def _claim(manifest: Manifest) -> None:
    spec = manifest.setdefault("spec", {})
    spec.setdefault("volumeMode", "Filesystem")
    _quantities(spec.setdefault("resources", {}))
    manifest.setdefault("status", {}).setdefault("phase", "Pending")
    if "capacity" in manifest["status"]:
        _quantities(manifest["status"])


def _network_policy(manifest: Manifest) -> None:
    spec = manifest.setdefault("spec", {})
    spec.setdefault("podSelector", {})
    if "policyTypes" not in spec:
        spec["policyTypes"] = ["Ingress", *(("Egress",) if "egress" in spec else ())]
    for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
        for port in rule.get("ports", ()):
            port.setdefault("protocol", "TCP")


def _secret(manifest: Manifest) -> None:
    manifest.setdefault("type", "Opaque")
    # Nobody reads stringData back: the server moves it to data.
    for name, value in manifest.pop("stringData", {}).items():
        manifest.setdefault("data", {})[name] = base64.b64encode(value.encode()).decode()


def _namespace(manifest: Manifest) -> None:
    manifest.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
    manifest.setdefault("status", {}).setdefault("phase", "Active")
    metadata = manifest["metadata"]
    metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]


def _node(manifest: Manifest) -> None:
    status = manifest.setdefault("status", {})
    manifest.setdefault("spec", {})
    _quantities(status)
    if "capacity" in status:
        status.setdefault("allocatable", dict(status["capacity"]))


def _storage_class(manifest: Manifest) -> None:
    manifest.setdefault("reclaimPolicy", "Delete")
    manifest.setdefault("volumeBindingMode", "Immediate")


def _role_binding(manifest: Manifest) -> None:
    manifest.get("roleRef", {}).setdefault("apiGroup", "rbac.authorization.k8s.io")
    for subject in manifest.get("subjects", ()):
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", "rbac.authorization.k8s.io")


def _event(manifest: Manifest) -> None:
    for name in ("firstTimestamp", "lastTimestamp"):
        manifest.setdefault(name, None)


def _definition(manifest: Manifest) -> None:
    spec = manifest.setdefault("spec", {})
    names = spec.setdefault("names", {})
    names.setdefault("singular", names.get("kind", "").lower())
    names.setdefault("listKind", f"{names.get('kind', '')}List")
    spec.setdefault("conversion", {"strategy": "None"})


_FILLERS: dict[str, Fill] = {
    "pods": _pod,
    "services": _service,
    "secrets": _secret,
    "namespaces": _namespace,
    "nodes": _node,
    "events": _event,
    "persistentvolumeclaims": _claim,
    "resourcequotas": lambda manifest: _quantities(manifest.get("spec", {})),
    "deployments.apps": _deployment,
    "replicasets.apps": _replica_set,
    "statefulsets.apps": _stateful_set,
    "networkpolicies.networking.k8s.io": _network_policy,
    "storageclasses.storage.k8s.io": _storage_class,
    "rolebindings.rbac.authorization.k8s.io": _role_binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _role_binding,
    "customresourcedefinitions.apiextensions.k8s.io": _definition,
}
