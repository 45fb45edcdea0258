"""Requests to the API server whose failures are ClusterErrors. Everything that the operator asks goes through here."""

from collections.abc import Callable, Mapping, Sequence

from fairlead_operator.errors import Away, ClusterError, Conflict, NotAllowed, Refused
from fairlead_operator.kinds import Kind, kind_of, path_of, plural
from fairlead_serve.api_server import Answer, ApiServer, Manifest, Unreachable

FIELD_MANAGER = "fairlead"
"""In whose name the operator owns fields."""

OnRequest = Callable[[str, str, str], None]
"""Told the verb, the resource and the status of every request; the status is `away` where there was no answer."""

_METHODS = {
    "get": "GET",
    "list": "GET",
    "create": "POST",
    "update": "PUT",
    "apply": "PATCH",
    "patch": "PATCH",
    "delete": "DELETE",
}
# Pods of some ten kilobytes each, five times that once they are read.
_PAGE = "200"
# No object has it, since etcd counts its first write as the second: an apply with it finds none, or is in conflict.
_NO_VERSION = "1"
# What the API server calls YAML may be JSON.
_CONTENT_TYPES = {"apply": "application/apply-patch+yaml", "patch": "application/merge-patch+json"}


class Api:
    """The API server, by verb and kind. Every method raises ClusterError. May be shared between threads."""

    def __init__(
        self,
        server: ApiServer,
        *,
        may_write: Callable[[], bool] = lambda: True,
        on_request: OnRequest = lambda _verb, _resource, _status: None,
    ) -> None:
        """`may_write` is asked before every write: who leads no longer must not."""
        self._server = server
        self._may_write = may_write
        self._on_request = on_request

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """The object, or None where there is none."""
        return _object_if_any(self._ask("get", kind, path_of(kind, namespace, name)), kind)

    def list(
        self, kind: Kind, query: Mapping[str, str], keep: Callable[[Manifest], Manifest | None]
    ) -> Sequence[Manifest]:
        """What `keep` leaves of the objects of a kind in the whole cluster that `query` selects; None: nothing.

        They are asked for in pages, of which there is one at a time.
        """
        found: list[Manifest] = []
        rest = ""
        while True:
            asked = {**query, "limit": _PAGE, **({"continue": rest} if rest else {})}
            page = _object(self._ask("list", kind, path_of(kind), asked), kind)
            found += filter(None, map(keep, page.get("items") or ()))
            rest = (page.get("metadata") or {}).get("continue", "")
            if not rest:
                return found

    def labelled(self, kind: Kind, namespace: str, selector: str) -> Sequence[Manifest] | None:
        """The objects of a kind in a namespace whose labels fit; None where the cluster does not know the kind."""
        answer = self._ask("list", kind, path_of(kind, namespace), {"labelSelector": selector})
        page = _object_if_any(answer, kind)
        # The type stands on the list alone.
        marks = {"apiVersion": kind.api_version, "kind": kind.name}
        return None if page is None else [{**marks, **item} for item in page.get("items") or ()]

    def create(self, manifest: Manifest) -> Manifest:
        """Make an object. Conflict: it is there."""
        kind, namespace, _ = _place(manifest)
        return _object(self._write("create", kind, path_of(kind, namespace), manifest), kind)

    def update(self, manifest: Manifest) -> Manifest:
        """Replace an object. Conflict: it has changed since the resourceVersion that is given."""
        kind, namespace, name = _place(manifest)
        return _object(self._write("update", kind, path_of(kind, namespace, name), manifest), kind)

    def update_status(self, manifest: Manifest) -> Manifest | None:
        """Replace the status of an object; None where there is none any more. Conflict: as for `update`."""
        kind, namespace, name = _place(manifest)
        return _object_if_any(self._write("update", kind, path_of(kind, namespace, name, "status"), manifest), kind)

    def apply(
        self, manifest: Manifest, *, dry_run: bool = False, manager: str = FIELD_MANAGER, anew: bool = False
    ) -> Manifest:
        """Own the fields of `manifest` in the name of `manager`, whoever had them before.

        `anew`: only by making the object. Conflict: it is there, and was left alone.
        """
        kind, namespace, name = _place(manifest)
        if anew:
            manifest = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": _NO_VERSION}}
        query = {"force": "true", "fieldManager": manager, **({"dryRun": "All"} if dry_run else {})}
        path = path_of(kind, namespace, name)
        return _object(self._write("apply", kind, path, manifest, query), kind)

    def patch(self, kind: Kind, namespace: str, name: str, patch: Manifest) -> Manifest | None:
        """Merge `patch` into an object; None where there is none."""
        path = path_of(kind, namespace, name)
        return _object_if_any(self._write("patch", kind, path, patch), kind)

    def delete(self, manifest: Manifest) -> Manifest | None:
        """Delete this very object and, in the background, what it owns.

        The object while something keeps it, else what the server says of the deletion; None where there is none.
        Conflict: another has its name.
        """
        kind, namespace, name = _place(manifest)
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": manifest["metadata"]["uid"]},
        }
        return _object_if_any(self._write("delete", kind, path_of(kind, namespace, name), options), kind)

    def _write(
        self, verb: str, kind: Kind, path: str, body: Manifest, query: Mapping[str, str] | None = None
    ) -> Answer:
        if not self._may_write():
            raise Away("this operator no longer leads, and leaves all writing to the one that does")
        owner = {} if verb == "delete" else {"fieldManager": FIELD_MANAGER}
        return self._ask(verb, kind, path, {**owner, **(query or {})}, body)

    def _ask(
        self, verb: str, kind: Kind, path: str, query: Mapping[str, str] | None = None, body: Manifest | None = None
    ) -> Answer:
        content_type = _CONTENT_TYPES.get(verb, "application/json")
        status = "away"
        try:
            answer = self._server.request(_METHODS[verb], path, query=query, body=body, content_type=content_type)
            status = str(answer.status)
        except Unreachable as error:
            raise Away(f"the API server does not answer: {error}") from error
        finally:
            self._on_request(verb, plural(kind.name), status)
        return answer


def _place(manifest: Manifest) -> tuple[Kind, str, str]:
    metadata = manifest["metadata"]
    return kind_of(manifest), metadata.get("namespace", ""), metadata["name"]


def _object_if_any(answer: Answer, kind: Kind) -> Manifest | None:
    return None if answer.status == 404 else _object(answer, kind)


def _object(answer: Answer, kind: Kind) -> Manifest:
    if answer.status >= 300:
        raise _error(answer, kind)
    try:
        return answer.json()
    except Unreachable as error:
        raise Away(f"something else than the API server answers: {error}") from error


def _error(answer: Answer, kind: Kind) -> ClusterError:
    sentence = answer.sentence
    match answer.status:
        case 401 | 403:
            return NotAllowed(sentence)
        case 404:
            # A write finds no place: the namespace is gone, or the cluster does not know the kind.
            return Refused(f"{kind.name} of {kind.api_version}: {sentence}")
        case 409:
            return Conflict(sentence)
        case 500 if sentence.startswith("failed to create typed patch object"):
            # A field that the kind does not have: the API server takes it for a fault of its own.
            return Refused(sentence)
        case status if status == 429 or status >= 500:
            return Away(sentence)
        case _:
            return Refused(sentence)
