"""The routes that a backend answers: the gateway only passes them on.

They are FastAPI routes, so that they are documented and refused like any other, but their requests go to the bare
ASGI endpoint of the byte path before FastAPI sees them: its routing and its per-request machinery cost about as
much CPU as all the rest of a request (`bench` prints `gateway_us_per_request`).
"""

from fairlead_serve.asgi import ASGIApp, Receive, Scope, Send, send_error
from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.bare import BareRoute
from fairlead_serve.gateway.openapi import json_body

# (path, what it does): the paths are the same at the backend.
PASSED_ON: tuple[tuple[str, str], ...] = (
    ("/v1/chat/completions", "Answer a conversation, as one object or as a stream of events"),
    ("/v1/completions", "Continue a text, as one object or as a stream of events"),
    ("/v1/embeddings", "Turn texts into vectors"),
    ("/v1/rerank", "Order documents by how well they fit a query"),
    ("/v1/score", "Score how well pairs of texts fit"),
    ("/v1/messages", "Anthropic's Messages, for clients that speak it"),
    ("/v1/messages/count_tokens", "Anthropic's token count"),
    ("/v1/audio/transcriptions", "Turn speech into text"),
    ("/tokenize", "Turn text into token ids"),
    ("/detokenize", "Turn token ids into text"),
)

_SCHEMA = {"model": {"type": "string"}, "stream": {"type": "boolean"}}


class Shortcut:
    """Takes the requests of these routes to the byte path, and all others to the application."""

    def __init__(self, application: ASGIApp, handler: ASGIApp) -> None:
        self._application = application
        self._handler = handler
        self._paths = frozenset(path for path, _ in PASSED_ON)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self._paths or scope["method"] != "POST":
            await self._application(scope, receive, send)
            return
        try:
            await self._handler(scope, receive, send)
        except ApiError as error:
            await send_error(send, error)


def create_routes(handler: ASGIApp) -> list[BareRoute]:
    """`handler`: the byte path. To be added as they are: FastAPI's `include_router` would make new ones."""
    return [
        BareRoute(
            path,
            handler,
            summary=summary,
            tag="inference",
            body=json_body(_SCHEMA),
            answer="The backend's answer, unchanged",
        )
        for path, summary in PASSED_ON
    ]
