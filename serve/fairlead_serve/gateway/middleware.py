"""What wraps every request of the gateway: its id, its line in the log, and the form of its errors.

Plain ASGI, outermost: also the answers of the framework itself (404, 405, a crash) pass through here.
"""

import logging
import re
import secrets
import time
from typing import Any

from fairlead_serve.asgi import ASGIApp, Message, Receive, Scope, Send, send_error
from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.inbound import ClientGone
from fairlead_serve.logs import AccessLog

_logger = logging.getLogger(__name__)
_GIVEN_ID = re.compile(rb"[\x21-\x7e]{1,128}")


class RequestContext:
    """Gives each request an id (`x-request-id`, the client's own where it sent a sane one), times it, logs it.

    Errors that nobody expected become a plain 500 here, with the traceback in the log and not in the answer.
    """

    def __init__(self, application: ASGIApp, *, access_log: AccessLog | None) -> None:
        self._application = application
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = _request_id(scope)
        scope["fairlead.request_id"] = request_id
        status = 0
        first_byte = 0.0

        async def send_marked(message: Message) -> None:
            nonlocal status, first_byte
            if message["type"] == "http.response.start":
                status = message["status"]
                first_byte = time.perf_counter() - began
                milliseconds = b"%d" % (first_byte * 1000)
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id),
                    (b"openai-processing-ms", milliseconds),
                ]
            await send(message)

        try:
            await self._application(scope, receive, send_marked)
        except ClientGone:
            status = status or 499
        except Exception:
            _logger.exception("unexpected error", extra={"fields": {"request_id": request_id.decode()}})
            if status:
                raise  # the answer has begun: only the connection can still say that it is broken
            await send_error(
                send_marked,
                ApiError(500, "the gateway failed; its log has the reason", code="internal_error"),
            )
        finally:
            self._log(scope, request_id, status, began, first_byte)

    def _log(self, scope: Scope, request_id: bytes, status: int, began: float, first_byte: float) -> None:
        if self._access_log is None:
            return
        event: dict[str, Any] = {
            "time": time.time(),
            "request_id": request_id.decode("latin-1"),
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "seconds": round(time.perf_counter() - began, 6),
            "first_byte_seconds": round(first_byte, 6),
        }
        if model := scope.get("fairlead.model"):
            event["model"] = model
        self._access_log.write(event)


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _GIVEN_ID.fullmatch(value):
            return bytes(value)
    return b"req_" + secrets.token_hex(12).encode()
