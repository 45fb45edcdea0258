"""Who may do what. Everybody is an administrator unless role-based access control is on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.kube.calls import Call, User
from tests.kube.errors import Forbidden, Unauthorized
from tests.kube.resources import Manifest
from tests.kube.store import Store, details

_TOKEN = "token-of-"
_SERVICE_ACCOUNT = "system:serviceaccount:"
_RBAC = "rbac.authorization.k8s.io"
_ADMINISTRATORS = "system:masters"
ADMINISTRATOR = "kubernetes-admin"


def token_of(name: str) -> str:
    """The bearer token of a user, or of a service account by its name `system:serviceaccount:<namespace>:<name>`."""
    return f"{_TOKEN}{name}"


@dataclass(frozen=True)
class Wish:
    """What somebody would do: to objects, or to a path that is none's."""

    verb: str
    group: str = ""
    resource: str = ""
    """With its subresource: `deployments/scale`."""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Access:
    """Users by their bearer tokens, and what the roles in the store let them do."""

    def __init__(self, store: Store, *, enforced: bool = False) -> None:
        self._store = store
        self._enforced = enforced
        self._used: dict[str, set[tuple[str, str]]] = {}

    def used(self, user: str) -> set[tuple[str, str]]:
        """The rights that a user made use of: the verb, and `group/resource` with its subresource."""
        return set(self._used.get(user, ()))

    def user(self, headers: Mapping[str, str]) -> User:
        """Who sends a request with these headers. Raises Unauthorized."""
        given = headers.get("Authorization", "")
        if not given:
            return User("system:anonymous", ("system:unauthenticated",)) if self._enforced else User()
        scheme, _, token = given.partition(" ")
        if scheme != "Bearer" or not token.startswith(_TOKEN):
            raise Unauthorized("Unauthorized")
        name = token.removeprefix(_TOKEN)
        if name == ADMINISTRATOR:
            return User()
        if name.startswith(_SERVICE_ACCOUNT):
            namespace = name.split(":")[2]
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
            return User(name, groups)
        return User(name, ("system:authenticated",))

    def check(self, call: Call) -> None:
        """Raises Forbidden."""
        resource = f"{call.resource.plural}/{call.subresource}" if call.subresource else call.resource.plural
        wish = Wish(call.verb, call.resource.group, resource, call.namespace or "", call.name)
        if self.allows(call.user, wish):
            self._used.setdefault(call.user.name, set()).add((wish.verb, f"{wish.group}/{wish.resource}"))
            return
        where = f'in the namespace "{call.namespace}"' if call.namespace else "at the cluster scope"
        named = f' "{call.name}"' if call.name else ""
        raise Forbidden(
            f'{call.resource.qualified}{named} is forbidden: User "{call.user.name}" cannot {call.verb} resource '
            f'"{resource}" in API group "{call.resource.group}" {where}',
            details(call.resource, call.name),
        )

    def allows(self, user: User, wish: Wish) -> bool:
        """Whether a role lets the user do it."""
        if not self._enforced or _ADMINISTRATORS in user.groups:
            return True
        return any(_covers(rule, wish) for rule in self.rules(user, wish.namespace))

    def rules(self, user: User, namespace: str) -> Iterator[Manifest]:
        """Every rule that holds for the user in a namespace; those of the cluster alone for an empty one."""
        for plural in ("clusterrolebindings", *(["rolebindings"] if namespace else [])):
            within = namespace if plural == "rolebindings" else None
            for binding in self._store.all(self._store.resource(plural, _RBAC), within):
                if any(_is(subject, user, namespace) for subject in binding.get("subjects", ())):
                    yield from self._rules_of(binding["roleRef"], namespace)

    def _rules_of(self, reference: Manifest, namespace: str) -> list[Manifest]:
        plural = "clusterroles" if reference["kind"] == "ClusterRole" else "roles"
        role = self._store.get(self._store.resource(plural, _RBAC), namespace, reference["name"])
        rules: list[Manifest] = (role or {}).get("rules", [])
        return rules


def _is(subject: Manifest, user: User, namespace: str) -> bool:
    name = subject["name"]
    if subject["kind"] == "Group":
        return name in user.groups
    if subject["kind"] == "ServiceAccount":
        name = f"{_SERVICE_ACCOUNT}{subject.get('namespace', namespace)}:{name}"
    return bool(name == user.name)


def _covers(rule: Manifest, wish: Wish) -> bool:
    if not _among(wish.verb, rule.get("verbs", ())):
        return False
    if wish.path:
        return any(path in ("*", wish.path) or _within(path, wish.path) for path in rule.get("nonResourceURLs", ()))
    names = rule.get("resourceNames")
    wild = f"*/{wish.resource.partition('/')[2]}"
    return (
        _among(wish.group, rule.get("apiGroups", ()))
        and (_among(wish.resource, rule.get("resources", ())) or wild in rule.get("resources", ()))
        and (not names or wish.name in names)
    )


def _among(value: str, allowed: list[str]) -> bool:
    return value in allowed or "*" in allowed


def _within(pattern: str, path: str) -> bool:
    return pattern.endswith("*") and path.startswith(pattern[:-1])
