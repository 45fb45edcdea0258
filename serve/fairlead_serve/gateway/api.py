"""The gateway as one application: routes, error forms and lifetime, put together from what is passed in."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from fairlead_serve import __version__
from fairlead_serve.asgi import ASGIApp
from fairlead_serve.conversations import Keeper, Store
from fairlead_serve.errors import ApiError, ConfigurationError, StoreError, StoreUnavailable
from fairlead_serve.gateway import stored
from fairlead_serve.gateway.auth import Authentication, KeyRing
from fairlead_serve.gateway.backends import Backend
from fairlead_serve.gateway.background import Background
from fairlead_serve.gateway.cors import Cors
from fairlead_serve.gateway.exchange import Means
from fairlead_serve.gateway.lifecycle import Lifecycle
from fairlead_serve.gateway.limits import Limits
from fairlead_serve.gateway.middleware import CrashBoundary, RequestContext
from fairlead_serve.gateway.openapi import ERRORS
from fairlead_serve.gateway.probes import Prober
from fairlead_serve.gateway.proxy import Proxy
from fairlead_serve.gateway.roster import Roster, Source
from fairlead_serve.gateway.routes import compat, conversations, health, inference, models, page, responses
from fairlead_serve.gateway.routing import RoutingTable, shorten
from fairlead_serve.gateway.turns import Turns
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
    store: Store
    source: Source | None = None

    async def open(self) -> None:
        """Open the store, so that what is wrong with its settings is known before anything is served.

        Raises ConfigurationError. A database that is away is not waited for: it is tried again while serving.
        """
        await _open(self.store)

    async def wait_ready(self) -> None:
        """Wait until every backend has answered once; with a source, until it has told of every Model."""
        if self.source is not None:
            await self.source.wait_settled()
            return
        for backend in self.table.backends:
            await backend.became_ready()


def create_gateway(
    settings: GatewaySettings,
    *,
    environment: Mapping[str, str],
    created: int,
    access_log: AccessLog | None,
    make_source: Callable[[Roster], Source] | None = None,
) -> Gateway:
    """Build the gateway.

    `environment` is where the upstreams' API keys are looked up; `created` (seconds since 1970) is what
    /v1/models says of models that give no date. `make_source` makes where Models come from instead of the settings.
    Raises ConfigurationError where the backends contradict each other, a key is missing, or the file of keys or the
    place of the store cannot be used.
    """
    times, sizes = settings.times, settings.sizes
    table = _fixed_table(settings, environment, created) if make_source is None else _open_table(settings)
    client = UpstreamClient(connect_seconds=times.connect_seconds, max_idle=sizes.idle_connections)
    ring = KeyRing(settings.key_file) if settings.key_file is not None else None
    limits = Limits(settings.limits_url.get_secret_value())
    store = Store(settings.database_url.get_secret_value())
    keeper = Keeper(store, ttl_days=settings.conversation_ttl_days)
    prober = Prober(client, seconds=times.probe_seconds)
    metrics = GatewayMetrics(lambda: _loads(table))
    roster = Roster(table, client, prober, metrics, engine_headers=_engine_headers(settings), created=created)
    source = make_source(roster) if make_source is not None else None
    if source is not None:
        metrics.follow(source)
    lifecycle = Lifecycle()
    proxy = Proxy(table, Means(client, metrics, times, sizes), limits)
    turns = Turns(proxy, store, lambda: table.longest_request(times.request_seconds))
    background = Background(store)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await _open(store)
        for backend in table.backends:
            prober.follow(backend)
        if source is not None:
            source.start()
        if ring is not None:
            ring.start()
        keeping = asyncio.create_task(keeper.run(), name="keeper of the store")
        try:
            yield
        finally:
            await background.close(lifecycle.over)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            if ring is not None:
                await ring.stop()
            if source is not None:
                await source.stop()
            await prober.stop()
            await limits.close()
            await store.close()
            client.close()
            if access_log is not None:
                access_log.flush()

    application = _application(lifespan)
    create_response = responses.CreateResponse(turns, background, times, sizes)
    application.router.routes.extend(
        [
            *inference.create_routes(proxy),
            *responses.create_routes(create_response),
            *compat.create_routes(compat.Compat(turns, store, times, sizes)),
        ]
    )
    for router in (
        responses.create_router(store, background, quiet_seconds=times.keep_alive_comment_seconds),
        conversations.create_router(store, times, sizes),
        models.create_router(table),
        compat.create_router(store, table),
        page.create_router(),
        health.create_router(
            table, store, metrics, lifecycle, source, internal_token=settings.internal_token.get_secret_value()
        ),
    ):
        application.include_router(router, responses=ERRORS)
    # Inside, before the framework answers a crash in its own form; and outside, for what never reaches it.
    application.add_middleware(CrashBoundary)
    front = _with_cors(Authentication(CrashBoundary(inference.Shortcut(application, proxy)), ring), settings)
    return Gateway(RequestContext(front, access_log=access_log, lifecycle=lifecycle), lifecycle, table, store, source)


def _application(lifespan: Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]) -> FastAPI:
    """An application without routes, whose errors have OpenAI's form."""
    application = FastAPI(
        title="Fairlead",
        version=__version__,
        summary="Every model at one OpenAI-compatible endpoint",
        lifespan=lifespan,
        # A slash too many is an error that says so, not a redirect that loses the body of a POST.
        redirect_slashes=False,
    )
    _answer_errors(application)
    return application


def _with_cors(application: ASGIApp, settings: GatewaySettings) -> ASGIApp:
    return Cors(application, origins=settings.cors_origins) if settings.cors_origins else application


async def _open(store: Store) -> None:
    with contextlib.suppress(StoreUnavailable):  # the keeper goes on trying, and says why
        await store.open()


def _fixed_table(settings: GatewaySettings, environment: Mapping[str, str], created: int) -> RoutingTable:
    try:
        backends = [
            Backend(one, _backend_headers(one, settings, environment), one.created or created, one.endpoints)
            for one in settings.backends
        ]
        fallbacks = [one.fallback for one in settings.backends]
        return RoutingTable.fixed(list(zip(backends, fallbacks, strict=True)), default_model=settings.default_model)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _open_table(settings: GatewaySettings) -> RoutingTable:
    """A table whose models are yet to come, the default one included."""
    return RoutingTable(default_model=settings.default_model, unsettled="the gateway is waiting for the cluster")


def _backend_headers(backend: BackendSettings, settings: GatewaySettings, environment: Mapping[str, str]) -> Headers:
    if backend.kind == "engine":
        return _engine_headers(settings)
    if not backend.api_key_env:
        return []
    # Files and Secrets tend to end with a newline, which a header must not have.
    key = environment.get(backend.api_key_env, "").strip()
    if not key:
        message = f"the environment variable {backend.api_key_env}, the API key of {backend.name}, is not set"
        raise ConfigurationError(message)
    return [(b"authorization", f"Bearer {key}".encode())]


def _engine_headers(settings: GatewaySettings) -> Headers:
    return [(TOKEN_HEADER.encode(), settings.internal_token.get_secret_value().encode())]


def _loads(table: RoutingTable) -> Iterator[Load]:
    for backend in table.backends:
        yield backend.name, backend.admission.ongoing, backend.waiting, backend.ready


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


_HTTP_CODES = {404: "unknown_url", 405: "method_not_allowed"}


def _http_message(status: int, method: str, path: str) -> str:
    if status == 404:
        return f"there is no {method} {path}; /docs lists every route"
    if status == 405:
        return f"{path} does not take {method}"
    return f"the request was answered {status}"
