"""The subresource `scale`: how many there should be, for whoever knows nothing else of a kind. Pure.

A custom resource may have no number at its path: to read its scale fails then, and to write it does not
(k8s.io/apiextensions-apiserver/pkg/registry/customresource/etcd.go).
"""

import copy
from typing import Any

from tests.kube.errors import BadRequest, NotFound, StatusError
from tests.kube.resources import Manifest, Resource

_BUILT_IN = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}
# What a patch is laid over where there is no number yet: it has to bring one.
_NO_NUMBER = -(2**31)


def existing_scale(resource: Resource, manifest: Manifest) -> Manifest:
    """The Scale of an object, to be read. Raises StatusError where it has no number."""
    scale = scale_of(resource, manifest)
    if scale["spec"].get("replicas") == _NO_NUMBER:
        path = _paths(resource)["specReplicasPath"]
        raise StatusError(f'Internal error occurred: the spec replicas field "{path}" does not exist')
    return scale


def scale_of(resource: Resource, manifest: Manifest) -> Manifest:
    """The Scale of an object, to be changed."""
    paths = _paths(resource)
    number = _read(manifest, paths["specReplicasPath"])
    wanted = _NO_NUMBER if number is None else number
    metadata = manifest["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: Manifest = {"replicas": _read(manifest, paths["statusReplicasPath"]) or 0}
    if resource.custom is None:
        labels = manifest["spec"].get("selector", {}).get("matchLabels", {})
        status["selector"] = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    elif chosen := _read(manifest, paths.get("labelSelectorPath", "")):
        status["selector"] = chosen
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"replicas": wanted} if wanted else {},
        "status": status,
    }


def scaled(resource: Resource, manifest: Manifest, scale: Manifest) -> Manifest:
    """The object with the number that `scale` asks for. Raises BadRequest for none where there was none."""
    result = copy.deepcopy(manifest)
    place = _paths(resource)["specReplicasPath"]
    number = scale.get("spec", {}).get("replicas", 0)
    if number == _NO_NUMBER:
        raise BadRequest(f'the spec replicas field "{place}" cannot be empty')
    *path, name = place.strip(".").split(".")
    value: Any = result
    for step in path:
        value = value.setdefault(step, {})
    value[name] = number
    return result


def _paths(resource: Resource) -> dict[str, str]:
    if resource.custom is None:
        return _BUILT_IN
    paths: dict[str, str] | None = resource.custom.get("subresources", {}).get("scale")
    if paths is None:
        raise NotFound("the server could not find the requested resource")
    return paths


def _read(manifest: Manifest, path: str) -> Any:
    value: Any = manifest
    for step in path.strip(".").split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value
