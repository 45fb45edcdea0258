"""Keys on every route: who is let in, to which models, how often, how much, and what it is charged."""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import openai
import pytest

from fairlead_serve.keys import KeyFile
from tests.serve.gateway.client import Answer, Client
from tests.serve.gateway.official import sdk
from tests.serve.gateway.upstream import DONE, END_OF_CHUNKS, Exchange, Request, Script, Upstream, vllm_error
from tests.serve.gateway.vllm_responses import RESPONSES, Answering
from tests.serve.gateway.world import CHAT, Running, World, backend, until

COMPLETIONS, EMBEDDINGS, MESSAGES, TOKENIZE = "/v1/completions", "/v1/embeddings", "/v1/messages", "/tokenize"
GENERATE, CODE_CHAT = "/v1/code/generate", "/v1/code/chat_stream"
SAID: Any = [{"role": "user", "content": "hi"}]
# What every answer below takes.
TOKENS = 14
PLENTY = 1000


@dataclass(frozen=True)
class Call:
    """A request as its client writes it; `form`: not as JSON."""

    path: str
    body: Mapping[str, Any]
    form: bool = False

    async def send(self, world: World, running: Running, key: str) -> Answer:
        client = await world.client(running)
        headers = bearer(key)
        if not self.form:
            return await client.post(self.path, dict(self.body), headers=headers)
        headers["content-type"] = "application/x-www-form-urlencoded"
        return await client.post(self.path, urlencode(self.body).encode(), headers=headers)

    def of(self, model: str) -> "Call":
        return Call(self.path, {**self.body, "model": model}, self.form)


# Every way to have something answered.
CALLS = {
    "chat": Call(CHAT, {"messages": SAID}),
    "chat stream": Call(CHAT, {"messages": SAID, "stream": True}),
    "chat stream with usage": Call(CHAT, {"messages": SAID, "stream": True, "stream_options": {"include_usage": True}}),
    "completion stream": Call(COMPLETIONS, {"prompt": "hi", "stream": True}),
    "embeddings": Call(EMBEDDINGS, {"input": "hi"}),
    "messages": Call(MESSAGES, {"messages": SAID, "max_tokens": 9}),
    "messages stream": Call(MESSAGES, {"messages": SAID, "max_tokens": 9, "stream": True}),
    "response": Call(RESPONSES, {"input": "hi"}),
    "response stream": Call(RESPONSES, {"input": "hi", "stream": True}),
    "response in the background": Call(RESPONSES, {"input": "hi", "background": True, "stream": True}),
    "form": Call(GENERATE, {"prompt": "hi"}, form=True),
    "form stream": Call(CODE_CHAT, {"prompt": "hi"}, form=True),
    "message": Call("/chat/new/message/", {"prompt": "hi"}),
    "stream": Call("/stream", {"messages": SAID}),
    "say": Call("/chat", {"message": "hi"}),
}
PLAIN = CALLS["chat"]
# The name of a key for each of them.
NAMES = [name.replace(" ", "-") for name in CALLS]
# Takes no tokens, and tells how many are left.
LOOK = Call(TOKENIZE, {"prompt": "hi"})


class Engine:
    """A script that answers every route as vLLM does, each answer taking TOKENS."""

    async def __call__(self, exchange: Exchange, request: Request) -> None:
        if request.path == RESPONSES:
            await Answering("Hel", "l", "o", ".")(exchange, request)
        elif request.json.get("stream"):
            streams = {CHAT: chat_stream, COMPLETIONS: completion_stream, MESSAGES: message_stream}
            await exchange.begin_stream()
            await exchange.chunks(*streams[request.path](request.json))
            await exchange.send(END_OF_CHUNKS)
        else:
            await exchange.answer(WHOLE[request.path])


USAGE = {"prompt_tokens": 10, "total_tokens": TOKENS, "completion_tokens": TOKENS - 10}
WHOLE: dict[str, Any] = {
    CHAT: {"object": "chat.completion", "choices": [{"message": {"content": "Hello."}}], "usage": USAGE},
    EMBEDDINGS: {"object": "list", "data": [], "usage": {"prompt_tokens": TOKENS, "total_tokens": TOKENS}},
    MESSAGES: {"type": "message", "content": [], "usage": {"input_tokens": 10, "output_tokens": TOKENS - 10}},
    TOKENIZE: {"count": 1, "max_model_len": 2048, "tokens": [1]},
}


def data(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def chat_stream(request: Any) -> Iterator[bytes]:
    for text in ("Hel", "l", "o", "."):
        yield data({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]})
    yield data({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if (request.get("stream_options") or {}).get("include_usage"):
        yield data({"object": "chat.completion.chunk", "choices": [], "usage": USAGE})
    yield DONE


def completion_stream(request: Any) -> Iterator[bytes]:
    for text in ("Hel", "l", "o", "."):
        yield data({"object": "text_completion", "choices": [{"index": 0, "text": text}]})
    if (request.get("stream_options") or {}).get("include_usage"):
        yield data({"object": "text_completion", "choices": [], "usage": USAGE})
    yield DONE


def message_stream(request: Any) -> Iterator[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\n".encode() + data({"type": kind, **fields})

    yield event("message_start", message={"type": "message", "usage": {"input_tokens": 10, "output_tokens": 0}})
    yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hello."})
    yield event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": TOKENS - 10})
    yield event("message_stop")


class Stuck:
    """A script whose chat stream says one thing, then waits for `open`; everything else is answered by Engine.

    `lost`: then it breaks off.
    """

    def __init__(self, *, lost: bool = False) -> None:
        self.open = asyncio.Event()
        self.waiting = 0
        self._lost = lost

    async def __call__(self, exchange: Exchange, request: Request) -> None:
        if request.path == TOKENIZE:
            return await Engine()(exchange, request)
        await exchange.begin_stream()
        events = list(chat_stream(request.json))
        await exchange.chunks(events[0])
        self.waiting += 1
        opened, gone = asyncio.create_task(self.open.wait()), asyncio.create_task(exchange.gone())
        await asyncio.wait({opened, gone}, return_when="FIRST_COMPLETED")
        opened.cancel()
        gone.cancel()
        await asyncio.wait({opened, gone})
        if self._lost:
            return await exchange.close()
        await exchange.chunks(*events[1:])
        return await exchange.send(END_OF_CHUNKS)


async def refusing(exchange: Exchange, request: Request) -> None:
    if request.path == TOKENIZE:
        await Engine()(exchange, request)
    else:
        await exchange.answer(vllm_error("the prompt is bad", 400), status=400)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@dataclass(frozen=True)
class Place:
    """A gateway over the models `one` and `two`, which one engine answers, and a key for it. `others`: like it."""

    world: World
    running: Running
    upstream: Upstream
    key: str
    others: tuple[str, ...] = ()

    def each(self) -> "Iterator[tuple[str, Call, Place]]":
        """(name, call, the same place with a key that nobody used) for each of CALLS."""
        for (name, call), key in zip(CALLS.items(), self.others, strict=True):
            yield name, call, replace(self, key=key)

    async def ask(self, call: Call) -> Answer:
        return await call.send(self.world, self.running, self.key)

    async def left(self) -> int:
        """How many tokens the key has left."""
        answer = await self.ask(LOOK)
        assert answer.status == 200, answer
        return int(answer.header("x-ratelimit-remaining-tokens") or "")

    async def begin(self, call: Call) -> Client:
        """Send a request on a connection of its own, and read nothing."""
        client = await self.world.client(self.running)
        await client.request("POST", call.path, dict(call.body), headers=bearer(self.key))
        return client


async def keyed(world: World, folder: Path, script: Script, *, others: Iterable[str] = (), **limits: Any) -> Place:
    """`others`: the names of more keys. `limits`: of the keys, as `KeyFile.create` takes them; `default_model` and
    `times` are the gateway's.
    """
    path = folder / "keys.yaml"
    settings = {name: limits.pop(name) for name in ("default_model", "times") if name in limits}
    key, *more = [KeyFile(path).create(name, **limits)[1] for name in ("laptop", *others)]
    upstream = await world.upstream(script)
    models = [backend(upstream.url, name=name, kind="engine") for name in ("one", "two")]
    running = await world.gateway(*models, key_file=path, **{"default_model": "one", **settings})
    return Place(world, running, upstream, key, tuple(more))


def rates(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers if name.startswith("x-ratelimit-")}


# --- who is let in ----------------------------------------------------------------------------------------------

OPEN = {"/", "/livez", "/readyz", "/health", "/metrics", "/internal/load", "/page/{name}"}


async def test_every_route_but_the_open_ones_asks_for_a_key(world: World, tmp_path: Path) -> None:
    place = await keyed(world, tmp_path, Engine())
    document = (await world.get(place.running, "/openapi.json")).json
    routes = [(method.upper(), path) for path, methods in document["paths"].items() for method in methods]
    assert {path for _, path in routes} >= OPEN
    client = await world.client(place.running)

    async def asked(method: str, path: str, headers: Mapping[str, str]) -> Answer:
        await client.request(method, re.sub(r"\{\w+\}", "x", path), headers=headers)
        return await client.answer()

    for method, path in [*routes, ("GET", "/no/such/path"), ("PUT", "/v1/models")]:
        missing, wrong = await asked(method, path, {}), await asked(method, path, bearer("flk-wrong"))
        if path in OPEN and method == "GET":
            assert {missing.status, wrong.status} <= {200, 404, 401 if path == "/internal/load" else 200}
            continue
        assert (missing.status, wrong.status) == (401, 401), (method, path)
        if path.startswith("/v1/code/"):
            # Whose clients know another form of errors.
            assert set(missing.json) == set(wrong.json) == {"detail"}
            continue
        assert missing.error["code"] == "missing_api_key"
        assert missing.error["type"] == "authentication_error"
        assert missing.header("www-authenticate") == "Bearer"
        assert wrong.error["code"] == "invalid_api_key"
        assert wrong.header("www-authenticate") == 'Bearer error="invalid_token"'
    assert place.upstream.requests == []


async def test_the_official_client_is_let_in_with_its_key_alone(world: World, tmp_path: Path) -> None:
    place = await keyed(world, tmp_path, Engine())
    async with sdk(place.running, key=place.key) as client:
        assert (await client.responses.create(input="hi")).output_text == "Hello."
    async with sdk(place.running, key="flk-wrong") as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            await client.responses.create(input="hi")
        assert raised.value.code == "invalid_api_key"


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_no_key_reaches_the_upstream_the_log_or_the_metrics(
    world: World, tmp_path: Path, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = await keyed(world, tmp_path, Engine(), requests_per_minute=len(CALLS))
    client = await world.client(place.running)
    for call in CALLS.values():
        body, headers = dict(call.body), {header: place.key if header == "x-api-key" else f"Bearer {place.key}"}
        if call.form:
            headers["content-type"] = "application/x-www-form-urlencoded"
        answer = await client.post(call.path, urlencode(body).encode() if call.form else body, headers=headers)
        assert answer.status == 200, answer
    assert (await client.post(CHAT, {}, headers={"x-api-key": place.key})).status == 429
    for request in (*place.upstream.requests, *place.upstream.probes):
        assert not {"authorization", "x-api-key"} & set(request.headers)
        assert place.key not in f"{request.path}{request.headers}{request.body.decode()}"
    assert place.key not in place.running.log.getvalue().decode()
    assert place.key not in caplog.text
    assert place.key not in (await world.get(place.running, "/metrics")).body.decode()
    await until(lambda: len(place.running.logged()) == len(CALLS) + 2)
    assert {line["key"] for line in place.running.logged() if line["path"] == CHAT} == {"laptop"}


# --- which models ------------------------------------------------------------------------------------------------


async def test_a_model_that_the_key_may_not_use_is_refused(world: World, tmp_path: Path) -> None:
    place = await keyed(world, tmp_path, Engine(), models=["two", "th*"])
    for name, call in CALLS.items():
        if call.form or name in {"message", "say"}:
            continue  # they name no model
        asked = len(place.upstream.requests)
        answer = await place.ask(call.of("one"))
        assert (answer.status, answer.error["code"], answer.error["param"]) == (403, "model_not_allowed", "model"), name
        assert answer.error["type"] == "permission_error"
        assert "it may use: two, th*" in answer.error["message"]
        assert len(place.upstream.requests) == asked
        assert (await place.ask(call.of("two"))).status == 200


async def test_a_form_names_a_model_that_the_key_may_not_use(world: World, tmp_path: Path) -> None:
    place = await keyed(world, tmp_path, Engine(), models=["two"])
    body = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\none\r\n--x--\r\n'
    headers = {**bearer(place.key), "content-type": "multipart/form-data; boundary=x"}
    answer = await world.post(place.running, body, path="/v1/audio/transcriptions", headers=headers)
    assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")


async def test_only_models_that_the_key_may_use_are_spoken_of(world: World, tmp_path: Path) -> None:
    place = await keyed(world, tmp_path, Engine(), models=["two"])
    headers = bearer(place.key)
    listed = await world.get(place.running, "/v1/models", headers=headers)
    assert [model["id"] for model in listed.json["data"]] == ["two"]
    assert (await world.get(place.running, "/v1/models/two", headers=headers)).status == 200
    theirs = await world.get(place.running, "/v1/models/one", headers=headers)
    none = await world.get(place.running, "/v1/models/six", headers=headers)
    assert (theirs.status, theirs.body) == (404, none.body.replace(b"six", b"one"))
    for call in (PLAIN, CALLS["response"], CALLS["response in the background"], CALLS["stream"]):
        unknown = await place.ask(call.of("six"))
        assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")
        assert unknown.error["message"].endswith("there are: two")
    assert place.upstream.requests == []


@pytest.mark.parametrize(
    ("default", "models", "chosen"),
    [("one", ["*"], "one"), ("one", ["two"], "two"), ("", ["two"], "two"), ("two", ["one", "two"], "two")],
)
async def test_the_default_model_is_one_that_the_key_may_use(
    world: World, tmp_path: Path, default: str, models: list[str], chosen: str
) -> None:
    place = await keyed(world, tmp_path, Engine(), default_model=default, models=models)
    for call in CALLS.values():
        assert (await place.ask(call)).status == 200
    assert [one.name for one in place.running.gateway.table.backends if one.last_request] == [chosen]
    queued = (await place.ask(Call(RESPONSES, {"input": "hi", "background": True}))).json
    assert queued["model"] == chosen


async def test_a_key_for_no_model_is_told_that_there_is_none(world: World, tmp_path: Path) -> None:
    place = await keyed(world, tmp_path, Engine(), models=["six"])
    for call in (PLAIN, CALLS["response"]):
        answer = await place.ask(call)
        assert (answer.status, answer.error["code"]) == (400, "model_required")
        assert "one" not in answer.error["message"].removeprefix("name a model")


# --- how often and how much ----------------------------------------------------------------------------------------


async def test_an_answer_tells_what_is_left_and_too_many_requests_are_refused(world: World, tmp_path: Path) -> None:
    place = await keyed(world, tmp_path, Engine(), others=NAMES, requests_per_minute=1, tokens_per_minute=PLENTY)
    for name, call, one in place.each():
        answer = await one.ask(call)
        assert answer.status == 200, (name, answer)
        told = rates(answer)
        for unit in ("requests", "tokens"):
            assert re.fullmatch(r"\d+ms|(1m)?[1-5]?\ds", told.pop(f"x-ratelimit-reset-{unit}")), name
        assert told == {
            "x-ratelimit-limit-requests": "1",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-limit-tokens": "1000",
            "x-ratelimit-remaining-tokens": "1000",
        }, name
        asked = len(place.upstream.requests)
        answer = await one.ask(call)
        assert answer.status == 429, (name, answer)
        message = answer.json["detail"] if call.form else answer.error["message"]
        assert f"the key {name.replace(' ', '-')} is at its limit of 1 requests a minute" in message
        if not call.form:
            assert (answer.error["code"], answer.error["type"]) == ("rate_limit_exceeded", "rate_limit_exceeded")
        assert 1 <= int(answer.header("retry-after") or "") <= 61
        told = rates(answer)
        assert (told["x-ratelimit-remaining-requests"], told["x-ratelimit-limit-tokens"]) == ("0", "1000")
        assert len(place.upstream.requests) == asked


async def test_a_refused_turn_is_kept_nowhere(world: World, tmp_path: Path) -> None:
    place = await keyed(world, tmp_path, Engine(), requests_per_minute=1)
    conversation = (await place.ask(Call("/v1/conversations", {}))).json["id"]
    turn = Call(RESPONSES, {"input": "hi", "conversation": conversation})
    path = f"/v1/conversations/{conversation}/items"
    assert (await place.ask(turn)).status == 200
    kept = (await world.get(place.running, path, headers=bearer(place.key))).json
    assert len(kept["data"]) == 2
    for background in (False, True):
        assert (await place.ask(Call(RESPONSES, {**turn.body, "background": background}))).status == 429
    assert (await world.get(place.running, path, headers=bearer(place.key))).json == kept


async def test_a_key_without_limits_is_told_of_none(world: World, tmp_path: Path) -> None:
    place = await keyed(world, tmp_path, Engine())
    for name, call in CALLS.items():
        answer = await place.ask(call)
        assert (answer.status, rates(answer)) == (200, {}), name


async def test_tokens_may_be_overdrawn_once(world: World, tmp_path: Path) -> None:
    place = await keyed(world, tmp_path, Engine(), tokens_per_minute=TOKENS - 1)
    assert (await place.ask(PLAIN)).status == 200
    answer = await place.ask(PLAIN)
    assert (answer.status, answer.error["code"]) == (429, "rate_limit_exceeded")
    assert "its limit of 13 tokens a minute" in answer.error["message"]
    assert rates(answer)["x-ratelimit-remaining-tokens"] == "0"
    # To the end of this minute, and then until a fourteenth of it is out of sight: one of fourteen was too many.
    assert int(answer.header("retry-after") or "") <= 60 + 60 / TOKENS + 1


# --- what it is charged ---------------------------------------------------------------------------------------------


async def test_an_answer_is_charged_as_the_engine_counts(world: World, tmp_path: Path) -> None:
    place = await keyed(world, tmp_path, Engine(), others=NAMES, tokens_per_minute=PLENTY)
    for name, call, one in place.each():
        assert (await one.ask(call)).status == 200
        assert await one.left() == PLENTY - TOKENS, name
        assert await one.left() == PLENTY - TOKENS, name
    # Each key by itself.
    assert await place.left() == PLENTY


@pytest.mark.parametrize("name", ["chat stream", "completion stream"])
async def test_usage_that_only_the_gateway_asked_for_is_not_shown(world: World, tmp_path: Path, name: str) -> None:
    place = await keyed(world, tmp_path, Engine(), tokens_per_minute=PLENTY)
    stream = chat_stream if CALLS[name].path == CHAT else completion_stream
    for options in ({}, {"include_usage": False}, {"continuous_usage_stats": False}, None):
        body: Any = {**CALLS[name].body, "temperature": 1e-7, "stream_options": options}
        if options is None:
            del body["stream_options"]
        answer = await place.ask(Call(CALLS[name].path, body))
        wanted = {**(options or {}), "include_usage": True}
        assert place.upstream.requests[-1].json == {**body, "stream_options": wanted}
        assert answer.body == b"".join(stream({}))
        assert b"usage" not in answer.body


async def test_usage_that_the_client_asked_for_is_passed_on(world: World, tmp_path: Path) -> None:
    place = await keyed(world, tmp_path, Engine(), tokens_per_minute=PLENTY)
    call = CALLS["chat stream with usage"]
    answer = await place.ask(call)
    assert place.upstream.requests[-1].json == call.body
    assert answer.body == b"".join(chat_stream(call.body))
    assert b'"total_tokens": 14' in answer.body


async def test_nothing_is_asked_for_where_tokens_are_not_counted(world: World, tmp_path: Path) -> None:
    place = await keyed(world, tmp_path, Engine(), requests_per_minute=10)
    call = CALLS["chat stream"]
    await place.ask(call)
    assert place.upstream.requests[-1].body == json.dumps(call.body).encode()


async def test_who_leaves_early_is_charged_for_what_was_said(world: World, tmp_path: Path) -> None:
    script = Stuck()
    place = await keyed(world, tmp_path, script, tokens_per_minute=PLENTY)
    client = await place.begin(Call(CHAT, {"messages": SAID * 10, "stream": True}))
    await client.head()
    await client.piece()
    client.leave()
    await until(lambda: place.running.backend.admission.ongoing == 0)
    # The prompt by its bytes, and one for the piece of text.
    prompt = len(place.upstream.requests[-1].body) // 4
    assert await place.left() == PLENTY - prompt - 1


async def test_what_was_refused_is_not_charged(world: World, tmp_path: Path) -> None:
    place = await keyed(world, tmp_path, refusing, tokens_per_minute=PLENTY)
    for name, call in CALLS.items():
        answer = await place.ask(call)
        assert answer.status == (200 if "background" in name else 400), (name, answer)
    assert await place.left() == PLENTY


# --- how many at once -----------------------------------------------------------------------------------------------


async def test_too_many_at_once_are_refused_on_every_route(world: World, tmp_path: Path) -> None:
    script = Stuck()
    place = await keyed(world, tmp_path, script, concurrent_requests=1)
    client = await place.begin(CALLS["chat stream"])
    await until(lambda: script.waiting == 1)
    for name, call in CALLS.items():
        answer = await place.ask(call)
        assert (answer.status, answer.header("retry-after")) == (429, "1"), name
        if not call.form:
            assert answer.error["code"] == "concurrency_exceeded"
    script.open.set()
    assert (await client.answer()).status == 200
    assert (await place.ask(LOOK)).status == 200
    assert len(place.upstream.requests) == 2


async def test_a_response_that_cannot_be_asked_for_gives_its_place_back(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = await keyed(world, tmp_path, Engine(), concurrent_requests=1)
    with monkeypatch.context() as patched:
        patched.setattr("fairlead_serve.gateway.turns.for_engine", lambda _: 1 / 0)
        assert (await place.ask(CALLS["response"])).status == 500
    assert (await place.ask(CALLS["response"])).status == 200


async def test_an_answer_in_the_background_has_its_place_until_it_ends(world: World, tmp_path: Path) -> None:
    hold = asyncio.Event()
    place = await keyed(world, tmp_path, Answering("Hel", "lo", hold=hold), concurrent_requests=1)
    made = (await place.ask(Call(RESPONSES, {"input": "hi", "background": True}))).json
    assert (await place.ask(CALLS["response"])).status == 429
    answer = await place.ask(Call(f"{RESPONSES}/{made['id']}/cancel", {}))
    assert answer.json["status"] == "cancelled"
    assert (await place.ask(CALLS["response"])).status == 200


async def test_a_place_is_given_back_after_a_refusal_of_the_engine(world: World, tmp_path: Path) -> None:
    place = await keyed(world, tmp_path, refusing, concurrent_requests=1)
    for name, call in CALLS.items():
        for _ in range(2):
            answer = await place.ask(call)
            assert answer.status == (200 if "background" in name else 400), (name, answer)


@pytest.mark.parametrize(
    ("call", "status"), [(CALLS["chat stream"], 200), (CALLS["response stream"], 200), (CALLS["response"], 502)]
)
async def test_a_place_is_given_back_when_the_engine_is_lost(
    world: World, tmp_path: Path, call: Call, status: int
) -> None:
    script = Stuck(lost=True) if call.path == CHAT else Answering("Hel", "lo", lost=True)
    if isinstance(script, Stuck):
        script.open.set()
    place = await keyed(world, tmp_path, script, concurrent_requests=1)
    for _ in range(3):
        answer = await place.ask(call)
        assert answer.status == status
        assert b"engine_lost" in answer.body


@pytest.mark.parametrize("name", ["chat stream", "response", "response stream"])
async def test_a_place_is_given_back_when_the_client_leaves(world: World, tmp_path: Path, name: str) -> None:
    script = Stuck() if name == "chat stream" else Answering("Hel", "lo", hold=asyncio.Event())
    place = await keyed(world, tmp_path, script, concurrent_requests=1)
    client = await place.begin(CALLS[name])
    await until(lambda: len(place.upstream.requests) == 1)
    client.leave()
    await until(lambda: place.running.backend.admission.ongoing == 0)
    if isinstance(script, Stuck):
        script.open.set()
    assert (await place.ask(CALLS[name])).status == 200


async def test_a_place_is_given_back_when_time_is_over(world: World, tmp_path: Path) -> None:
    script = Stuck()
    place = await keyed(world, tmp_path, script, concurrent_requests=1, times={"request_seconds": 0.1})
    for _ in range(2):
        answer = await place.ask(CALLS["chat stream"])
        assert b"request_timeout" in answer.body
