"""Upstream errors in OpenAI's form. Pure: status and bytes in, ApiError out.

vLLM's differ from OpenAI's in the type ("BadRequestError"), the code (a number), in being a print of pydantic's
errors where a field is wrong and, for routes that a model does not serve, in being FastAPI's `{"detail": ...}`;
other servers differ more. Clients see one form, of bounded length, without what they sent.
"""

import ast
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from fairlead_serve.errors import ApiError

# vLLM's words for a prompt that does not fit, and OpenAI's code for it.
_TOO_LONG = re.compile(r"maximum context length|longer than the maximum model length|max_model_len")
_WRONG_TASK = re.compile(
    r"does not support|not supported by (this|the) model|does not (have|appear to have)", re.IGNORECASE
)
# What vLLM says to every request of an engine core that has died (vllm/v1/engine/exceptions.py).
_ENGINE_DIED = "EngineCore encountered an issue"
_UNKNOWN_MODEL = re.compile(r"model .{0,200}(does not exist|not found)", re.IGNORECASE | re.DOTALL)
_CODE = re.compile(r"[a-z][a-z0-9_.]{1,63}", re.IGNORECASE)
# What vLLM adds to the messages of its own checks.
_NAMED_AGAIN = re.compile(r"\s*\(parameter=[\w.]+(, value=.*)?\)\s*$", re.DOTALL)
# One line of vLLM's print of pydantic's errors, up to the client's input. Both values are Python literals.
_LITERAL = r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_INVALID_FIELD = re.compile(rf"^\s*\{{'type': '(\w+)', 'loc': {_LITERAL}, 'msg': {_LITERAL}", re.MULTILINE)
_VALIDATION = re.compile(r"\d+ validation errors?:\n")
_SHOWN = 1000
_MAX_EXPECTATIONS = 3


@dataclass(frozen=True)
class _Words:
    """What an error body of any shape says."""

    message: str = ""
    param: str | None = None
    code: str | None = None


def api_error(status: int, body: bytes, *, model: str, retry_after: bytes = b"") -> ApiError:
    """The answer to give for an upstream's error answer.

    `status`: the upstream's, kept, except that what is not an HTTP error at all, and a refusal of the gateway's
    own credentials, become 502. `retry_after`: the upstream's header.
    """
    if status == 401:
        message = f"the backend of {model} refuses the gateway's credentials; its operator has to give it others"
        return ApiError(502, message, code="upstream_refused")
    status = status if 400 <= status < 600 else 502
    words = _words(body)
    if status >= 500 and _ENGINE_DIED in words.message:
        return engine_lost(model)
    headers: dict[str, str] = {}
    if status in {429, 503}:
        headers["retry-after"] = retry_after.decode("latin-1") or "1"
    return ApiError(
        status,
        words.message or f"the backend of {model} answered {status} and no reason",
        param=words.param,
        code=words.code or _code(status, words.message),
        headers=headers,
    )


def engine_lost(model: str) -> ApiError:
    """How a stream ends whose engine is gone."""
    message = f"the engine of {model} was lost while answering; what came before is incomplete"
    return ApiError(502, message, code="engine_lost")


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
    if status not in {400, 501}:
        return False
    message = _words(body).message
    return bool(_WRONG_TASK.search(message)) and "API" in message


def is_dead_engine(status: int, body: bytes) -> bool:
    """Whether vLLM says that its engine core has died: no word on this request, and it will not be answered."""
    return status >= 500 and _ENGINE_DIED in _words(body).message


def _code(status: int, message: str) -> str | None:
    if status in {429, 503}:
        return "engine_overloaded"
    if status == 400 and _TOO_LONG.search(message):
        return "context_length_exceeded"
    if status == 404 and _UNKNOWN_MODEL.search(message):
        return "model_not_found"
    return None


def _words(body: bytes) -> _Words:
    decoded = _decode(body)
    if decoded is None:
        text = body[: 4 * _SHOWN].decode("utf-8", "replace").strip()
        return _Words("" if text.startswith("<") else _plain(text))  # a proxy's page is for browsers
    error: Any = decoded.get("error", decoded) if isinstance(decoded, dict) else decoded
    if not isinstance(error, dict):
        return _Words(_plain(error if isinstance(error, str) else str(error)))
    message = error.get("message") or error.get("detail") or ""
    message = message if isinstance(message, str) else str(message)
    param, code = error.get("param"), error.get("code")
    code = code if isinstance(code, str) and _CODE.fullmatch(code) else None
    if _VALIDATION.match(message):
        return _invalid_field(message, code)
    return _Words(_plain(message), _path(param) if isinstance(param, str) else None, code)


def _invalid_field(message: str, code: str | None) -> _Words:
    """The first wrong field, and everything that could have been there instead."""
    found = [
        (kind, _path(ast.literal_eval(place)), ast.literal_eval(text))
        for kind, place, text in _INVALID_FIELD.findall(message)
    ]
    if not found:
        return _Words("the request body is not what this route takes", code=code)
    kind, param, _ = found[0]
    if kind == "missing":
        return _Words(f"the field {param!r} is missing", param, code)
    expectations = [_expectation(text) for one, place, text in found if place == param and one != "missing"]
    wanted = ", or ".join(list(dict.fromkeys(expectations))[:_MAX_EXPECTATIONS])
    subject = f"the field {param!r}" if param else "the request body"
    return _Words(_plain(f"{subject} is wrong: {wanted}"), param, code)


def _expectation(text: str) -> str:
    text = text.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _path(place: str) -> str | None:
    """`body.messages.0.SomeType.content` as clients know it: `messages[0].content`; None for the whole body."""
    path = ""
    for part in place[:_SHOWN].split("."):
        if part.isdigit():
            path += f"[{part}]"
        elif part and not part[0].isupper() and (path or part != "body"):  # capitals: the name of a Python type
            path += f".{part}" if path else part
    return path or None


def _plain(message: str) -> str:
    """`message` without tracebacks, of bounded length."""
    message = message.partition("Traceback (most recent call last)")[0].strip()
    message = _NAMED_AGAIN.sub("", message)
    return message if len(message) <= _SHOWN else message[:_SHOWN] + "…"


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
