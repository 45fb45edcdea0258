"""The routes that a backend answers: the gateway only passes them on.

They are FastAPI routes, so that they are documented and refused like any other, but what runs is the bare
ASGI endpoint of the byte path: FastAPI's per-request machinery would cost more than the request.
"""

from typing import Any

from fastapi.routing import APIRoute

from fairlead_serve.asgi import ASGIApp

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

_JSON_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"model": {"type": "string"}, "stream": {"type": "boolean"}},
                    "additionalProperties": True,
                }
            }
        },
    }
}


class BareRoute(APIRoute):
    """A documented route whose requests go straight to an ASGI endpoint."""

    def __init__(self, path: str, endpoint: Any, *, handler: ASGIApp, **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.app = handler


def create_routes(handler: ASGIApp) -> list[BareRoute]:
    """`handler`: the byte path. To be added as they are: FastAPI's `include_router` would make new ones."""
    return [
        BareRoute(
            path,
            _documented,
            handler=handler,
            methods=["POST"],
            summary=summary,
            operation_id="post_" + path.strip("/").replace("/", "_"),
            tags=["inference"],
            openapi_extra=_JSON_BODY,
            responses={200: {"description": "The backend's answer, unchanged"}},
        )
        for path, summary in PASSED_ON
    ]


def _documented() -> None:
    """Stands where FastAPI looks for a signature; BareRoute answers instead."""
