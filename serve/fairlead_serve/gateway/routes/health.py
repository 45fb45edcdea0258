"""What operates the gateway: probes, metrics, load."""

import asyncio
import hmac
from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from prometheus_client import CONTENT_TYPE_LATEST

from fairlead_serve.conversations import Store
from fairlead_serve.errors import ApiError, StoreUnavailable
from fairlead_serve.gateway.lifecycle import Lifecycle
from fairlead_serve.gateway.roster import Source
from fairlead_serve.gateway.routing import RoutingTable
from fairlead_serve.internal import TOKEN_HEADER
from fairlead_serve.metrics import GatewayMetrics

# A kubelet waits one second for an answer, and takes none for a reason to send nobody here.
_PING_SECONDS = 0.5


def create_router(
    table: RoutingTable,
    store: Store,
    metrics: GatewayMetrics,
    lifecycle: Lifecycle,
    source: Source | None,
    *,
    internal_token: str,
) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get("/livez", summary="The process is alive")
    async def livez() -> dict[str, str]:
        if source is not None and not source.alive:
            raise ApiError(503, "the gateway follows the cluster no longer; it has to be restarted", code="not_alive")
        return {"status": "ok"}

    @router.get("/readyz", summary="At least one model can be routed; in a cluster, its Models are known")
    async def readyz() -> dict[str, Any]:
        models = {backend.name: backend.ready for backend in table.backends}
        if lifecycle.draining:
            raise ApiError(503, "draining: requests in flight finish, new ones go elsewhere", code="draining")
        if table.unsettled:
            raise table.not_settled()
        # In a cluster a gateway without a ready model is of use: requests wake the models that are scaled to zero, and
        # an installation that has none yet is complete.
        if source is None and not any(models.values()):
            raise ApiError(503, "no model has a ready backend", code="not_ready", headers={"retry-after": "5"})
        state = {"status": "ok", "models": models, "store": await _state_of(store)}
        return state if source is None else {**state, "cluster": _state_of_cluster(source)}

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
                    "resource": backend.key or None,
                    "ongoing": backend.admission.ongoing,
                    "queued": backend.waiting,
                    "last_request": backend.last_request or None,
                }
                for backend in table.backends
            ]
        }

    return router


def _state_of_cluster(source: Source) -> dict[str, Any]:
    """For whoever can reach this route: numbers. The log says more."""
    left_out = Counter(one.reason for one in source.left_out)
    return {"silence_seconds": round(source.silence_seconds, 1), "left_out": left_out}


async def _state_of(store: Store) -> str:
    """`ok` or `away`. A gateway without its store is still ready: all share the store, and completions need none."""
    try:
        async with asyncio.timeout(_PING_SECONDS):
            await store.ping()
    except (StoreUnavailable, TimeoutError):
        return "away"
    return "ok"
