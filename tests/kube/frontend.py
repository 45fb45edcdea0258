"""HTTP: from a request to a call, and from an answer to what the client takes."""

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import msgspec
import yaml
from aiohttp import web

from tests.kube import discovery, openapi, protobuf, reviews, tables
from tests.kube.access import Access
from tests.kube.api import Answer, Api
from tests.kube.audit import Audit, Record
from tests.kube.calls import Call, target
from tests.kube.errors import BadRequest, NotFound, StatusError
from tests.kube.faults import Fault, FaultError, Faults
from tests.kube.resources import Manifest
from tests.kube.store import Store
from tests.kube.watching import Watch

_JSON = "application/json"
_FAULTS = "/_faults"
_AGGREGATED = "g=apidiscovery.k8s.io;v=v2;"
_encode = msgspec.json.Encoder().encode
_VERSION = {"major": "1", "minor": "32", "gitVersion": "v1.32.5", "gitCommit": "", "platform": "linux/amd64"}


class Frontend:
    """Answers the requests of aiohttp."""

    def __init__(
        self, store: Store, access: Access, audit: Audit, faults: Faults, *, bookmark_seconds: float = 30
    ) -> None:
        self._store = store
        self._api = Api(store, access)
        self._access = access
        self._audit = audit
        self._faults = faults
        self._bookmark_seconds = bookmark_seconds
        self._watches: list[web.BaseRequest] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._answer(request)
        except StatusError as error:
            headers = {"Retry-After": "1"} if error.code == 429 else None
            return _response(error.code, _encode(error.status()), headers=headers)

    def drop_watches(self) -> int:
        """Cut the connection of every watch, without a word; returns how many."""
        dropped = list(self._watches)
        for request in dropped:
            if request.transport is not None:
                request.transport.abort()
        return len(dropped)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        user = self._access.user(request.headers)
        call = target(self._store, request.method, request.path, request.query)
        if call is None:
            return await self._other(request)
        call = replace(
            call,
            user=user,
            accept=request.headers.get("Accept", ""),
            agent=request.headers.get("User-Agent", ""),
            content_type=request.content_type,
            body=_parsed(await request.read(), request.content_type),
        )
        self._audit.add(_record(call))
        fault = self._faults.take(call)
        if fault is not None:
            await self._suffer(request, fault)
        self._access.check(call)
        if call.verb == "watch":
            return await self._watch(request, call)
        answer = self._api.answer(call)
        if fault is not None and fault.after:
            _fail(request, fault)
        return _rendered(call, answer)

    async def _suffer(self, request: web.BaseRequest, fault: Fault) -> None:
        if fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        if not fault.after:
            _fail(request, fault)

    async def _watch(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        watch = Watch(self._store, call, tables.form(call), bookmark_seconds=self._bookmark_seconds)
        response = web.StreamResponse(headers={"Content-Type": _JSON})
        response.enable_chunked_encoding()
        await response.prepare(request)
        self._watches.append(request)
        # A client that goes away ends its watch, and that is how most watches end.
        with contextlib.suppress(ConnectionError):
            try:
                async for piece in watch.events():
                    await response.write(piece)
                await response.write_eof()
            finally:
                self._watches.remove(request)
        return response

    async def _other(self, request: web.BaseRequest) -> web.StreamResponse:
        """Paths that are no objects': what there is, how the server is, and what clients ask about themselves."""
        path = request.path.rstrip("/")
        if path.startswith(_FAULTS):
            return _response(200, _encode(self._control(request.method, path, await request.read())))
        if request.method == "POST":
            body = _parsed(await request.read(), request.content_type)
            return _response(201, _encode(reviews.answer(self._access, self._access.user(request.headers), path, body)))
        if path in ("/healthz", "/readyz", "/livez"):
            return _response(200, b"ok", content_type="text/plain")
        aggregated = _AGGREGATED in request.headers.get("Accept", "")
        document = self._document(path, aggregated=aggregated)
        if document is None:
            raise NotFound("the server could not find the requested resource")
        kind = discovery.AGGREGATED if aggregated and path in ("/api", "/apis") else _JSON
        return _response(200, document if isinstance(document, bytes) else _encode(document), content_type=kind)

    def _control(self, method: str, path: str, body: bytes) -> Manifest:
        """What goes wrong on purpose, for whoever runs the server as a program. Raises NotFound and BadRequest."""
        match method, path.removeprefix(_FAULTS):
            case "POST", "":
                try:
                    self._faults.add_document(_parsed(body, _JSON) or {})
                except TypeError as error:
                    raise BadRequest(str(error)) from error
            case "DELETE", "":
                self._faults.clear()
            case "POST", "/watches":
                return {"dropped": self.drop_watches()}
            case "POST", "/compaction":
                self._store.compact()
            case _:
                raise NotFound("faults are POST or DELETE /_faults, POST /_faults/watches, POST /_faults/compaction")
        return {}

    def _document(self, path: str, *, aggregated: bool) -> Manifest | bytes | None:
        resources = self._store.resources()
        if path in ("/api", "/apis") and aggregated:
            return discovery.aggregated(resources, core=path == "/api")
        if path == "/version":
            return _VERSION
        if path == "/api":
            return discovery.api_versions()
        if path == "/apis":
            return discovery.groups(resources)
        if path.startswith("/openapi/v3"):
            return openapi.document(resources, path.removeprefix("/openapi/v3").strip("/"))
        words = path.strip("/").split("/")
        if words[0] == "apis" and len(words) == 2:
            return discovery.group(resources, words[1])
        return discovery.kinds(resources, "/".join(words[1:]))


def _record(call: Call) -> Record:
    return Record(
        call.verb,
        call.resource.qualified,
        call.subresource,
        call.namespace or "",
        call.name,
        call.user.name,
        call.agent,
    )


def _fail(request: web.BaseRequest, fault: Fault) -> None:
    if fault.hang_up and request.transport is not None:
        request.transport.abort()
    if fault.code or fault.hang_up:
        raise FaultError(fault.code or 500)


def _parsed(body: bytes, content_type: str) -> Any:
    if not body:
        return None
    if content_type == protobuf.CONTENT_TYPE:
        return protobuf.decoded(body)
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        if "yaml" not in content_type:
            raise BadRequest(f"the object provided is unrecognized: {error}") from error
    try:
        return yaml.safe_load(body)
    except yaml.YAMLError as error:
        raise BadRequest(f"error decoding YAML: {error}") from error


def _rendered(call: Call, answer: Answer) -> web.Response:
    headers = [("Warning", f'299 - "{_quoted(text)}"') for text in answer.warnings]
    if answer.listed is not None:
        body = tables.rendered(call, answer.listed.entries, answer.listed.metadata)
    elif answer.entry is not None:
        body = tables.form(call)(answer.entry)
    else:
        body = answer.body if isinstance(answer.body, bytes) else _encode(answer.body)
    return _response(answer.status, body, headers=headers)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _response(status: int, body: bytes, *, headers: Any = None, content_type: str = _JSON) -> web.Response:
    response = web.Response(status=status, body=body, headers=headers)
    response.headers["Content-Type"] = content_type
    return response
