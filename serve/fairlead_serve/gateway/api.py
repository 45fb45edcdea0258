"""The gateway as one application: its parts, the routes that use them, and what wraps every request."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastapi import FastAPI

from fairlead_serve.asgi import ASGIApp
from fairlead_serve.conversations import Store
from fairlead_serve.gateway.auth import Authentication
from fairlead_serve.gateway.cors import Cors
from fairlead_serve.gateway.framework import create_application
from fairlead_serve.gateway.lifecycle import Lifecycle
from fairlead_serve.gateway.middleware import CrashBoundary, RequestContext
from fairlead_serve.gateway.openapi import ERRORS
from fairlead_serve.gateway.parts import Parts, create_parts, open_store
from fairlead_serve.gateway.roster import Roster, Source
from fairlead_serve.gateway.routes import compat, conversations, health, inference, models, page, responses
from fairlead_serve.gateway.routing import RoutingTable
from fairlead_serve.logs import AccessLog
from fairlead_serve.settings import GatewaySettings


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
        await open_store(self.store)

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
    parts = create_parts(
        settings, environment=environment, created=created, access_log=access_log, make_source=make_source
    )
    application = create_application(parts.running)
    _add_routes(application, parts, settings)
    front = RequestContext(_wrapped(application, parts, settings), access_log=access_log, lifecycle=parts.lifecycle)
    return Gateway(front, parts.lifecycle, parts.table, parts.store, parts.source)


def _add_routes(application: FastAPI, parts: Parts, settings: GatewaySettings) -> None:
    times, sizes = settings.times, settings.sizes
    table, store, background = parts.table, parts.store, parts.background
    application.router.routes.extend(
        [
            *inference.create_routes(parts.proxy),
            *responses.create_routes(responses.CreateResponse(parts.turns, background, times, sizes)),
            *compat.create_routes(compat.Compat(parts.turns, store, times, sizes)),
        ]
    )
    token = settings.internal_token.get_secret_value()
    for router in (
        responses.create_router(store, background, quiet_seconds=times.keep_alive_comment_seconds),
        conversations.create_router(store, times, sizes),
        models.create_router(table),
        compat.create_router(store, table),
        page.create_router(),
        health.create_router(table, store, parts.metrics, parts.lifecycle, parts.source, internal_token=token),
    ):
        application.include_router(router, responses=ERRORS)


def _wrapped(application: ASGIApp, parts: Parts, settings: GatewaySettings) -> ASGIApp:
    # The boundary is around the framework too, for what never reaches it.
    inner = CrashBoundary(inference.Shortcut(application, parts.proxy))
    keyed = Authentication(inner, parts.ring)
    return Cors(keyed, origins=settings.cors_origins) if settings.cors_origins else keyed
