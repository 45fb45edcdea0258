"""One request to the API server, taken apart: who wants what of which object."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.kube.errors import NotFound
from tests.kube.resources import Resource
from tests.kube.store import Store

_REVIEWS = frozenset({"authorization.k8s.io", "authentication.k8s.io"})
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get"}


@dataclass(frozen=True)
class User:
    """Who asks."""

    name: str = "kubernetes-admin"
    groups: tuple[str, ...] = ("system:masters", "system:authenticated")


@dataclass(frozen=True)
class Call:
    """A request about objects; `name` is empty where it is about all of a kind."""

    verb: str
    resource: Resource
    namespace: str | None = None
    """None: of all namespaces, or of a kind that has none."""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = ""
    accept: str = ""
    agent: str = ""
    user: User = User()

    @property
    def dry_run(self) -> bool:
        return self.query.get("dryRun") == "All"

    @property
    def manager(self) -> str:
        """The field manager: the one given, else the program's name."""
        return self.query.get("fieldManager") or self.agent.partition("/")[0] or "unknown"


def target(store: Store, method: str, path: str, query: Mapping[str, str]) -> Call | None:
    """What a request is about; None for paths that are no objects'. Raises NotFound for a kind that is not known."""
    words = [word for word in path.split("/") if word]
    if words[:1] == ["api"] and len(words) > 2:
        group, version, words = "", words[1], words[2:]
    elif words[:1] == ["apis"] and len(words) > 3 and words[1] not in _REVIEWS:
        group, version, words = words[1], words[2], words[3:]
    else:
        return None
    namespace = None
    if words[0] == "namespaces" and len(words) > 2 and words[2] not in ("status", "finalize"):
        namespace, words = words[1], words[2:]
    resource = store.resource(words[0], group)
    if resource.version != version or (namespace is not None and not resource.namespaced) or len(words) > 3:
        raise NotFound("the server could not find the requested resource")
    name, subresource = (*words[1:], "", "")[:2]
    if subresource and subresource not in resource.subresources | {"finalize"}:
        raise NotFound("the server could not find the requested resource")
    return Call(_verb(method, name, query), resource, namespace, name, subresource, query)


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    verb = _VERBS.get(method, method.lower())
    if verb == "get" and query.get("watch") in ("true", "1"):
        return "watch"
    if not name:
        return {"get": "list", "delete": "deletecollection"}.get(verb, verb)
    return verb
