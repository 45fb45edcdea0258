"""What the server refuses of built-in objects (k8s.io/kubernetes/pkg/apis/*/validation).

Only what a client that writes workloads may get wrong.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.kube.errors import Cause
from tests.kube.quantities import amount
from tests.kube.resources import Manifest, Resource
from tests.kube.selectors import of_object
from tests.kube.shapes import Shape

_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LABEL_NAME = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_TEMPLATED = frozenset({"deployments.apps", "replicasets.apps", "statefulsets.apps"})


def causes(manifest: Manifest, resource: Resource) -> list[Cause]:
    """Everything against an object with its defaults."""
    found = list(_labels(manifest["metadata"], "metadata"))
    for name in ("spec", "rules", "subjects", "roleRef"):
        if name in manifest and name in resource.shape.fields:
            found += _required(manifest[name], resource.shape.fields[name], name)
    if resource.qualified in _TEMPLATED:
        found += _workload(manifest["spec"])
    elif resource.qualified == "pods":
        found += _pod(manifest["spec"], "spec")
    elif resource.qualified in _CHECKS:
        found += _CHECKS[resource.qualified](manifest)
    return found


def _required(value: Any, shape: Shape, place: str) -> Iterator[Cause]:
    if isinstance(value, list) and shape.items is not None:
        for index, item in enumerate(value):
            yield from _required(item, shape.items, f"{place}[{index}]")
    if not isinstance(value, Mapping):
        return
    for name in shape.schema.get("required", ()):
        if value.get(name) in (None, ""):
            yield Cause(f"{place}.{name}", "FieldValueRequired", "Required value")
    for name, inner in value.items():
        field = shape.at(name)
        if field is not None:
            yield from _required(inner, field, f"{place}.{name}")


def _labels(metadata: Manifest, place: str) -> Iterator[Cause]:
    for name, value in (metadata.get("labels") or {}).items():
        if not _LABEL_NAME.fullmatch(name):
            yield _invalid(
                f"{place}.labels", name, "name part must consist of alphanumeric characters, '-', '_' or '.'"
            )
        if len(value) > 63:
            yield _invalid(f"{place}.labels", value, "must be no more than 63 characters")
        elif not _LABEL_VALUE.fullmatch(value):
            yield _invalid(
                f"{place}.labels",
                value,
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
                "and must start and end with an alphanumeric character",
            )


def _workload(spec: Manifest) -> Iterator[Cause]:
    template = spec["template"]
    labels = template["metadata"].get("labels", {})
    yield from _labels(template["metadata"], "spec.template")
    if "selector" in spec and not of_object(spec["selector"]).matches(template):
        yield _invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from _strategy(spec.get("strategy", {}))
    yield from _pod(template["spec"], "spec.template.spec")


def _strategy(given: Manifest) -> Iterator[Cause]:
    strategy = given.get("rollingUpdate", {})
    # It stays when nobody owns it, as what the server filled in.
    if strategy and given.get("type") == "Recreate":
        message = "Forbidden: may not be specified when strategy `type` is 'Recreate'"
        yield Cause("spec.strategy.rollingUpdate", "FieldValueForbidden", message)
    if str(strategy.get("maxSurge", 1)) in ("0", "0%") and str(strategy.get("maxUnavailable", 1)) in ("0", "0%"):
        place = "spec.strategy.rollingUpdate.maxUnavailable"
        yield _invalid(place, strategy["maxUnavailable"], "may not be 0 when `maxSurge` is 0")


def _pod(spec: Manifest, place: str) -> Iterator[Cause]:
    volumes = {volume.get("name") for volume in spec.get("volumes", ())}
    yield from _unique(spec.get("volumes", []), "name", f"{place}.volumes")
    if not spec.get("containers"):
        yield Cause(f"{place}.containers", "FieldValueRequired", "Required value")
    for kind in ("initContainers", "containers"):
        yield from _unique(spec.get(kind, []), "name", f"{place}.{kind}")
        for index, container in enumerate(spec.get(kind, ())):
            yield from _container(container, volumes, f"{place}.{kind}[{index}]")


def _container(container: Manifest, volumes: set[Any], place: str) -> Iterator[Cause]:
    if not container.get("image"):
        yield Cause(f"{place}.image", "FieldValueRequired", "Required value")
    if not _DNS_1123.fullmatch(container.get("name", "")):
        yield _invalid(f"{place}.name", container.get("name", ""), "a lowercase RFC 1123 label must be at most 63 long")
    for index, mount in enumerate(container.get("volumeMounts", ())):
        if mount.get("name") not in volumes:
            message = f"Not found: {json.dumps(mount.get('name'))}"
            yield Cause(f"{place}.volumeMounts[{index}].name", "FieldValueNotFound", message)
    yield from _unique(container.get("volumeMounts", []), "mountPath", f"{place}.volumeMounts")
    limits = container["resources"].get("limits", {})
    for name, value in container["resources"].get("requests", {}).items():
        if name in limits and amount(value) > amount(limits[name]):
            where = f"{place}.resources.requests"
            yield _invalid(where, value, f"must be less than or equal to {name} limit of {limits[name]}")


def _service(manifest: Manifest) -> Iterator[Cause]:
    name, spec = manifest["metadata"]["name"], manifest["spec"]
    if not _DNS_1035.fullmatch(name):
        yield _invalid(
            "metadata.name",
            name,
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
            "character, and end with an alphanumeric character",
        )
    if not spec.get("ports") and spec.get("clusterIP") != "None" and spec.get("type") != "ExternalName":
        yield Cause("spec.ports", "FieldValueRequired", "Required value")
    yield from _unique(spec.get("ports", []), "name", "spec.ports")


def _unique(items: list[Manifest], key: str, place: str) -> Iterator[Cause]:
    seen: set[Any] = set()
    for index, item in enumerate(items):
        if item.get(key) in seen:
            message = f"Duplicate value: {json.dumps(item.get(key))}"
            yield Cause(f"{place}[{index}].{key}", "FieldValueDuplicate", message)
        seen.add(item.get(key))


def _invalid(place: str, value: Any, sentence: str) -> Cause:
    return Cause(place, "FieldValueInvalid", f"Invalid value: {json.dumps(value)}: {sentence}")


def _budget(manifest: Manifest) -> Iterator[Cause]:
    spec = manifest.get("spec", {})
    if "minAvailable" in spec and "maxUnavailable" in spec:
        yield _invalid("spec", "object", "minAvailable and maxUnavailable cannot be both set")


def _event(manifest: Manifest) -> Iterator[Cause]:
    involved, namespace = manifest.get("involvedObject", {}), manifest["metadata"]["namespace"]
    if involved.get("namespace", "default") != namespace:
        yield _invalid("involvedObject.namespace", involved.get("namespace", ""), "does not match event.namespace")


_CHECKS: dict[str, Callable[[Manifest], Iterator[Cause]]] = {
    "services": _service,
    "events": _event,
    "poddisruptionbudgets.policy": _budget,
}
