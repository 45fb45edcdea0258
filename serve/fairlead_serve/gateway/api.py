"""The gateway as one application: routes, error forms and lifetime, put together from what is passed in."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from fairlead_serve import __version__
from fairlead_serve.asgi import ASGIApp
from fairlead_serve.errors import ApiError, ConfigurationError
from fairlead_serve.gateway.backends import Backend, RoutingTable, shorten
from fairlead_serve.gateway.cors import Cors
from fairlead_serve.gateway.lifecycle import Lifecycle
from fairlead_serve.gateway.middleware import CrashBoundary, RequestContext
from fairlead_serve.gateway.probes import Prober
from fairlead_serve.gateway.proxy import Proxy
from fairlead_serve.gateway.routes import health, inference, models
from fairlead_serve.gateway.upstream import Headers, UpstreamClient
from fairlead_serve.internal import TOKEN_HEADER
from fairlead_serve.logs import AccessLog
from fairlead_serve.metrics import GatewayMetrics, Load
from fairlead_serve.settings import BackendSettings, GatewaySettings


@dataclass(frozen=True)
class Gateway:
    """The application to run (`application`, ASGI) and what its process has to reach."""

    application: ASGIApp
    lifecycle: Lifecycle
    table: RoutingTable

    async def wait_ready(self) -> None:
        """Wait until every backend has answered once."""
        for backend in self.table.backends:
            await backend.became_ready()


def create_gateway(
    settings: GatewaySettings, *, environment: Mapping[str, str], created: int, access_log: AccessLog | None
) -> Gateway:
    """Build the gateway.

    `environment` is where the upstreams' API keys are looked up; `created` (seconds since 1970) is what
    /v1/models says of models that give no date. Raises ConfigurationError where the backends contradict
    each other or a key is missing.
    """
    try:
        backends = [
            Backend(one, _backend_headers(one, settings, environment), one.created or created)
            for one in settings.backends
        ]
        table = RoutingTable(backends, default_model=settings.default_model)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    client = UpstreamClient(connect_seconds=settings.times.connect_seconds, max_idle=settings.sizes.idle_connections)
    metrics = GatewayMetrics(lambda: _loads(table))
    lifecycle = Lifecycle()
    proxy = Proxy(table, client, metrics, settings.times, settings.sizes)
    prober = Prober(client, backends, seconds=settings.times.probe_seconds)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        prober.start()
        try:
            yield
        finally:
            await prober.stop()
            client.close()
            if access_log is not None:
                access_log.flush()

    application = FastAPI(
        title="Fairlead",
        version=__version__,
        summary="Every model at one OpenAI-compatible endpoint",
        lifespan=lifespan,
        # A slash too many is an error that says so, not a redirect that loses the body of a POST.
        redirect_slashes=False,
    )
    application.router.routes.extend(inference.create_routes(proxy))
    application.include_router(models.create_router(table))
    application.include_router(
        health.create_router(table, metrics, lifecycle, internal_token=settings.internal_token.get_secret_value())
    )
    _answer_errors(application)
    # Inside, before the framework answers a crash in its own form; and outside, for what never reaches it.
    application.add_middleware(CrashBoundary)
    front: ASGIApp = CrashBoundary(inference.Shortcut(application, proxy))
    if settings.cors_origins:
        front = Cors(front, origins=settings.cors_origins)
    return Gateway(RequestContext(front, access_log=access_log, lifecycle=lifecycle), lifecycle, table)


def _backend_headers(backend: BackendSettings, settings: GatewaySettings, environment: Mapping[str, str]) -> Headers:
    if backend.kind == "engine":
        return [(TOKEN_HEADER.encode(), settings.internal_token.get_secret_value().encode())]
    if not backend.api_key_env:
        return []
    # Files and Secrets tend to end with a newline, which a header must not have.
    key = environment.get(backend.api_key_env, "").strip()
    if not key:
        message = f"the environment variable {backend.api_key_env}, the API key of {backend.name}, is not set"
        raise ConfigurationError(message)
    return [(b"authorization", f"Bearer {key}".encode())]


def _loads(table: RoutingTable) -> Iterator[Load]:
    for backend in table.backends:
        yield backend.name, backend.admission.ongoing, backend.waiting, backend.ready


def _answer_errors(application: FastAPI) -> None:
    """Every error that the framework or a route raises, in OpenAI's form."""

    def respond(error: ApiError) -> Response:
        return JSONResponse(error.envelope(), error.status, error.headers)

    async def on_api_error(_: Request, error: Exception) -> Response:
        return respond(error if isinstance(error, ApiError) else ApiError(500, "internal error"))

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
    application.add_exception_handler(HTTPException, on_http_exception)
    application.add_exception_handler(RequestValidationError, on_invalid)


_HTTP_CODES = {404: "unknown_url", 405: "method_not_allowed"}


def _http_message(status: int, method: str, path: str) -> str:
    if status == 404:
        return f"there is no {method} {path}; /docs lists every route"
    if status == 405:
        return f"{path} does not take {method}"
    return f"the request was answered {status}"
