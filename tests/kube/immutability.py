"""What of built-in objects cannot be changed after creation."""

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from tests.kube.errors import Cause, Invalid
from tests.kube.quantities import amount
from tests.kube.resources import Manifest, Resource

# Each path ends where the value has to stay.
_IMMUTABLE: dict[str, tuple[tuple[str, ...], ...]] = {
    "deployments.apps": (("spec", "selector"),),
    "replicasets.apps": (("spec", "selector"),),
    "statefulsets.apps": (("spec", "selector"), ("spec", "serviceName"), ("spec", "volumeClaimTemplates")),
    "controllerrevisions.apps": (("data",),),
    "rolebindings.rbac.authorization.k8s.io": (("roleRef",),),
    "clusterrolebindings.rbac.authorization.k8s.io": (("roleRef",),),
    "secrets": (("type",),),
}


def check(old: Manifest, new: Manifest, resource: Resource) -> None:
    """Raises Invalid when `new` changes what has to stay."""
    causes = [
        Cause(".".join(path), "FieldValueInvalid", f"Invalid value: {json.dumps(_at(new, path))}: field is immutable")
        for path in _IMMUTABLE.get(resource.qualified, ())
        if _at(old, path) != _at(new, path)
    ]
    if resource.qualified in ("configmaps", "secrets") and old.get("immutable"):
        causes += [
            Cause(name, "FieldValueForbidden", "Forbidden: field is immutable when `immutable` is set")
            for name in ("immutable", "data", "binaryData")
            if old.get(name) != new.get(name)
        ]
    if resource.qualified == "persistentvolumeclaims" and _claim(old) != _claim(new):
        message = "Forbidden: spec is immutable after creation except resources.requests for bound claims"
        causes.append(Cause("spec", "FieldValueForbidden", message))
    if resource.qualified == "persistentvolumeclaims" and _size(new) < _size(old):
        message = "Forbidden: field can not be less than previous value"
        causes.append(Cause("spec.resources.requests.storage", "FieldValueForbidden", message))
    causes += [*_address(old, new)] if resource.qualified == "services" else []
    if causes:
        raise Invalid(resource.group, resource.kind, old["metadata"]["name"], causes)


def _claim(manifest: Manifest) -> Manifest:
    """What of a claim stays: a volume and its class are given to it once."""
    spec = manifest.get("spec", {})
    left = {name: value for name, value in spec.items() if name not in ("resources", "volumeName")}
    return {"storageClassName": None, **left}


def _size(claim: Manifest) -> Decimal:
    return amount(_at(claim, ("spec", "resources", "requests")).get("storage", "0"))


def _address(old: Manifest, new: Manifest) -> Iterator[Cause]:
    """A Service is given its address, or none, for life."""
    before, after = old["spec"].get("clusterIP"), new["spec"].get("clusterIP")
    if before and after != before and old["spec"]["type"] == new["spec"]["type"]:
        message = f'Invalid value: ["{after}"]: may not change once set'
        yield Cause("spec.clusterIPs[0]", "FieldValueInvalid", message)


def _at(manifest: Manifest, path: Iterable[str]) -> Any:
    value: Any = manifest
    for name in path:
        value = value.get(name, {})
    return value
