"""Which pages of other origins may call, as Starlette's middleware decides it, with refusals in OpenAI's form."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from fairlead_serve.asgi import ASGIApp
from fairlead_serve.errors import ApiError

# What a page's script may read of an answer, besides the few headers that it always may.
_EXPOSED = (
    "x-request-id",
    "openai-processing-ms",
    "retry-after",
    "x-fairlead-served-by",
    *(f"x-ratelimit-{what}-{unit}" for what in ("limit", "remaining", "reset") for unit in ("requests", "tokens")),
)


class Cors(CORSMiddleware):
    """`origins`: scheme, host and port, as browsers send them; `*` for all."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(app, allow_origins=origins, allow_methods=["*"], allow_headers=["*"], expose_headers=_EXPOSED)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Raises nothing; a refusal is a 400 that says what was refused."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        error = ApiError(400, bytes(response.body).decode(), code="cors_refused")
        kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return JSONResponse(error.envelope(), error.status, kept)
