"""The application as a whole: its routes, its error forms, its documentation."""

import json
from typing import Any

import pytest

from fairlead_serve import __version__
from fairlead_serve.errors import ConfigurationError
from fairlead_serve.gateway.api import create_gateway
from fairlead_serve.settings import BackendSettings, GatewaySettings
from tests.serve.gateway.test_proxy import ROUTES
from tests.serve.gateway.upstream import Exchange, Request
from tests.serve.gateway.world import CHAT, CREATED, World, backend, until

ORIGIN = "https://page.example"


async def answering(exchange: Exchange, _: Request) -> None:
    await exchange.answer({"ok": True})


# --- models ---------------------------------------------------------------------------------------------


async def test_every_name_is_listed_as_openai_s_model_object(world: World) -> None:
    cold = backend("http://127.0.0.1:1", name="cold", kind="engine", aliases=("frozen",), created=7)
    running = await world.gateway(await world.upstream(answering), cold, wait=False)
    assert (await world.get(running, "/v1/models")).json == {
        "object": "list",
        "data": [
            {"id": name, "object": "model", "created": created, "owned_by": "fairlead", "root": root}
            for name, created, root in (("model", CREATED, "model"), ("cold", 7, "cold"), ("frozen", 7, "cold"))
        ],
    }


@pytest.mark.parametrize("name", ["org/model-7B", "qwen2.5:7b", "Grüße"])
async def test_a_model_is_found_by_any_name(world: World, name: str) -> None:
    running = await world.gateway(backend("http://127.0.0.1:1", name=name))
    path = "".join(letter if letter.isascii() else "".join(f"%{b:02X}" for b in letter.encode()) for letter in name)
    assert (await world.get(running, f"/v1/models/{path}")).json["id"] == name


@pytest.mark.parametrize("path", ["/v1/models/other", "/v1/models/", "/v1/models/" + "x" * 5000, "/v1/models/%00%FF"])
async def test_a_model_that_there_is_not_is_404(world: World, path: str) -> None:
    answer = await world.get(await world.gateway(await world.upstream(answering)), path)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
    assert len(answer.error["message"]) < 200


# --- errors in one form ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/chat/completions/", "/v1//models", "/%2e%2e/etc", "/x" * 3000])
async def test_a_route_that_there_is_not_is_404(world: World, method: str, path: str) -> None:
    client = await world.client(await world.gateway(await world.upstream(answering)))
    await client.request(method, path)
    answer = await client.answer()
    assert (answer.status, answer.error["type"], answer.error["code"]) == (404, "invalid_request_error", "unknown_url")
    assert len(answer.error["message"]) < 300
    assert answer.header("x-request-id")
    assert answer.header("openai-processing-ms")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ROUTES)
async def test_a_wrong_method_is_405_and_the_right_one_named(world: World, method: str, path: str) -> None:
    client = await world.client(await world.gateway(await world.upstream(answering)))
    await client.request(method, path)
    answer = await client.answer()
    assert (answer.status, answer.header("allow")) == (405, "POST")
    assert answer.error["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/model", "/livez", "/readyz", "/metrics", "/internal/load"])
async def test_reading_routes_take_no_post(world: World, path: str) -> None:
    answer = await world.post(await world.gateway(await world.upstream(answering)), {}, path=path)
    assert (answer.status, answer.header("allow"), answer.error["code"]) == (405, "GET", "method_not_allowed")


async def test_an_answer_to_head_has_no_body(world: World) -> None:
    client = await world.client(await world.gateway(await world.upstream(answering)))
    await client.request("HEAD", CHAT)
    head = await client.head()
    assert (head.status, head.header("allow")) == (405, "POST")
    # What follows on the connection is the next answer, not a body.
    assert (await client.get("/livez")).status == 200


@pytest.mark.parametrize("host", ["[", "a b", "x" * 5000, "\xff", "evil.example"])
async def test_no_host_header_breaks_an_error(world: World, host: str) -> None:
    running = await world.gateway(await world.upstream(answering))
    assert (await world.get(running, "/nothing", headers={"host": host})).status in {400, 404}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"{", "invalid_json", None),
        (b"", "invalid_json", None),
        (b"[]", None, None),
        (b'{"model": 5}', None, "model"),
        (b'{"stream": "yes"}', None, "stream"),
    ],
)
async def test_a_bad_body_is_400_on_every_route(world: World, body: bytes, code: str | None, param: str | None) -> None:
    client = await world.client(await world.gateway(await world.upstream(answering)))
    for route in ROUTES:
        answer = await client.post(route, body)
        error = answer.error
        assert (answer.status, error["code"], error["param"]) == (400, code, param)
        assert error["type"] == "invalid_request_error"


async def test_a_crash_in_a_route_is_500_without_a_traceback(world: World, caplog: pytest.LogCaptureFixture) -> None:
    upstream = await world.upstream(answering)
    running = await world.gateway(upstream, cors_origins=[ORIGIN])

    def crash(**_: object) -> None:
        raise RuntimeError("secret detail")

    running.backend.balancer.pick = crash  # type: ignore[method-assign]
    client = await world.client(running)
    answer = await client.post(CHAT, {}, headers={"x-request-id": "mine", "origin": ORIGIN})
    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    assert answer.header("x-request-id") == "mine"
    assert answer.header("access-control-allow-origin") == ORIGIN
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    assert "secret detail" in caplog.text
    assert (await client.get("/livez")).status == 200  # on the same connection
    assert running.backend.admission.ongoing == 0
    assert 'fairlead_requests_total{model="model",status="500"} 1.0' in (await client.get("/metrics")).body.decode()


# --- bodies ---------------------------------------------------------------------------------------------


async def test_a_body_over_eight_mebibytes_is_413_by_its_declared_length(world: World) -> None:
    upstream = await world.upstream(answering)
    client = await world.client(await world.gateway(upstream))
    size = 8 * 1024 * 1024 + 1
    await client.send(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (CHAT.encode(), size))
    answer = await client.answer()  # before a byte of it was sent
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert upstream.requests == []


async def test_after_a_413_the_connection_serves_on(world: World) -> None:
    client = await world.client(await world.gateway(await world.upstream(answering), sizes={"body_bytes": 1000}))
    assert (await client.post(CHAT, b"x" * 1_000_000)).status == 413
    assert (await client.post(CHAT, {})).status == 200


async def test_a_body_over_the_limit_is_413_by_counting(world: World) -> None:
    upstream = await world.upstream(answering)
    client = await world.client(await world.gateway(upstream, sizes={"body_bytes": 100_000}))
    await client.send(b"POST %s HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" % CHAT.encode())
    for _ in range(11):
        await client.send(b"%x\r\n%s\r\n" % (10_000, b" " * 10_000))
    answer = await client.answer()  # the body has no end yet
    assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert upstream.requests == []


async def test_a_body_of_exactly_the_limit_is_taken_in_either_form(world: World) -> None:
    upstream = await world.upstream(answering)
    client = await world.client(await world.gateway(upstream))
    body = b'{"model":"model"}'.ljust(8 * 1024 * 1024)
    assert (await client.post(CHAT, body)).status == 200
    await client.send(b"POST %s HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" % CHAT.encode())
    await client.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
    assert (await client.answer()).status == 200
    assert [len(request.body) for request in upstream.requests] == [8 * 1024 * 1024] * 2


async def test_a_client_that_asks_first_is_told_to_go_on(world: World) -> None:
    client = await world.client(await world.gateway(await world.upstream(answering)))
    await client.send(
        b"POST %s HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n" % CHAT.encode()
    )
    assert (await client.head()).status == 100
    await client.send(b"{}")
    assert (await client.answer()).status == 200


async def test_a_client_that_asks_first_is_told_when_its_body_is_too_large(world: World) -> None:
    client = await world.client(await world.gateway(await world.upstream(answering), sizes={"body_bytes": 10}))
    await client.send(
        b"POST %s HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 11\r\n\r\n" % CHAT.encode()
    )
    assert (await client.answer()).status == 413


async def test_a_body_that_does_not_come_is_408(world: World) -> None:
    running = await world.gateway(await world.upstream(answering), times={"request_seconds": 0.05})
    client = await world.client(running)
    await client.send(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n" % CHAT.encode())
    answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")


# --- operations -----------------------------------------------------------------------------------------


async def test_who_answers_is_said_at_the_root(world: World) -> None:
    running = await world.gateway(await world.upstream(answering))
    assert (await world.get(running, "/")).json == {"message": "Fairlead", "version": __version__}


async def test_the_gateway_is_alive_without_any_model(world: World) -> None:
    running = await world.gateway()
    assert (await world.get(running, "/livez")).json == {"status": "ok"}
    assert (await world.get(running, "/v1/models")).json["data"] == []
    assert (await world.post(running, {"model": "x"})).status == 404
    assert (await world.post(running, {})).status == 400


async def test_the_gateway_is_ready_when_a_model_is(world: World) -> None:
    upstream = await world.upstream(answering)
    upstream.healthy = False
    running = await world.gateway(backend(upstream.url, kind="engine"), wait=False, times={"probe_seconds": 0.01})
    answer = await world.get(running, "/readyz")
    assert (answer.status, answer.error["code"], answer.header("retry-after")) == (503, "not_ready", "5")
    upstream.healthy = True
    await running.backend.became_ready()
    assert (await world.get(running, "/readyz")).json == {"status": "ok", "models": {"model": True}, "store": "ok"}


async def test_one_ready_model_is_enough(world: World) -> None:
    cold = backend("http://127.0.0.1:1", name="cold", kind="engine")
    running = await world.gateway(await world.upstream(answering), cold, wait=False)
    answer = await world.get(running, "/readyz")
    assert (answer.status, answer.json["models"]) == (200, {"model": True, "cold": False})


async def test_the_load_is_told_to_who_has_the_token(world: World) -> None:
    cold = backend("http://127.0.0.1:1", name="cold", kind="engine")
    running = await world.gateway(await world.upstream(answering), cold, wait=False)
    waiting = await world.client(running)
    await waiting.request("POST", CHAT, {"model": "cold"})
    await until(lambda: running.gateway.table.find("cold").cold == 1)
    await world.post(running, {"model": "model"})
    headers = {"x-fairlead-internal-token": "internal"}
    first, second = (await world.get(running, "/internal/load", headers=headers)).json["models"]
    assert (first["name"], first["ongoing"], first["queued"]) == ("model", 0, 0)
    assert first["last_request"] > 1_600_000_000
    # It waits; it is at no engine.
    assert (second["name"], second["ongoing"], second["queued"]) == ("cold", 0, 1)


@pytest.mark.parametrize("token", ["", "wrong", "internal2", "Internal", "\xff"])
async def test_the_load_is_told_to_nobody_else(world: World, token: str) -> None:
    running = await world.gateway(await world.upstream(answering))
    answer = await world.get(running, "/internal/load", headers={"x-fairlead-internal-token": token})
    assert (answer.status, answer.error["code"]) == (401, "internal_token_required")


async def test_without_a_token_nobody_is_told_the_load(world: World) -> None:
    running = await world.gateway(await world.upstream(answering), internal_token="")
    assert (await world.get(running, "/internal/load")).status == 401


async def test_metrics_are_prometheus_text(world: World) -> None:
    running = await world.gateway(await world.upstream(answering))
    await world.post(running, {})
    await world.post(running, {"model": "unknown"})
    answer = await world.get(running, "/metrics")
    assert (answer.header("content-type") or "").startswith("text/plain; version=")
    text = answer.body.decode()
    assert 'fairlead_requests_total{model="model",status="200"} 1.0' in text
    assert 'fairlead_model_ready{model="model"} 1.0' in text
    assert "unknown" not in text  # labels are never what a client sent


async def test_every_route_is_documented(world: World) -> None:
    running = await world.gateway(await world.upstream(answering))
    document = (await world.get(running, "/openapi.json")).json
    assert set(ROUTES) <= set(document["paths"])
    assert {"/v1/models", "/v1/models/{model}", "/livez", "/readyz", "/metrics", "/internal/load"} <= set(
        document["paths"]
    )
    assert document["info"]["version"] == __version__
    operations = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(operations) == len(set(operations))
    for route in ROUTES:
        post = document["paths"][route]["post"]
        assert post["summary"]
        assert post["requestBody"]["required"]
    assert (await world.get(running, "/docs")).status == 200


# --- other origins --------------------------------------------------------------------------------------

PREFLIGHT = {
    "origin": ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization, content-type, x-stainless-lang",
}


async def preflight(world: World, headers: dict[str, str], **settings: Any) -> Any:
    client = await world.client(await world.gateway(await world.upstream(answering), **settings))
    await client.request("OPTIONS", CHAT, headers=headers)
    return await client.answer()


async def test_other_origins_are_not_let_in_by_default(world: World) -> None:
    answer = await preflight(world, PREFLIGHT)
    assert answer.status == 405
    assert answer.header("access-control-allow-origin") is None
    running = await world.gateway(await world.upstream(answering))
    allowed = await world.post(running, {}, headers={"origin": ORIGIN})
    assert allowed.header("access-control-allow-origin") is None


async def test_a_listed_origin_may_call_with_any_header(world: World) -> None:
    answer = await preflight(world, PREFLIGHT, cors_origins=[ORIGIN])
    assert (answer.status, answer.header("access-control-allow-origin")) == (200, ORIGIN)
    assert "POST" in (answer.header("access-control-allow-methods") or "")
    assert "x-stainless-lang" in (answer.header("access-control-allow-headers") or "")
    assert answer.header("x-request-id")


async def test_a_listed_origin_may_read_the_headers_that_matter_also_of_errors(world: World) -> None:
    running = await world.gateway(await world.upstream(answering), cors_origins=[ORIGIN])
    for path in (CHAT, "/nothing"):
        answer = await world.post(running, {}, path=path, headers={"origin": ORIGIN})
        assert answer.header("access-control-allow-origin") == ORIGIN
        exposed = (answer.header("access-control-expose-headers") or "").split(", ")
        assert {"x-request-id", "openai-processing-ms", "retry-after", "x-ratelimit-remaining-tokens"} <= set(exposed)


async def test_an_origin_that_is_not_listed_is_refused_in_openai_s_form(world: World) -> None:
    answer = await preflight(world, PREFLIGHT | {"origin": "https://evil.example"}, cors_origins=[ORIGIN])
    assert (answer.status, answer.error["code"]) == (400, "cors_refused")
    assert answer.header("access-control-allow-origin") is None
    assert answer.header("content-type") == "application/json"


async def test_all_origins_may_be_let_in(world: World) -> None:
    answer = await preflight(world, PREFLIGHT, cors_origins=["*"])
    assert (answer.status, answer.header("access-control-allow-origin")) == (200, "*")


# --- configuration --------------------------------------------------------------------------------------


def create(*backends: BackendSettings, **settings: Any) -> None:
    whole = GatewaySettings.model_validate({"backends": backends, **settings})
    create_gateway(whole, environment={}, created=0, access_log=None)


@pytest.mark.parametrize(
    ("backends", "settings", "sentence"),
    {
        "a name twice": ([backend("http://a"), backend("http://b")], {}, "'model' is claimed by model and model"),
        "an unknown default": ([backend("http://a")], {"default_model": "x"}, "the default model 'x' is none of"),
        "a missing key": (
            [backend("http://a", api_key_env="SOME_KEY")],
            {},
            "the environment variable SOME_KEY, the API key of model, is not set",
        ),
        "no URL": ([backend("host:8000")], {}, "'host:8000' is not an http"),
        "a wrong port": ([backend("http://host:port")], {}, "[Pp]ort"),
    }.values(),
)
def test_what_contradicts_itself_is_refused_before_anything_starts(
    backends: list[BackendSettings], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        create(*backends, **settings)


async def test_the_log_has_a_line_for_every_request(world: World) -> None:
    running = await world.gateway(await world.upstream(answering))
    await world.post(running, {}, headers={"x-request-id": "one", "authorization": "Bearer flk-secret"})
    await world.get(running, "/nothing")
    await until(lambda: len(running.logged()) == 2)
    first, second = running.logged()
    assert (first["request_id"], first["path"], first["status"], first["model"]) == ("one", CHAT, 200, "model")
    assert (second["path"], second["status"]) == ("/nothing", 404)
    assert "flk-secret" not in json.dumps(running.logged())
