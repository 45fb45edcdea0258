"""`/v1/models`: every name that can be asked for."""

from typing import Any

from fastapi import APIRouter, Request

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.auth import caller_of
from fairlead_serve.gateway.backends import Backend
from fairlead_serve.gateway.routing import RoutingTable, shorten


def create_router(table: RoutingTable) -> APIRouter:
    router = APIRouter(tags=["models"])

    @router.get("/v1/models", summary="List the models")
    async def list_models(request: Request) -> dict[str, Any]:
        if table.unsettled:
            raise table.not_settled()
        names = table.names(caller_of(request.scope))
        return {"object": "list", "data": [_card(name, backend) for name, backend in names]}

    @router.get("/v1/models/{model:path}", summary="Get one model")
    async def get_model(request: Request, model: str) -> dict[str, Any]:
        for name, backend in table.names(caller_of(request.scope)):
            if name == model:
                return _card(name, backend)
        if table.unsettled:
            raise table.not_settled()
        raise ApiError(404, f"the model {shorten(model)!r} does not exist", code="model_not_found", param="model")

    return router


def _card(name: str, backend: Backend) -> dict[str, Any]:
    """OpenAI's model object, and `root`, which tells an alias from the name it stands for, as vLLM's does.

    A LoRA adapter has a `parent`, the model that it is for, and its `root` is where it is from. `tasks`, where they are
    known, are vLLM's names for what the model can do: `generate`, `embed`, ...
    """
    adapter = next((one for one in backend.settings.adapters if one.name == name), None)
    return {
        "id": name,
        "object": "model",
        "created": backend.created,
        "owned_by": "fairlead",
        "root": backend.name if adapter is None else adapter.uri or adapter.name,
        **({"parent": backend.name} if adapter is not None else {}),
        **({"tasks": list(backend.tasks)} if backend.tasks else {}),
    }
