"""The subresource `scale`: how many there should be, for whoever knows nothing else of a kind. Pure."""

import copy
from typing import Any

from tests.kube.errors import NotFound, StatusError
from tests.kube.resources import Manifest, Resource

_BUILT_IN = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}


def scale_of(resource: Resource, manifest: Manifest) -> Manifest:
    """The Scale of an object. Raises StatusError where a custom resource has no number at its path."""
    paths = _paths(resource)
    wanted = _read(manifest, paths["specReplicasPath"])
    if wanted is None:
        raise StatusError(f"the spec replicas field {paths['specReplicasPath']!r} does not exist")
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
    """The object with the number that `scale` asks for."""
    result = copy.deepcopy(manifest)
    *path, name = _paths(resource)["specReplicasPath"].strip(".").split(".")
    value: Any = result
    for step in path:
        value = value.setdefault(step, {})
    value[name] = scale.get("spec", {}).get("replicas", 0)
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
