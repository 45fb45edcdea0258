"""What the operator writes on each object that it makes, and by which it knows it again. Pure."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fairlead_operator.render import Manifest
from fairlead_serve.informer import MODEL_LABEL
from fairlead_serve.model import API_VERSION, KIND

REVISION_LABEL = "fairlead.dev/revision"
"""On the pods of a Deployment: which revision of the Model they are."""
APPLIED = "fairlead.dev/applied"
"""The hash of what was applied last: without it nobody could tell that a field is to go."""

MANAGED_BY = {"app.kubernetes.io/managed-by": "fairlead"}
# What charts say of an object that outlives its release.
_KEEP = "helm.sh/resource-policy"


def stamped(manifest: Manifest, model: Manifest) -> Manifest:
    """`manifest` as it is applied: with its owner, and with the hash of itself. `model` is the object in the cluster.

    A claim that is to outlive its Model has no owner, or the garbage collector would take it.
    """
    metadata = dict(manifest["metadata"])
    annotations = dict(metadata.get("annotations") or {})
    keep = annotations.pop(_KEEP, "") == "keep"
    metadata["namespace"] = model["metadata"]["namespace"]
    metadata["labels"] = {**(metadata.get("labels") or {}), **MANAGED_BY}
    if not keep:
        metadata["ownerReferences"] = [owner_reference(model)]
    made = {**manifest, "metadata": {**metadata, "annotations": annotations}}
    annotations[APPLIED] = _hash(made)
    return made


def owner_reference(model: Manifest) -> dict[str, Any]:
    """The reference by which the garbage collector removes an object together with its Model."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": model["metadata"]["name"],
        "uid": model["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_owned(manifest: Manifest, model: Manifest) -> bool:
    """Whether `manifest`, an object in the cluster, belongs to `model`.

    An ownerless claim does that the operator made for a Model of this name: it was kept for the next one.
    """
    metadata = manifest["metadata"]
    controllers = [owner for owner in metadata.get("ownerReferences") or () if owner.get("controller")]
    if controllers:
        return bool(controllers[0].get("uid") == model["metadata"]["uid"])
    labels = metadata.get("labels") or {}
    marks: Mapping[str, str] = {**MANAGED_BY, MODEL_LABEL: model["metadata"]["name"]}
    return manifest["kind"] == "PersistentVolumeClaim" and marks.items() <= labels.items()


def applied_hash(manifest: Manifest) -> str:
    """The hash of what was applied last; empty where nothing was."""
    return str((manifest["metadata"].get("annotations") or {}).get(APPLIED, ""))


def owner_of(manifest: Manifest) -> str:
    """Who an object of somebody else's belongs to, in words."""
    owners = manifest["metadata"].get("ownerReferences") or ()
    if owners:
        return f"{owners[0].get('kind', 'an owner')} {owners[0].get('name', '')}".strip()
    manager = (manifest["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by")
    return f"somebody else (managed by {manager})" if manager else "somebody else"


def identity(manifest: Manifest) -> tuple[str, str]:
    """Kind and name: what tells the objects of one Model apart."""
    return manifest["kind"], manifest["metadata"]["name"]


def _hash(manifest: Manifest) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]
