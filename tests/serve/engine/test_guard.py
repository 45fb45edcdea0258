"""Who an engine answers."""

from collections.abc import MutableMapping
from typing import Any

import pytest

from fairlead_serve.asgi import Receive, Scope, Send
from fairlead_serve.engine.guard import DeadEngineGuard, TokenGuard
from fairlead_serve.internal import DEAD_HEADER, TOKEN_HEADER


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"engine"})


async def ask(app: Any, *, kind: str = "http", headers: dict[str, str] | None = None) -> list[MutableMapping[str, Any]]:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b""}

    named = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    await app({"type": kind, "headers": named, "path": "/health"}, receive, send)
    return sent


async def test_the_right_token_reaches_the_engine() -> None:
    sent = await ask(TokenGuard(application, token="secret"), headers={TOKEN_HEADER: "secret"})
    assert sent[0]["status"] == 200


@pytest.mark.parametrize("given", ["", "wrong", "secret2", "secre", "geheim-ü"])
async def test_any_other_token_is_answered_401_in_openais_form(given: str) -> None:
    sent = await ask(TokenGuard(application, token="secret"), headers={TOKEN_HEADER: given})
    assert sent[0]["status"] == 401
    assert b'"code": "internal_token_required"' in sent[1]["body"]
    assert b"secret" not in sent[1]["body"].replace(b"internal_token", b"")


async def test_no_header_at_all_is_refused() -> None:
    assert (await ask(TokenGuard(application, token="secret")))[0]["status"] == 401


async def test_an_engine_without_a_token_refuses_everybody() -> None:
    sent = await ask(TokenGuard(application, token=""), headers={TOKEN_HEADER: ""})
    assert sent[0]["status"] == 401


async def test_a_websocket_without_the_token_is_closed() -> None:
    sent = await ask(TokenGuard(application, token="secret"), kind="websocket")
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_a_dead_engine_says_so_in_a_header_and_a_living_one_answers() -> None:
    dead = False
    app = DeadEngineGuard(application, is_dead=lambda: dead)
    assert (await ask(app))[0]["status"] == 200
    dead = True
    sent = await ask(app)
    assert sent[0]["status"] == 503
    assert (DEAD_HEADER.encode(), b"1") in sent[0]["headers"]
    assert any(name == b"retry-after" for name, _ in sent[0]["headers"])
