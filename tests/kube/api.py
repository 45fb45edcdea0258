"""What the server answers to a call about objects, watches aside."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.kube import evictions, patches, scaling
from tests.kube.access import Access
from tests.kube.calls import Call
from tests.kube.errors import BadRequest, Cause, Expired, Invalid, MethodNotAllowed, NotFound, UnsupportedMediaType
from tests.kube.managers import Applier, Writer
from tests.kube.resources import Manifest
from tests.kube.selectors import Selector, selector
from tests.kube.store import Store, details
from tests.kube.table import Entry

_APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: a body, or an object or a list of them, in the form that the client takes."""

    status: int = 200
    body: Manifest | bytes | None = None
    entry: Entry | None = None
    listed: "Listed | None" = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listed:
    """The objects of an answer with the metadata of the list."""

    entries: list[Entry]
    metadata: Mapping[str, Any] = field(default_factory=dict)


class FieldCheck:
    """What a client wants to happen with fields that the server does not know, before anything is stored."""

    def __init__(self, call: Call) -> None:
        self.warnings: list[str] = []
        self._kind = (
            f'{call.resource.kind} in version "{call.resource.version}" cannot be handled as a {call.resource.kind}'
        )
        self._wish = call.query.get("fieldValidation", "Warn")

    def __call__(self, unknown: list[str]) -> None:
        said = [f'unknown field "{place}"' for place in unknown]
        if said and self._wish == "Strict":
            raise BadRequest(f"{self._kind}: strict decoding error: {', '.join(said)}")
        if self._wish == "Warn":
            self.warnings += said


class Api:
    """Verbs on objects."""

    def __init__(self, store: Store, access: Access) -> None:
        self._store = store
        self._access = access
        self._verbs: dict[str, Callable[[Call], Answer]] = {
            "get": self._get,
            "list": self._list,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }

    def answer(self, call: Call) -> Answer:
        """Raises StatusError for every answer of failure."""
        if call.verb not in self._verbs:
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        return self._verbs[call.verb](call)

    def _get(self, call: Call) -> Answer:
        found = self._existing(call)
        if call.subresource == "scale":
            return Answer(body=scaling.existing_scale(call.resource, found.manifest))
        return Answer(entry=found)

    def _list(self, call: Call) -> Answer:
        entries = list(self._found(call))
        metadata: dict[str, Any] = {"resourceVersion": str(self._store.version)}
        if token := call.query.get("continue"):
            version, last = _parse_token(token)
            if version < self._store.compacted(call.resource):
                raise Expired("The provided continue parameter is too old to display a consistent list result.")
            metadata["resourceVersion"] = str(version)
            entries = [entry for entry in entries if entry.place > last]
        limit = int(call.query.get("limit") or 0)
        if 0 < limit < len(entries):
            metadata["remainingItemCount"] = len(entries) - limit
            entries = entries[:limit]
            metadata["continue"] = _token(int(metadata["resourceVersion"]), entries[-1].place)
        return Answer(listed=Listed(entries, metadata))

    def _create(self, call: Call) -> Answer:
        if call.subresource == "eviction":
            return self._evict(call)
        if call.name:
            raise MethodNotAllowed("the server does not allow this method on the requested resource")
        body = _object(call.body)
        given = body.get("metadata", {}).get("namespace", call.namespace)
        if call.resource.namespaced and given != call.namespace:
            raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
        check = FieldCheck(call)
        new = self._store.create(
            call.resource,
            body,
            namespace=call.namespace or "",
            dry_run=call.dry_run,
            check=check,
            track=self._writer(call).track,
        )
        return Answer(201, entry=self._entry(call, new), warnings=tuple(check.warnings))

    def _update(self, call: Call) -> Answer:
        body = _object(call.body)
        if call.subresource == "scale":
            return self._scale(call, body)
        if body.get("metadata", {}).get("name", call.name) != call.name:
            raise BadRequest("the name of the object does not match the name on the URL")
        return self._write(call, body)

    def _writer(self, call: Call) -> Writer:
        return Writer(call.resource, call.manager, call.subresource, self._store.timestamp())

    def _write(self, call: Call, body: Manifest, writer: Writer | None = None) -> Answer:
        metadata = {**body.get("metadata", {}), "name": call.name}
        if call.namespace is not None:
            metadata["namespace"] = call.namespace
        check = FieldCheck(call)
        new = self._store.update(
            call.resource,
            {**body, "metadata": metadata},
            subresource=call.subresource,
            dry_run=call.dry_run,
            check=check,
            track=(writer or self._writer(call)).track,
        )
        return Answer(entry=self._entry(call, new), warnings=tuple(check.warnings))

    def _patch(self, call: Call) -> Answer:
        kind = call.content_type
        if kind == _APPLY:
            return self._apply(call)
        old = self._existing(call).manifest
        if call.subresource == "scale":
            scale = scaling.scale_of(call.resource, old)
            return self._scale(call, patches.merge_patched(scale, call.body))
        if kind == "application/json-patch+json":
            return self._write(call, patches.json_patched(old, call.body, call.resource))
        if kind == "application/merge-patch+json":
            return self._write(call, patches.merge_patched(old, _object(call.body)))
        if kind == "application/strategic-merge-patch+json" and call.resource.custom is None:
            return self._write(call, patches.strategically_patched(old, _object(call.body), call.resource.shape))
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
        )

    def _apply(self, call: Call) -> Answer:
        body = _object(call.body)
        if not call.query.get("fieldManager"):
            cause = Cause("fieldManager", "FieldValueRequired", "Required value: is required for apply patch")
            raise Invalid("meta.k8s.io", "PatchOptions", "", [cause])
        old = self._store.get(call.resource, call.namespace or "", call.name)
        wanted = {**body, "metadata": {**body.get("metadata", {}), "name": call.name}}
        force = call.query.get("force") == "true"
        applier = Applier(call.resource, call.manager, call.subresource, self._store.timestamp(), wanted, force=force)
        if old is not None:
            return self._write(call, applier.applied(old), applier)
        if call.subresource:
            self._existing(call)
        self._access.check(replace(call, verb="create"))
        new = self._store.create(
            call.resource,
            applier.applied(None),
            namespace=call.namespace or "",
            dry_run=call.dry_run,
            check=FieldCheck(call),
            track=applier.track,
        )
        return Answer(201, entry=self._entry(call, new))

    def _scale(self, call: Call, scale: Manifest) -> Answer:
        old = self._existing(call).manifest
        new = scaling.scaled(call.resource, old, scale)
        given = scale.get("metadata", {}).get("resourceVersion")
        if given:
            new = {**new, "metadata": {**new["metadata"], "resourceVersion": given}}
        answer = self._write(replace(call, subresource=""), new, self._writer(call))
        assert answer.entry is not None
        return Answer(body=scaling.scale_of(call.resource, answer.entry.manifest))

    def _delete(self, call: Call) -> Answer:
        options = _object(call.body or {})
        dry_run = call.dry_run or options.get("dryRun") == ["All"]
        last = self._remove(call, call.namespace or "", call.name, options, dry_run=dry_run)
        if self._store.get(call.resource, call.namespace or "", call.name) is not None and not dry_run:
            return Answer(entry=self._existing(call))
        found = {**details(call.resource, call.name), "uid": last["metadata"]["uid"]}
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": found}
        return Answer(body=status)

    def _delete_collection(self, call: Call) -> Answer:
        options = _object(call.body or {})
        entries = list(self._found(call))
        for entry in entries:
            self._remove(call, *entry.place, options, dry_run=call.dry_run)
        return Answer(listed=Listed(entries, {"resourceVersion": str(self._store.version)}))

    def _remove(self, call: Call, namespace: str, name: str, options: Manifest, *, dry_run: bool) -> Manifest:
        grace = options.get("gracePeriodSeconds", call.query.get("gracePeriodSeconds"))
        policy = options.get("propagationPolicy") or call.query.get("propagationPolicy") or "Background"
        return self._store.delete(
            call.resource,
            namespace,
            name,
            policy="Orphan" if options.get("orphanDependents") else policy,
            grace_seconds=None if grace is None else int(grace),
            preconditions=options.get("preconditions"),
            dry_run=dry_run,
        )

    def _evict(self, call: Call) -> Answer:
        evictions.check(self._store, self._existing(call).manifest)
        options = (call.body or {}).get("deleteOptions") or {}
        self._remove(call, call.namespace or "", call.name, options, dry_run=call.dry_run)
        return Answer(201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})

    def _existing(self, call: Call) -> Entry:
        entry = self._store.entry(call.resource, call.namespace or "", call.name)
        if entry is None:
            raise NotFound(f'{call.resource.qualified} "{call.name}" not found', details(call.resource, call.name))
        return entry

    def _entry(self, call: Call, manifest: Manifest) -> Entry:
        """What is stored, with its JSON at hand; a dry run's is not."""
        metadata = manifest["metadata"]
        stored = self._store.entry(call.resource, metadata.get("namespace", ""), metadata["name"])
        return stored if stored is not None and stored.manifest is manifest else Entry(manifest, 0)

    def _found(self, call: Call) -> list[Entry]:
        wanted = wanted_of(call)
        found = self._store.entries(call.resource, call.namespace, wanted.pair)
        return [entry for entry in found if wanted.matches(entry.manifest)]


def wanted_of(call: Call) -> Selector:
    """Which objects a list or watch is about."""
    fields = call.query.get("fieldSelector", "")
    if call.name:
        fields = f"{fields},metadata.name={call.name}"
    return selector(call.resource, call.query.get("labelSelector", ""), fields)


def _object(body: Any) -> Manifest:
    if not isinstance(body, dict):
        raise BadRequest("the object provided is unrecognized (must be of type object)")
    return body


def _token(version: int, place: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, *place]).encode()).decode()


def _parse_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
    except ValueError as error:
        raise BadRequest("continue key is not valid") from error
    return version, (namespace, name)
