"""The names of ASGI that every middleware and bare endpoint speaks, and the one way they answer an error.

The specification: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from fairlead_serve.errors import ApiError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

# Of answers that end with their head (RFC 9112, 6.3).
NO_BODY_STATUSES = frozenset({204, 304})


def header_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The value of the first header `name` (lower case), b"" where there is none."""
    for key, value in headers:  # every request asks some times: a generator would cost twice as much
        if key == name:
            return value
    return b""


async def send_error(send: Send, error: ApiError, *, as_detail: bool = False) -> None:
    """Send `error` as a whole answer in OpenAI's form; `as_detail`: as `{"detail": "<why>"}`, for older clients."""
    document = {"detail": error.message} if as_detail else error.envelope()
    body = json.dumps(document, ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(name.encode(), value.encode()) for name, value in error.headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
