"""What becomes of an object between a client's words and the store, by its kind: the strategies of the real server."""

import re
import secrets
import uuid
from collections.abc import Callable
from typing import Any

from tests.kube import checks, defaults, immutability
from tests.kube.decoding import decoded
from tests.kube.errors import BadRequest, Cause, Invalid
from tests.kube.resources import Manifest, Resource
from tests.kube.validation import MISSING

Check = Callable[[list[str]], None]
"""Is given the places of fields that a kind does not have; may raise BadRequest."""
Track = Callable[[Manifest | None, Manifest], None]
"""Is given the old and the new state, and puts into the new one who owns its fields."""

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
# Names of these may hold anything that fits into a path.
_FREE_NAMES = frozenset({"roles", "rolebindings", "clusterroles", "clusterrolebindings"})
_SERVERS_OWN = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def created(
    manifest: Manifest, resource: Resource, namespace: str, now: str, check: Check | None, track: Track | None
) -> Manifest:
    """The object that a client's `manifest` makes. Raises BadRequest and Invalid."""
    new = _understood(manifest, resource, check)
    metadata = new["metadata"]
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = metadata["generateName"] + "".join(secrets.choice(_LETTERS) for _ in range(5))
    _check_name(resource, metadata)
    if resource.namespaced:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    for name in (*_SERVERS_OWN, "resourceVersion", "selfLink"):
        metadata.pop(name, None)
    # Only nodes may say at once how they are.
    if "status" in resource.subresources and resource.plural != "nodes":
        new.pop("status", None)
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = now
    if resource.generation:
        metadata["generation"] = 1
    _fill(new, resource)
    _judge(new, resource)
    if track is not None:
        track(None, new)
    return new


def reread(old: Manifest, resource: Resource) -> Manifest:
    """A stored object as a definition that has changed since lets it be seen."""
    new = _understood(old, resource, None)
    _fill(new, resource)
    return new


def updated(
    old: Manifest, manifest: Manifest, resource: Resource, subresource: str, check: Check | None, track: Track | None
) -> Manifest:
    """The next state of `old` when a client writes `manifest` to it or its `subresource`; `old` when nothing changes.

    Raises BadRequest and Invalid.
    """
    new = _understood(manifest, resource, check)
    if subresource == "status":
        new = _with_status(old, new, old["metadata"])
    elif "status" in resource.subresources:
        new = _with_status(new, old, new["metadata"])
    new["metadata"] = _metadata(old["metadata"], new["metadata"], manifest["metadata"])
    defaults.carry(old, new, resource)
    _fill(new, resource)
    immutability.check(old, new, resource)
    _judge(new, resource, old)
    if track is not None:
        track(old, new)
    if resource.generation and _wanted(old) != _wanted(new):
        new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
    return old if new == old else new


def _with_status(manifest: Manifest, source: Manifest, metadata: Manifest) -> Manifest:
    left = {name: value for name, value in manifest.items() if name != "status"}
    status = {"status": source["status"]} if "status" in source else {}
    return {**left, "metadata": metadata, **status}


def _metadata(old: Manifest, new: Manifest, given: Manifest) -> Manifest:
    """The new metadata: what is the server's own stays."""
    own = (*_SERVERS_OWN, "name", "namespace", "resourceVersion", "managedFields")
    result = {name: value for name, value in new.items() if name not in own}
    result.update({name: old[name] for name in own if name in old})
    # A list of nothing is how a client resets who owns what; any other is taken as it is.
    if given.get("managedFields") in ([], [{}]):
        del result["managedFields"]
    elif "managedFields" in given:
        result["managedFields"] = given["managedFields"]
    return result


def _understood(manifest: Manifest, resource: Resource, check: Check | None) -> Manifest:
    for name, expected in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        given = manifest.get(name, expected)
        if given != expected:
            raise BadRequest(
                f"the {'API version' if name == 'apiVersion' else 'kind'} in the data ({given}) does not match the "
                f"expected {'API version' if name == 'apiVersion' else 'kind'} ({expected})"
            )
    unknown: list[str] = []
    new = decoded(manifest, resource, unknown)
    if check is not None:
        check(unknown)
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": new.pop("metadata", {}),
        **{name: value for name, value in new.items() if name not in ("apiVersion", "kind")},
    }


def _fill(manifest: Manifest, resource: Resource) -> None:
    if resource.judge is None:
        defaults.fill(manifest, resource)
    else:
        resource.judge.fill(manifest)


def _judge(manifest: Manifest, resource: Resource, old: Any = MISSING) -> None:
    if resource.judge is not None:
        causes = resource.judge.causes(manifest, old)
    else:
        causes = [] if _same(manifest, old) else checks.causes(manifest, resource)
    if causes:
        raise Invalid(resource.group, resource.kind, manifest["metadata"]["name"], causes)


def _same(new: Manifest, old: Any) -> bool:
    """Whether only the status differs, or less; then there is nothing to check."""
    return old is not MISSING and _wanted(new) == _wanted(old) and _labels(new) == _labels(old)


def _labels(manifest: Manifest) -> Any:
    return manifest["metadata"].get("labels")


def _check_name(resource: Resource, metadata: Manifest) -> None:
    name = metadata.get("name")
    if not name:
        cause = Cause("metadata.name", "FieldValueRequired", "Required value: name or generateName is required")
        raise Invalid(resource.group, resource.kind, "", [cause])
    if resource.plural not in _FREE_NAMES and (not _NAME.fullmatch(name) or len(name) > 253):
        message = (
            f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric '
            "characters, '-' or '.', and must start and end with an alphanumeric character"
        )
        raise Invalid(resource.group, resource.kind, name, [Cause("metadata.name", "FieldValueInvalid", message)])


def _wanted(manifest: Manifest) -> Manifest:
    return {name: value for name, value in manifest.items() if name not in ("metadata", "status")}
