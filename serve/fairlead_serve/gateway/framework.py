"""The web framework without a route: an application whose every error has OpenAI's form."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from fairlead_serve import __version__
from fairlead_serve.errors import ApiError, StoreError
from fairlead_serve.gateway import stored
from fairlead_serve.gateway.middleware import CrashBoundary
from fairlead_serve.gateway.routing import shorten

_HTTP_CODES = {404: "unknown_url", 405: "method_not_allowed"}


def create_application(running: Callable[[], AbstractAsyncContextManager[None]]) -> FastAPI:
    """An application without routes. It serves while it is inside `running()`."""
    application = FastAPI(
        title="Fairlead",
        version=__version__,
        summary="Every model at one OpenAI-compatible endpoint",
        lifespan=lambda _: running(),
        # A slash too many is an error that says so, not a redirect that loses the body of a POST.
        redirect_slashes=False,
    )
    # Before the framework answers a crash in its own form.
    application.add_middleware(CrashBoundary)
    _answer_errors(application)
    return application


def _answer_errors(application: FastAPI) -> None:
    """Every error that the framework or a route raises, in OpenAI's form."""

    def respond(error: ApiError) -> Response:
        return JSONResponse(error.envelope(), error.status, error.headers)

    async def on_api_error(_: Request, error: Exception) -> Response:
        return respond(error if isinstance(error, ApiError) else ApiError(500, "internal error"))

    async def on_store_error(_: Request, error: Exception) -> Response:
        return respond(stored.api_error(error) if isinstance(error, StoreError) else ApiError(500, "internal error"))

    async def on_http_exception(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        message = _http_message(status, request.method, shorten(request.scope["path"], 200))
        return respond(ApiError(status, message, code=_HTTP_CODES.get(status), headers=headers))

    async def on_invalid(_: Request, error: Exception) -> Response:
        first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": "invalid"}
        place = ".".join(str(part) for part in first["loc"][1:])
        return respond(ApiError(400, f"{place}: {first['msg']}" if place else str(first["msg"]), param=place or None))

    application.add_exception_handler(ApiError, on_api_error)
    application.add_exception_handler(StoreError, on_store_error)
    application.add_exception_handler(HTTPException, on_http_exception)
    application.add_exception_handler(RequestValidationError, on_invalid)


def _http_message(status: int, method: str, path: str) -> str:
    if status == 404:
        return f"there is no {method} {path}; /docs lists every route"
    if status == 405:
        return f"{path} does not take {method}"
    return f"the request was answered {status}"
