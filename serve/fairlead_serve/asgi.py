"""The names of ASGI that every middleware and bare endpoint speaks, and the one way they answer an error.

The specification: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fairlead_serve.errors import ApiError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


async def send_error(send: Send, error: ApiError) -> None:
    """Send `error` as a whole answer in OpenAI's form."""
    body = json.dumps(error.envelope(), ensure_ascii=False).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(name.encode(), value.encode()) for name, value in error.headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
