"""Upstream errors in OpenAI's form. Pure: status and bytes in, ApiError out.

vLLM's differ from OpenAI's in the type ("BadRequestError"), the code (a number) and, for routes that a model
does not serve, in being FastAPI's `{"detail": ...}`; other servers differ more. Clients see one form.
"""

import re
from typing import Any

import msgspec

from fairlead_serve.errors import ApiError

# vLLM's words for a prompt that does not fit, and OpenAI's code for it.
_TOO_LONG = re.compile(r"maximum context length|longer than the maximum model length|max_model_len")
_WRONG_TASK = re.compile(
    r"does not support|not supported by (this|the) model|does not (have|appear to have)", re.IGNORECASE
)
_SHOWN = 500


def api_error(status: int, body: bytes, *, model: str) -> ApiError:
    """The answer to give for an upstream's error answer.

    `status`: the upstream's, kept, except that what is not an HTTP error at all becomes 502.
    """
    status = status if 400 <= status < 600 else 502
    message, param = _words(body)
    code = "context_length_exceeded" if status == 400 and _TOO_LONG.search(message) else None
    headers = {"retry-after": "1"} if status in {429, 503} else None
    if status in {429, 503}:
        code = "engine_overloaded"
    return ApiError(
        status,
        message or f"the backend of {model} answered {status} and no reason",
        param=param,
        code=code,
        headers=headers,
    )


def stream_error(payload: bytes, *, model: str) -> ApiError:
    """The same for the JSON of an error event in a stream, whose status is in its `code`, if anywhere."""
    status = 500
    decoded = _decode(payload)
    if isinstance(decoded, dict) and isinstance(decoded.get("error"), dict):
        code = decoded["error"].get("code")
        if isinstance(code, int) and 400 <= code < 600:
            status = code
    return api_error(status, payload, model=model)


def is_wrong_task(status: int, body: bytes) -> bool:
    """Whether vLLM says that the model has no such route (no handler, or a handler that refuses the task)."""
    if status == 404:
        decoded = _decode(body)
        return isinstance(decoded, dict) and "detail" in decoded
    message, _ = _words(body)
    return status in {400, 501} and bool(_WRONG_TASK.search(message)) and "API" in message


def _words(body: bytes) -> tuple[str, str | None]:
    """(message, param) out of an error body of any shape."""
    decoded = _decode(body)
    if decoded is None:
        return body.decode("utf-8", "replace").strip()[:_SHOWN], None
    error: Any = decoded.get("error", decoded) if isinstance(decoded, dict) else decoded
    if isinstance(error, str):
        return error, None
    if not isinstance(error, dict):
        return str(error)[:_SHOWN], None
    param = error.get("param")
    message = error.get("message") or error.get("detail") or ""
    return message if isinstance(message, str) else str(message)[:_SHOWN], param if isinstance(param, str) else None


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return None
