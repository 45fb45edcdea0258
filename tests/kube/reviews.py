"""Questions that clients ask about themselves and others: may I, who am I."""

from typing import Any

from tests.kube.access import Access, Wish
from tests.kube.calls import User
from tests.kube.errors import NotFound
from tests.kube.resources import Manifest

_AUTHORIZATION = "/apis/authorization.k8s.io/v1/"
_AUTHENTICATION = "/apis/authentication.k8s.io/v1/"


def answer(access: Access, user: User, path: str, body: Any) -> Manifest:
    """The review with its status. Raises NotFound for a path that takes none."""
    spec = body.get("spec", {}) if isinstance(body, dict) else {}
    if path == f"{_AUTHORIZATION}selfsubjectaccessreviews":
        return {**body, "status": _verdict(access, user, spec)}
    if path == f"{_AUTHORIZATION}subjectaccessreviews":
        other = User(spec.get("user", ""), tuple(spec.get("groups", ())))
        return {**body, "status": _verdict(access, other, spec)}
    if path == f"{_AUTHORIZATION}selfsubjectrulesreviews":
        rules = list(access.rules(user, spec.get("namespace", "")))
        found = {"resourceRules": [rule for rule in rules if "resources" in rule], "incomplete": False}
        return {**body, "status": {**found, "nonResourceRules": [rule for rule in rules if "nonResourceURLs" in rule]}}
    if path == f"{_AUTHENTICATION}selfsubjectreviews":
        return {**body, "status": {"userInfo": {"username": user.name, "groups": list(user.groups)}}}
    if path == f"{_AUTHENTICATION}tokenreviews":
        named = access.user({"Authorization": f"Bearer {spec.get('token', '')}"})
        return {**body, "status": {"authenticated": True, "user": {"username": named.name}}}
    raise NotFound("the server could not find the requested resource")


def _verdict(access: Access, user: User, spec: Manifest) -> Manifest:
    wanted = spec.get("resourceAttributes")
    if wanted is None:
        asked = spec.get("nonResourceAttributes", {})
        allowed = access.allows(user, Wish(asked.get("verb", ""), path=asked.get("path", "")))
    else:
        resource = "/".join(filter(None, (wanted.get("resource", ""), wanted.get("subresource", ""))))
        wish = Wish(
            wanted.get("verb", ""),
            wanted.get("group", ""),
            resource,
            wanted.get("namespace", ""),
            wanted.get("name", ""),
        )
        allowed = access.allows(user, wish)
    return {"allowed": allowed} if allowed else {"allowed": False, "reason": "no role lets you do that"}
