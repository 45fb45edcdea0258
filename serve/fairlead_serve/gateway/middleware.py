"""What wraps every request of the gateway: its id, its line in the log, and the form of unexpected errors.

Plain ASGI. `RequestContext` is outermost, so also the answers of the framework itself (404, 405, CORS) pass
through it; `CrashBoundary` is innermost, so that its answers pass through everything else.
"""

import logging
import random
import re
import time
from collections.abc import Awaitable
from typing import Any

from fairlead_serve.asgi import ASGIApp, Message, Receive, Scope, Send, send_error
from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.auth import ANONYMOUS, CALLER
from fairlead_serve.gateway.inbound import ClientGone
from fairlead_serve.gateway.lifecycle import Lifecycle
from fairlead_serve.logs import AccessLog

_logger = logging.getLogger(__name__)
_GIVEN_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_CLIENT_GONE = 499  # nginx's number for a client that left before its answer began
_REQUEST_ID = "fairlead.request_id"
_STATUS = "fairlead.status"


class RequestContext:
    """Gives each request an id (`x-request-id`, the client's own where it sent a sane one), times it, logs it.

    While the gateway drains it also asks clients to use another connection, which leads to another gateway.
    """

    def __init__(self, application: ASGIApp, *, access_log: AccessLog | None, lifecycle: Lifecycle) -> None:
        self._application = application
        self._access_log = access_log
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = _request_id(scope)
        scope[_REQUEST_ID] = request_id
        first_byte = 0.0

        def send_marked(message: Message) -> Awaitable[None]:
            nonlocal first_byte
            if message["type"] == "http.response.start":
                scope[_STATUS] = message["status"]
                first_byte = time.perf_counter() - began
                headers = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id),
                    (b"openai-processing-ms", b"%d" % (first_byte * 1000)),
                ]
                if self._lifecycle.draining:
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
            return send(message)

        try:
            await self._application(scope, receive, send_marked)
        finally:
            self._log(scope, request_id, began, first_byte)

    def _log(self, scope: Scope, request_id: bytes, began: float, first_byte: float) -> None:
        if self._access_log is None:
            return
        event: dict[str, Any] = {
            "time": time.time(),
            "request_id": request_id.decode("latin-1"),
            "method": scope["method"],
            "path": scope["path"],
            "status": scope.get(_STATUS, _CLIENT_GONE),
            "seconds": round(time.perf_counter() - began, 6),
            "first_byte_seconds": round(first_byte, 6),
        }
        if model := scope.get("fairlead.model"):
            event["model"] = model
        if (caller := scope.get(CALLER)) is not None and caller is not ANONYMOUS:
            event["key"] = caller.name
        self._access_log.write(event)


class CrashBoundary:
    """Errors that nobody expected become a plain 500, with the traceback in the log and not in the answer."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        try:
            await self._application(scope, receive, send)
        except ClientGone:
            return
        except Exception:
            request_id = scope[_REQUEST_ID].decode("latin-1")
            _logger.exception("unexpected error", extra={"fields": {"request_id": request_id}})
            if _STATUS in scope:
                return  # the answer has begun: the server sees that it is not whole and cuts the connection
            await send_error(send, ApiError(500, "the gateway failed; its log has the reason", code="internal_error"))


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _GIVEN_ID.fullmatch(value):
            return bytes(value)
    # Not of `secrets`: it tells requests apart and guards nothing.
    return b"req_%024x" % random.getrandbits(96)
