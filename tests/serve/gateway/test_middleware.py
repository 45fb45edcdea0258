"""What wraps every request: its id, its line in the log, the form of unexpected errors."""

import asyncio
import io
import json
import logging
import time
from typing import Any

import pytest

from fairlead_serve.asgi import ASGIApp, Message, Receive, Scope, Send, send_error
from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.inbound import ClientGone
from fairlead_serve.gateway.lifecycle import Lifecycle
from fairlead_serve.gateway.middleware import CrashBoundary, RequestContext
from fairlead_serve.logs import AccessLog


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def call(
    application: ASGIApp, *headers: tuple[bytes, bytes], lifecycle: Lifecycle | None = None
) -> tuple[list[Message], list[dict[str, Any]]]:
    """(what was sent, what was logged) when both middlewares wrap `application`."""
    sent: list[Message] = []
    log = io.BytesIO()
    access_log = AccessLog(log)

    async def send(message: Message) -> None:
        sent.append(message)

    wrapped = RequestContext(CrashBoundary(application), access_log=access_log, lifecycle=lifecycle or Lifecycle())
    await wrapped({"type": "http", "method": "GET", "path": "/x", "headers": list(headers)}, receive, send)
    access_log.flush()
    return sent, [json.loads(line) for line in log.getvalue().splitlines()]


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
    await send({"type": "http.response.body", "body": b"ok"})


def failing(error: Exception, *, after: int = 0) -> ASGIApp:
    messages: list[Message] = [
        {"type": "http.response.start", "status": 200, "headers": []},
        {"type": "http.response.body", "body": b"half", "more_body": True},
    ]

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages[:after]:
            await send(message)
        raise error

    return application


def header(sent: list[Message], name: bytes) -> list[bytes]:
    return [value for key, value in sent[0]["headers"] if key == name]


@pytest.mark.parametrize("given", [b"mine", b"0af7651916cd43dd8448eb211c80319c", b"x" * 128, b"a/b+c=d"])
async def test_a_sane_request_id_is_kept_and_logged(given: bytes) -> None:
    sent, logged = await call(answering, (b"x-request-id", given))
    assert header(sent, b"x-request-id") == [given]
    assert logged[0]["request_id"] == given.decode()


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"with space", b"tab\t", b"\xff", b"line\r\nbreak", b"nul\0"])
async def test_an_insane_request_id_is_replaced(given: bytes) -> None:
    sent, logged = await call(answering, (b"x-request-id", given))
    (made,) = header(sent, b"x-request-id")
    assert made.startswith(b"req_")
    assert logged[0]["request_id"] == made.decode()


async def test_every_request_has_an_id_of_its_own() -> None:
    made = {header((await call(answering))[0], b"x-request-id")[0] for _ in range(100)}
    assert len(made) == 100


async def test_the_time_it_took_is_told_in_whole_milliseconds() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        end = time.perf_counter() + 0.02
        while time.perf_counter() < end:  # noqa: ASYNC110 - it is time itself that is waited for
            await asyncio.sleep(0)
        await answering(scope, receive, send)

    sent, logged = await call(slow)
    (milliseconds,) = header(sent, b"openai-processing-ms")
    assert int(milliseconds) >= 20
    assert logged[0]["seconds"] >= logged[0]["first_byte_seconds"] >= 0.02


async def test_the_answer_s_own_headers_stay() -> None:
    sent, _ = await call(answering)
    assert header(sent, b"a") == [b"b"]


async def test_a_request_is_one_line_without_credentials() -> None:
    _, logged = await call(answering, (b"authorization", b"Bearer flk-secret"), (b"cookie", b"secret"))
    (line,) = logged
    assert (line["method"], line["path"], line["status"]) == ("GET", "/x", 201)
    assert "secret" not in json.dumps(logged)


async def test_a_draining_gateway_sends_clients_to_another_connection() -> None:
    assert header((await call(answering))[0], b"connection") == []
    draining, _ = await call(answering, lifecycle=Lifecycle(draining=True))
    assert header(draining, b"connection") == [b"close"]


async def test_a_crash_is_a_500_that_keeps_its_reason_to_itself(caplog: pytest.LogCaptureFixture) -> None:
    sent, logged = await call(failing(RuntimeError("the database password is hunter2")), (b"x-request-id", b"mine"))
    assert sent[0]["status"] == 500
    assert header(sent, b"x-request-id") == [b"mine"]
    error = json.loads(sent[1]["body"])["error"]
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert b"hunter2" not in sent[1]["body"]
    assert logged[0]["status"] == 500
    (record,) = caplog.records
    assert (record.levelno, record.fields) == (logging.ERROR, {"request_id": "mine"})  # type: ignore[attr-defined]
    assert "hunter2" in caplog.text


async def test_a_crash_in_mid_answer_sends_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    sent, logged = await call(failing(RuntimeError("boom"), after=2))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert logged[0]["status"] == 200
    assert "boom" in caplog.text


async def test_a_client_that_left_is_499_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    sent, logged = await call(failing(ClientGone()))
    assert sent == []
    assert logged[0]["status"] == 499
    assert caplog.records == []


async def test_a_cancelled_request_is_logged_and_stays_cancelled() -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await call(application)


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_what_is_no_request_passes_untouched(kind: str) -> None:
    seen: list[Any] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend([scope, receive, send])

    async def send(message: Message) -> None:
        pytest.fail("nothing is sent")

    wrapped = RequestContext(CrashBoundary(application), access_log=None, lifecycle=Lifecycle())
    scope = {"type": kind}
    await wrapped(scope, receive, send)
    assert seen == [scope, receive, send]
    assert scope == {"type": kind}


async def test_an_error_is_sent_whole_with_its_headers() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await send_error(send, ApiError(503, "später", code="c", headers={"retry-after": "5"}))
    body = sent[1]["body"]
    assert sent[0]["status"] == 503
    assert sent[0]["headers"] == [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", b"5"),
    ]
    assert json.loads(body)["error"]["message"] == "später"
    assert not sent[1].get("more_body")
