"""What stands between the network and an engine's HTTP application: plain ASGI, no Ray, no vLLM.

An engine's ports are open on more addresses than one would like (Ray's HAProxy and replicas bind all
interfaces), so an engine answers only who brings the internal token. The gateway adds it.
"""

import hmac
from collections.abc import Callable

from fairlead_serve.asgi import ASGIApp, Receive, Scope, Send, send_error
from fairlead_serve.errors import ApiError
from fairlead_serve.internal import DEAD_HEADER, TOKEN_HEADER


class TokenGuard:
    """Answers 401 to every HTTP or WebSocket request without the internal token.

    `token` empty refuses everybody: an engine that was given no token must not be open by accident.
    """

    def __init__(self, application: ASGIApp, *, token: str) -> None:
        self._application = application
        self._token = token.encode()
        self._header = TOKEN_HEADER.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._admits(scope):
            await self._application(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send_error(send, ApiError(401, "engines answer only the gateway", code="internal_token_required"))

    def _admits(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == self._header), b"")
        return bool(self._token) and hmac.compare_digest(given, self._token)


class DeadEngineGuard:
    """Answers 503, marked with `DEAD_HEADER`, as soon as the engine core has died.

    The mark tells the gateway that the replica is being replaced and that another attempt may be made
    elsewhere or later, which vLLM's own 500 does not.
    """

    def __init__(self, application: ASGIApp, *, is_dead: Callable[[], bool]) -> None:
        self._application = application
        self._is_dead = is_dead

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._is_dead():
            await send_error(send, _DEAD)
            return
        await self._application(scope, receive, send)


_DEAD = ApiError(
    503,
    "the engine has died and is being replaced",
    code="engine_unavailable",
    headers={DEAD_HEADER: "1", "retry-after": "5"},
)
