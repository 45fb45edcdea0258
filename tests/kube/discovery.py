"""Which kinds there are, for clients that ask: the documents below /api and /apis, aggregated ones too."""

from typing import Any

from tests.kube.resources import Resource

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_OF_SUBRESOURCE = {"eviction": ["create"], "finalize": ["update"]}
_KINDS = {"scale": ("autoscaling", "v1", "Scale"), "eviction": ("policy", "v1", "Eviction")}
# Kinds that answer and are not kept.
_REVIEWS = {
    "authorization.k8s.io/v1": ("SelfSubjectAccessReview", "SelfSubjectRulesReview", "SubjectAccessReview"),
    "authentication.k8s.io/v1": ("SelfSubjectReview", "TokenReview"),
}


def api_versions() -> dict[str, Any]:
    """The answer of /api."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def groups(resources: list[Resource]) -> dict[str, Any]:
    """The answer of /apis."""
    found = [_group(name, version) for name, version in _group_versions(resources) if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(resources: list[Resource], name: str) -> dict[str, Any] | None:
    """The answer of /apis/<group>."""
    found = dict(_group_versions(resources)).get(name)
    return None if found is None else {"kind": "APIGroup", "apiVersion": "v1", **_group(name, found)}


def kinds(resources: list[Resource], group_version: str) -> dict[str, Any] | None:
    """The answer of /api/v1 or /apis/<group>/<version>."""
    rows = [
        row
        for resource in resources
        if resource.api_version == group_version
        for row in (_kind(resource), *_parts(resource))
    ]
    rows += [
        {
            "name": f"{kind.lower()}s",
            "singularName": kind.lower(),
            "namespaced": False,
            "kind": kind,
            "verbs": ["create"],
        }
        for kind in _REVIEWS.get(group_version, ())
    ]
    if not rows:
        return None
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": rows}


def aggregated(resources: list[Resource], *, core: bool) -> dict[str, Any]:
    """The answer of /api (`core`) or /apis to clients that take everything at once."""
    items = []
    for name, version in _group_versions(resources):
        if (name == "") is core:
            listed = kinds(resources, f"{name}/{version}" if name else version) or {"resources": []}
            rows = _aggregate(listed["resources"], name, version)
            versions = [{"version": version, "resources": rows, "freshness": "Current"}]
            items.append({"metadata": {"name": name, "creationTimestamp": None} if name else {}, "versions": versions})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _group_versions(resources: list[Resource]) -> list[tuple[str, str]]:
    found = {resource.group: resource.version for resource in resources}
    found.update({one.partition("/")[0]: one.partition("/")[2] for one in _REVIEWS})
    return list(found.items())


def _group(name: str, version: str) -> dict[str, Any]:
    one = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [one], "preferredVersion": one}


def _kind(resource: Resource) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": _VERBS,
    }
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if resource.categories:
        row["categories"] = list(resource.categories)
    return row


def _parts(resource: Resource) -> list[dict[str, Any]]:
    rows = []
    for name in sorted(resource.subresources):
        row: dict[str, Any] = {
            "name": f"{resource.plural}/{name}",
            "singularName": "",
            "namespaced": resource.namespaced,
        }
        row["kind"] = resource.kind
        if name in _KINDS:
            row["group"], row["version"], row["kind"] = _KINDS[name]
        rows.append({**row, "verbs": _OF_SUBRESOURCE.get(name, ["get", "patch", "update"])})
    return rows


def _aggregate(rows: list[dict[str, Any]], group: str, version: str) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        kind = {"group": row.get("group", group), "version": row.get("version", version), "kind": row["kind"]}
        name, _, part = row["name"].partition("/")
        if part:
            one = {"subresource": part, "responseKind": kind, "verbs": row["verbs"]}
            found[name].setdefault("subresources", []).append(one)
        else:
            found[name] = {
                "resource": name,
                "responseKind": kind,
                "scope": "Namespaced" if row["namespaced"] else "Cluster",
                "singularResource": row["singularName"],
                **{key: row[key] for key in ("verbs", "shortNames", "categories") if key in row},
            }
    return list(found.values())
