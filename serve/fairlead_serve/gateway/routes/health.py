"""What operates the gateway: probes, metrics, load."""

import asyncio
import hmac
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from prometheus_client import CONTENT_TYPE_LATEST

from fairlead_serve.conversations import Store
from fairlead_serve.errors import ApiError, StoreUnavailable
from fairlead_serve.gateway.backends import RoutingTable
from fairlead_serve.gateway.lifecycle import Lifecycle
from fairlead_serve.internal import TOKEN_HEADER
from fairlead_serve.metrics import GatewayMetrics

# A kubelet waits one second for an answer, and takes none for a reason to send nobody here.
_PING_SECONDS = 0.5


def create_router(
    table: RoutingTable, store: Store, metrics: GatewayMetrics, lifecycle: Lifecycle, *, internal_token: str
) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/livez", summary="The process is alive")
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/readyz", summary="At least one model can be routed")
    async def readyz() -> dict[str, Any]:
        models = {backend.name: backend.ready for backend in table.backends}
        if lifecycle.draining:
            raise ApiError(503, "draining: requests in flight finish, new ones go elsewhere", code="draining")
        if not any(models.values()):
            raise ApiError(503, "no model has a ready backend", code="not_ready", headers={"retry-after": "5"})
        return {"status": "ok", "models": models, "store": await _state_of(store)}

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def scrape() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/internal/load", summary="Per model: requests ongoing, queued, and when the last one came")
    async def load(token: Annotated[str, Header(alias=TOKEN_HEADER)] = "") -> dict[str, Any]:
        if not internal_token or not hmac.compare_digest(token.encode(), internal_token.encode()):
            raise ApiError(401, "this route wants the internal token", code="internal_token_required")
        return {
            "models": [
                {
                    "name": backend.name,
                    "ongoing": backend.admission.ongoing,
                    "queued": backend.waiting,
                    "last_request": backend.last_request or None,
                }
                for backend in table.backends
            ]
        }

    return router


async def _state_of(store: Store) -> str:
    """`ok` or `away`. A gateway without its store is still ready: all share the store, and completions need none."""
    try:
        async with asyncio.timeout(_PING_SECONDS):
            await store.ping()
    except (StoreUnavailable, TimeoutError):
        return "away"
    return "ok"
