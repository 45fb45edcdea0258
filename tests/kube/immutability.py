"""What of built-in objects cannot be changed after creation."""

import json
from collections.abc import Iterable
from typing import Any

from tests.kube.errors import Cause, Invalid
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
    if causes:
        raise Invalid(resource.group, resource.kind, old["metadata"]["name"], causes)


def _claim(manifest: Manifest) -> Manifest:
    """What of a claim stays: a volume and its class are given to it once."""
    spec = manifest.get("spec", {})
    left = {name: value for name, value in spec.items() if name not in ("resources", "volumeName")}
    return {"storageClassName": None, **left}


def _at(manifest: Manifest, path: Iterable[str]) -> Any:
    value: Any = manifest
    for name in path:
        value = value.get(name, {})
    return value
