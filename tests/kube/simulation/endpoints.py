"""The controller of EndpointSlices: the addresses behind each Service that selects pods."""

from collections import defaultdict
from typing import Any

from fairlead_operator.render import Manifest
from tests.kube.simulation import pod_status
from tests.kube.simulation.api import Api
from tests.kube.simulation.objects import (
    Key,
    is_deleted,
    key_of,
    labels_of,
    letters,
    matches,
    oldest_first,
    owner_reference,
    uid_of,
)
from tests.kube.simulation.work import Work

SERVICE_LABEL = "kubernetes.io/service-name"
_MANAGER = {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
_HEADLESS = {"service.kubernetes.io/headless": ""}
_Selector = tuple[tuple[str, str], ...]


class Endpoints:
    """One slice for each Service, whatever the number of its pods."""

    def __init__(self, api: Api, work: Work) -> None:
        self._api = api
        self._work = work
        self._selectors: dict[Key, _Selector] = {}
        # Of each namespace: what is selected by, and by which Services.
        self._services: dict[tuple[str, tuple[str, ...]], dict[_Selector, set[Key]]] = defaultdict(dict)
        self._pods: dict[Key, set[Key]] = defaultdict(set)

    def observe(self, event: str, plural: str, manifest: Manifest) -> None:
        if plural == "services":
            self._observe_service(event, manifest)
        elif plural == "pods":
            self._observe_pod(event, manifest)

    def _observe_service(self, event: str, service: Manifest) -> None:
        key = key_of(service)
        wanted = tuple(sorted((service["spec"].get("selector") or {}).items()))
        selector = () if event == "DELETED" else wanted
        if self._selectors.get(key, ()) != selector:
            self._forget(key)
            if selector:
                self._select(key, selector)
        if selector:
            self._work.add(self._sync, key)

    def _forget(self, service: Key) -> None:
        selector = self._selectors.pop(service, ())
        if selector:
            self._services[service[0], _names(selector)][selector].discard(service)
            self._pods.pop(service, None)

    def _select(self, service: Key, selector: _Selector) -> None:
        self._selectors[service] = selector
        self._services[service[0], _names(selector)].setdefault(selector, set()).add(service)
        for pod in self._api.all("pods"):
            if pod["metadata"]["namespace"] == service[0] and matches(dict(selector), labels_of(pod)):
                self._pods[service].add(key_of(pod))

    def _observe_pod(self, event: str, pod: Manifest) -> None:
        labels, (namespace, _) = labels_of(pod), key_of(pod)
        for (place, names), services in self._services.items():
            if place != namespace or not labels.keys() >= set(names):
                continue
            for service in services.get(tuple((name, labels[name]) for name in names), ()):
                if event == "DELETED":
                    self._pods[service].discard(key_of(pod))
                else:
                    self._pods[service].add(key_of(pod))
                self._work.add(self._sync, service)

    def _sync(self, key: Key) -> None:
        service = self._api.get("services", key)
        if service is None or is_deleted(service):
            return
        pods = [pod for one in self._pods[key] if (pod := self._api.get("pods", one)) is not None]
        serving = [pod for pod in oldest_first(pods) if _has_address(pod)]
        slices = self._api.owned("endpointslices", uid_of(service))
        content = {
            "endpoints": [_endpoint(pod, service) for pod in serving],
            "ports": _ports(service, serving),
        }
        if not slices:
            self._api.create("endpointslices", {**_slice(service), **content})
        elif {name: slices[0].get(name) or [] for name in content} != content:
            self._api.update("endpointslices", {**slices[0], **content})


def _names(selector: _Selector) -> tuple[str, ...]:
    return tuple(name for name, _ in selector)


def _has_address(pod: Manifest) -> bool:
    return "podIP" in pod.get("status", {}) and not pod_status.is_ended(pod)


def _slice(service: Manifest) -> Manifest:
    namespace, name = key_of(service)
    headless = _HEADLESS if service["spec"].get("clusterIP") == "None" else {}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-{letters()}",
            "generateName": f"{name}-",
            "namespace": namespace,
            "labels": {**labels_of(service), **_MANAGER, **headless, SERVICE_LABEL: name},
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": "IPv4",
    }


def _endpoint(pod: Manifest, service: Manifest) -> dict[str, Any]:
    namespace, name = key_of(pod)
    ready = pod_status.is_ready(pod)
    # Who publishes what is not ready yet, says of all of them that they are.
    published = bool(service["spec"].get("publishNotReadyAddresses"))
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": published or (ready and not is_deleted(pod)),
            "serving": ready,
            "terminating": is_deleted(pod),
        },
        "nodeName": pod["spec"]["nodeName"],
        "targetRef": {"kind": "Pod", "namespace": namespace, "name": name, "uid": uid_of(pod)},
    }


def _ports(service: Manifest, pods: list[Manifest]) -> list[dict[str, Any]]:
    if not pods:
        return []
    return [
        {"name": port.get("name", ""), "port": number, "protocol": port.get("protocol", "TCP")}
        for port in service["spec"].get("ports") or ()
        if (number := _number(port.get("targetPort", port["port"]), pods[0])) is not None
    ]


def _number(port: int | str, pod: Manifest) -> int | None:
    """The number of a container's port by its name; None when the pod has none of that name."""
    if isinstance(port, int):
        return port
    ports = (one for container in pod["spec"]["containers"] for one in container.get("ports") or ())
    return next((int(one["containerPort"]) for one in ports if one.get("name") == port), None)
