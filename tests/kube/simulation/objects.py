"""Small questions about objects, and how controllers name and own what they make."""

import random
from collections.abc import Iterable, Mapping
from typing import Any

from fairlead_operator.render import Manifest

# Neither vowels, nor letters that look like others (k8s.io/apimachinery/pkg/util/rand).
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
Key = tuple[str, str]
"""Namespace and name."""


def key_of(manifest: Manifest) -> Key:
    return manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]


def uid_of(manifest: Manifest) -> str:
    return str(manifest["metadata"]["uid"])


def labels_of(manifest: Manifest) -> dict[str, str]:
    return dict(manifest["metadata"].get("labels") or {})


def annotations_of(manifest: Manifest) -> dict[str, str]:
    return dict(manifest["metadata"].get("annotations") or {})


def is_deleted(manifest: Manifest) -> bool:
    """Whether its deletion was asked for."""
    return "deletionTimestamp" in manifest["metadata"]


def controller_of(manifest: Manifest) -> dict[str, Any] | None:
    """The owner reference of the one controller."""
    owners = manifest["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def owner_reference(owner: Manifest) -> dict[str, Any]:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def pod_from(template: Mapping[str, Any], owner: Manifest, *, prefix: str, name: str = "") -> Manifest:
    """A pod of `template`; without a `name` it is `prefix` and five letters, as the API server would choose them."""
    metadata = template.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **{part: dict(metadata[part]) for part in ("labels", "annotations") if metadata.get(part)},
            "name": name or f"{prefix}{letters()}",
            **({} if name else {"generateName": prefix}),
            "namespace": owner["metadata"]["namespace"],
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": dict(template["spec"]),
    }


def letters(count: int = 5) -> str:
    """The end of a generated name."""
    return "".join(random.choices(_SAFE, k=count))


def encoded(digest: str) -> str:
    """Ten letters for a hexadecimal digest, as in the names of replica sets."""
    return "".join(_SAFE[int(digest[place : place + 2], 16) % len(_SAFE)] for place in range(0, 20, 2))


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in selector.items())


def with_metadata(manifest: Manifest, **parts: Any) -> Manifest:
    """A copy with other metadata."""
    return {**manifest, "metadata": {**manifest["metadata"], **parts}}


def with_spec(manifest: Manifest, **parts: Any) -> Manifest:
    """A copy with another spec."""
    return {**manifest, "spec": {**manifest["spec"], **parts}}


def without_zeros(status: Mapping[str, Any]) -> dict[str, Any]:
    """`status` as Go writes it: what is zero or empty is left out."""
    return {name: value for name, value in status.items() if value not in (0, "", None, [], {})}


def oldest_first(manifests: Iterable[Manifest]) -> list[Manifest]:
    return sorted(manifests, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"]))
