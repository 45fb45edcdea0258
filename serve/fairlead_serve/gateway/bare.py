"""Routes whose requests go straight to an ASGI endpoint, documented like any other."""

from collections.abc import Mapping
from typing import Any

from fastapi.routing import APIRoute

from fairlead_serve.asgi import ASGIApp


class BareRoute(APIRoute):
    """A documented route that hands scope, receive and send to `handler`.

    To be added to the router's routes as it is: FastAPI's `include_router` would make another one of it.
    """

    def __init__(
        self,
        path: str,
        handler: ASGIApp,
        *,
        summary: str,
        tag: str,
        answer: str,
        method: str = "POST",
        body: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            path,
            _documented,
            methods=[method],
            summary=summary,
            operation_id=f"{method.lower()}_{path.strip('/').replace('/', '_')}",
            tags=[tag],
            openapi_extra=dict(body or {}),
            responses={200: {"description": answer}},
        )
        self.app = handler


def json_body(properties: Mapping[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """How OpenAPI describes a JSON body with these fields, and others that are passed on."""
    return _body("application/json", {**_object(properties, required), "additionalProperties": True})


def form_body(properties: Mapping[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The same for an HTML form."""
    return _body("application/x-www-form-urlencoded", _object(properties, required))


def _object(properties: Mapping[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), **({"required": list(required)} if required else {})}


def _body(kind: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {kind: {"schema": dict(schema)}}}}


def _documented() -> None:
    """Stands where FastAPI looks for a signature; the handler answers instead."""
