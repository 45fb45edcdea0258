"""`/v1/models`: every name that can be asked for."""

from typing import Any

from fastapi import APIRouter, Request

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.auth import caller_of
from fairlead_serve.gateway.backends import Backend, RoutingTable, shorten


def create_router(table: RoutingTable) -> APIRouter:
    router = APIRouter(tags=["models"])

    @router.get("/v1/models", summary="List the models")
    async def list_models(request: Request) -> dict[str, Any]:
        names = table.names(caller_of(request.scope))
        return {"object": "list", "data": [_card(name, backend) for name, backend in names]}

    @router.get("/v1/models/{model:path}", summary="Get one model")
    async def get_model(request: Request, model: str) -> dict[str, Any]:
        for name, backend in table.names(caller_of(request.scope)):
            if name == model:
                return _card(name, backend)
        raise ApiError(404, f"the model {shorten(model)!r} does not exist", code="model_not_found", param="model")

    return router


def _card(name: str, backend: Backend) -> dict[str, Any]:
    """OpenAI's model object, and `root`, which tells an alias from the name it stands for, as vLLM's does.

    `tasks`, where they are known, are vLLM's names for what the model can do: `generate`, `embed`, ...
    """
    return {
        "id": name,
        "object": "model",
        "created": backend.created,
        "owned_by": "fairlead",
        "root": backend.name,
        **({"tasks": list(backend.tasks)} if backend.tasks else {}),
    }
