"""What the gateway needs to know of a request before it passes it on: a few fields, and the bytes.

The body is read once and never turned into objects on the plain path: msgspec picks the named fields out of
the JSON and skips the rest (which it still checks to be JSON).
"""

import asyncio
import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec

from fairlead_serve.asgi import Receive, Scope, header_of
from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.form import Form
from fairlead_serve.gateway.line import line_of
from fairlead_serve.gateway.upstream import Headers

# What of a client's headers an upstream sees. Credentials are the gateway's to check and stay here.
_PASSED_ON = frozenset({b"content-type", b"accept", b"traceparent", b"tracestate", b"x-session-id"})
_JSON = (b"content-type", b"application/json")

T = TypeVar("T")


class _Fields(msgspec.Struct):
    """The fields of a JSON body that decide where it goes and how it comes back."""

    model: Annotated[str, msgspec.Meta(max_length=1000)] | None = None
    stream: bool | None = None


_decoder = msgspec.json.Decoder(_Fields)


class ClientGone(Exception):  # noqa: N818 - not an error: the client left
    """The client closed the connection before its request was whole."""


class Inbound(msgspec.Struct, frozen=True):
    """One request: `path` as sent upstream, `body` as received, `model` and `stream` as the client set them.

    `elsewhere`: makes the same request for servers that are not Fairlead's engines, where it has to be another.
    """

    path: str
    headers: Headers
    body: bytes
    model: str | None
    stream: bool
    form: Form | None = None
    elsewhere: "Callable[[], Inbound] | None" = None

    def with_model(self, model: str) -> bytes:
        """The body with another `model` in it (for upstreams that know it by another name), else unchanged.

        Raises ApiError 400 for a body that is JSON only at first sight.
        """
        if self.form is not None:
            return self.form.with_field("model", model.encode())
        document = self._document()
        document["model"] = msgspec.Raw(msgspec.json.encode(model))
        return msgspec.json.encode(document)

    def asking_for_usage(self) -> "Inbound | None":
        """The same request, with the usage at the end of its stream; None where it asks for that already.

        Raises ApiError 400 for a body that is JSON only at first sight.
        """
        document = self._document()
        try:
            options = msgspec.json.decode(document.get("stream_options", b"null"), type=dict[str, Any] | None) or {}
        except msgspec.MsgspecError:
            return None  # the engine says best what is wrong with them
        if options.get("include_usage"):
            return None
        document["stream_options"] = msgspec.Raw(msgspec.json.encode({**options, "include_usage": True}))
        return msgspec.structs.replace(self, body=msgspec.json.encode(document))

    def _document(self) -> dict[str, msgspec.Raw]:
        try:
            return msgspec.json.decode(self.body, type=dict[str, msgspec.Raw])
        except UnicodeDecodeError as error:
            raise _invalid_json(error) from None


async def read_inbound(scope: Scope, receive: Receive, *, limit: int, seconds: float) -> Inbound:
    """Read the whole request. Raises ApiError 400, 408 (after `seconds`), 413 or 415, and ClientGone."""
    headers = [header for header in scope["headers"] if header[0] in _PASSED_ON]
    body = await read_body(scope, receive, limit=limit, seconds=seconds)
    kind = header_of(headers, b"content-type")
    if kind.lower().startswith(b"multipart/form-data"):
        form = Form.parse(body, kind)
        name = form.field("model")
        model = None if name is None else name.decode("utf-8", "replace")
        return Inbound(scope["path"], headers, body, model, stream=False, form=form)
    if not kind:
        headers.append(_JSON)
    elif b"json" not in kind.lower():
        message = f"send JSON (content-type: application/json), not {kind.decode('latin-1')[:100]}"
        raise ApiError(415, message, code="unsupported_media_type")
    fields = parse_fields(body)
    return Inbound(scope["path"], headers, body, fields.model, bool(fields.stream))


async def read_body(scope: Scope, receive: Receive, *, limit: int, seconds: float) -> bytes:
    """The request's body. Raises ApiError 408 after `seconds`, 413 as soon as more than `limit` bytes are known of."""
    line = line_of(scope)
    if line is not None and line.has_body:
        return await _read_body(scope, receive, limit=limit)
    try:
        async with asyncio.timeout(seconds):
            return await _read_body(scope, receive, limit=limit)
    except TimeoutError:
        message = f"the request body did not arrive within {seconds:g} s"
        raise ApiError(408, message, code="request_timeout") from None


async def _read_body(scope: Scope, receive: Receive, *, limit: int) -> bytes:
    declared = header_of(scope["headers"], b"content-length")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def parse_fields(body: bytes) -> _Fields:
    """Raises ApiError 400 that says where the JSON is wrong."""
    return decode(body, _decoder)


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """A JSON body as what `decoder` makes of it. Raises ApiError 400 that says where the JSON is wrong."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        # msgspec: "Expected `str | null`, got `int` - at `$.model`"
        expectation, _, place = str(error).partition(" - at `$")
        param = place.rstrip("`").lstrip(".") or None
        if (missing := _MISSING.fullmatch(expectation)) is not None:
            param = ".".join(filter(None, (param, missing[1])))
            raise ApiError(400, f"the field {param!r} is missing", param=param) from None
        where = f"the field {param!r}" if param else "the request body"
        raise ApiError(400, f"{where} is wrong: {_plain(expectation)}", param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _invalid_json(error) from None


_MISSING = re.compile(r"Object missing required field `([^`]+)`")
# msgspec's names of types, the longer ones first.
_PLAIN_NAMES = {
    "`object | null`": "an object",
    "`object`": "an object",
    "`array | null`": "a list",
    "`array`": "a list",
    "`str | null`": "a string",
    "`str`": "a string",
    "`bool | null`": "true or false",
    "`bool`": "true or false",
    "`int`": "a number",
    "`float`": "a number",
}


def _plain(expectation: str) -> str:
    for technical, plain in _PLAIN_NAMES.items():
        expectation = expectation.replace(technical, plain)
    return expectation[:1].lower() + expectation[1:].replace("`", "")


def _invalid_json(error: Exception) -> ApiError:
    return ApiError(400, f"the request body is not valid JSON: {error}", code="invalid_json")


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"the request body is larger than the {limit} bytes allowed", code="request_too_large")
