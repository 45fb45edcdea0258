"""Who owns which fields of an object: `metadata.managedFields` (k8s.io/apimachinery/pkg/util/managedfields)."""

from dataclasses import dataclass, replace
from typing import Any

from tests.kube import fields
from tests.kube.errors import BadRequest, Conflict, Unknown
from tests.kube.fields import Fields
from tests.kube.resources import Manifest, Resource

# Nobody's: what the server itself sets, or what the path of the request says.
_SERVERS_OWN: Fields = fields.parsed(
    {
        "f:apiVersion": {},
        "f:kind": {},
        "f:metadata": {
            f"f:{name}": {}
            for name in (
                "name",
                "namespace",
                "uid",
                "resourceVersion",
                "generation",
                "creationTimestamp",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "managedFields",
                "selfLink",
            )
        },
    }
)
_FIRST = "before-first-apply"


@dataclass(frozen=True)
class Owner:
    """One manager with what is its own."""

    manager: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: Fields

    @property
    def key(self) -> tuple[str, str, str]:
        return self.manager, self.operation, self.subresource

    def __str__(self) -> str:
        words = f'"{self.manager}"' + (f' with subresource "{self.subresource}"' if self.subresource else "")
        return f"{words} using {self.api_version} at {self.time}" if self.operation == "Update" else words


class Writer:
    """One write of a client, for which it is to be known afterwards whose the fields are."""

    def __init__(self, resource: Resource, manager: str, subresource: str, now: str) -> None:
        self._resource = resource
        self._subresource = subresource
        self._me = Owner(manager, "Update", resource.api_version, subresource, now, {})

    def track(self, old: Manifest | None, new: Manifest) -> None:
        """Put into `new` who owns what after a plain write over `old`: who changes a field takes it."""
        owners = owners_of(new)
        more, less = fields.changes(_plain(old or {}), _plain(new), self._resource.shape)
        more, less = self._mine(more), self._mine(less)
        if not more and not less:
            return
        mine = next((owner.fields for owner in owners if owner.key == self._me.key), {})
        left = [replace(one, fields=_without(one.fields, more, less)) for one in owners if one.key != self._me.key]
        mine = fields.union(fields.minus(mine, less), more)
        _write(new, [*left, replace(self._me, fields=mine)])

    def _mine(self, found: Fields) -> Fields:
        """What of a change this path of the API may make."""
        found = fields.minus(found, _SERVERS_OWN)
        if self._subresource == "status":
            return {name: inner for name, inner in found.items() if name == "f:status"}
        if "status" in self._resource.subresources:
            return {name: inner for name, inner in found.items() if name != "f:status"}
        return found


class Applier(Writer):
    """A server-side apply of `wanted`."""

    def __init__(
        self, resource: Resource, manager: str, subresource: str, now: str, wanted: Manifest, *, force: bool
    ) -> None:
        """Raises Unknown for fields that the kind does not have, and BadRequest for what cannot be applied."""
        super().__init__(resource, manager, subresource, now)
        metadata = wanted.get("metadata", {})
        if metadata.get("managedFields"):
            raise BadRequest("metadata.managedFields must be nil")
        self._wanted = wanted
        self._force = force
        try:
            owned = self._mine(fields.of(_plain(wanted), resource.shape))
        except fields.UndeclaredError as error:
            place = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
            kind = f"{resource.api_version}, Kind={resource.kind}"
            raise Unknown(f"failed to create typed patch object ({place}; {kind}): {error}") from error
        self._me = replace(self._me, operation="Apply", fields=owned)
        self._owners: list[Owner] = []

    def applied(self, old: Manifest | None) -> Manifest:
        """What is to be stored instead of `old`. Raises Conflict for fields of others, unless forced."""
        shape = self._resource.shape
        if old is None:
            self._owners = [self._me]
            return self._wanted
        owners = owners_of(old) or [self._first(old)]
        wanted = {name: value for name, value in self._wanted.items() if name not in ("apiVersion", "kind")}
        new: Manifest = fields.merged(old, wanted, shape)
        before = next((owner for owner in owners if owner.key == self._me.key), None)
        others = [owner for owner in owners if owner.key != self._me.key]
        others = self._after_conflicts(others, self._mine(fields.changes(_plain(old), _plain(new), shape)[0]))
        if before is not None:
            kept = self._me.fields
            for owner in others:
                kept = fields.union(kept, owner.fields)
            new = fields.pruned(new, before.fields, kept, shape)
            same = before.fields == self._me.fields and before.api_version == self._me.api_version
            self._me = replace(self._me, time=before.time) if same else self._me
        self._owners = [*others, self._me]
        return new

    def track(self, old: Manifest | None, new: Manifest) -> None:
        """Put into `new` who owns what after the apply."""
        if old is not None:
            before, after = owners_of(old), {owner.key: owner for owner in self._owners}
            order = [owner.key for owner in before if owner.key in after]
            self._owners = [after[key] for key in dict.fromkeys([*order, *after])]
        _write(new, self._owners)

    def _after_conflicts(self, others: list[Owner], changed: Fields) -> list[Owner]:
        conflicts = [(owner, taken) for owner in others if (taken := fields.common(owner.fields, changed))]
        if conflicts and not self._force:
            raise _conflict(conflicts)
        return [replace(owner, fields=fields.minus(owner.fields, changed)) for owner in others]

    def _first(self, old: Manifest) -> Owner:
        """Whoever wrote an object of which nobody owns anything."""
        owned = self._mine(fields.changes({}, _plain(old), self._resource.shape)[0])
        return Owner(_FIRST, "Update", self._resource.api_version, "", self._me.time, owned)


def owners_of(manifest: Manifest) -> list[Owner]:
    """Everybody who owns fields of an object."""
    return [
        Owner(
            entry.get("manager", ""),
            entry.get("operation", ""),
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
            entry.get("time", ""),
            fields.parsed(entry.get("fieldsV1", {})),
        )
        for entry in manifest["metadata"].get("managedFields", ())
    ]


def _write(manifest: Manifest, owners: list[Owner]) -> None:
    entries = [
        {
            "manager": owner.manager,
            "operation": owner.operation,
            "apiVersion": owner.api_version,
            "time": owner.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields.written(owner.fields),
            **({"subresource": owner.subresource} if owner.subresource else {}),
        }
        for owner in owners
        if owner.fields
    ]
    manifest["metadata"].pop("managedFields", None)
    if entries:
        manifest["metadata"]["managedFields"] = entries


def _without(owned: Fields, *gone: Fields) -> Fields:
    for one in gone:
        owned = fields.minus(owned, one)
    return owned


def _plain(manifest: Manifest) -> Manifest:
    """The object without what is said about its fields."""
    metadata = {name: value for name, value in manifest.get("metadata", {}).items() if name != "managedFields"}
    return {**manifest, "metadata": metadata}


def _conflict(conflicts: list[tuple[Owner, Fields]]) -> Conflict:
    found: list[tuple[str, list[str]]] = [(str(owner), list(fields.paths(taken))) for owner, taken in conflicts]
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {owner}", "field": path}
        for owner, places in found
        for path in places
    ]
    details: dict[str, Any] = {"causes": causes}
    if len(causes) == 1:
        return Conflict(f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}", details)
    said = "\n".join(
        f"conflict with {owner}: {places[0]}"
        if len(places) == 1
        else "\n- ".join([f"conflicts with {owner}:", *places])
        for owner, places in found
    )
    return Conflict(f"Apply failed with {len(causes)} conflicts: {said}", details)
