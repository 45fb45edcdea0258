"""What admission does to a write that knows more than its own object (k8s.io/kubernetes/plugin/pkg/admission)."""

from collections.abc import Callable
from decimal import Decimal

from tests.kube.errors import Forbidden
from tests.kube.quantities import amount
from tests.kube.resources import Manifest, Resource

Find = Callable[[str], list[Manifest]]
"""The objects of storage.k8s.io by the plural of their kind."""

_CLAIMS = "persistentvolumeclaims"
_DEFAULT = "storageclass.kubernetes.io/is-default-class"


def admitted(manifest: Manifest, resource: Resource, find: Find) -> Manifest:
    """A new object with what the cluster's own settings add: the class of a claim that names none."""
    if resource.qualified != _CLAIMS or "storageClassName" in manifest.get("spec", {}):
        return manifest
    for found in find("storageclasses"):
        if found["metadata"].get("annotations", {}).get(_DEFAULT) == "true":
            return {**manifest, "spec": {**manifest.get("spec", {}), "storageClassName": found["metadata"]["name"]}}
    return manifest


def check_change(old: Manifest, new: Manifest, resource: Resource, find: Find) -> None:
    """Raises Forbidden for a claim that would grow where that is not possible."""
    if resource.qualified != _CLAIMS or _size(new) <= _size(old):
        return
    grown = {found["metadata"]["name"] for found in find("storageclasses") if found.get("allowVolumeExpansion")}
    if old.get("status", {}).get("phase") != "Bound":
        message = "Only bound persistent volume claims can be expanded"
    elif old["spec"].get("storageClassName") not in grown:
        message = (
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
            "support resize"
        )
    else:
        return
    name = old["metadata"]["name"]
    raise Forbidden(f'{_CLAIMS} "{name}" is forbidden: {message}', {"name": name, "kind": _CLAIMS})


def _size(claim: Manifest) -> Decimal:
    return amount(claim.get("spec", {}).get("resources", {}).get("requests", {}).get("storage", "0"))
