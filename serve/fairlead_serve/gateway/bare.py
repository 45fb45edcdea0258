"""Routes whose requests go straight to an ASGI endpoint, documented like any other."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Response
from fastapi.routing import APIRoute

from fairlead_serve.asgi import ASGIApp
from fairlead_serve.gateway.openapi import ERRORS, EVENTS, JSON, answers


class BareRoute(APIRoute):
    """A documented route that hands scope, receive and send to `handler`.

    `answer` describes what comes, of one of the content types `kinds`; `errors` what comes instead.
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
        kinds: Sequence[str] = (JSON, EVENTS),
        errors: Mapping[int | str, dict[str, Any]] = ERRORS,
    ) -> None:
        super().__init__(
            path,
            _documented,
            methods=[method],
            summary=summary,
            operation_id=f"{method.lower()}_{path.strip('/').replace('/', '_')}",
            tags=[tag],
            openapi_extra=dict(body or {}),
            # JSON unless it is said otherwise, would FastAPI have it.
            response_class=Response,
            responses={**answers(*kinds, description=answer), **errors},
        )
        self.app = handler


def _documented() -> None:
    """Stands where FastAPI looks for a signature; the handler answers instead."""
