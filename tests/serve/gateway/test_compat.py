"""Clients of older services, each a small program that does what its documentation told it to.

None of them knows anything of OpenAI's routes, and none may notice that what answers is another service.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import requests

from fairlead_serve.keys import KeyFile
from tests.serve.gateway.event_source import ACCEPT, Event, Parser, events_of, is_event_stream
from tests.serve.gateway.upstream import END_OF_CHUNKS, STREAM_HEAD, Exchange, Request, Script, Upstream, vllm_error
from tests.serve.gateway.vllm_responses import Answering, events
from tests.serve.gateway.world import Running, World, backend, until

GENERATE, CODE_CHAT = "/v1/code/generate", "/v1/code/chat_stream"
NEW_MESSAGE, GET_MESSAGES = "/chat/new/message/", "/chat/get/messages/"
FORM = "application/x-www-form-urlencoded"
SOON = 0.02
PIECES = ("Grüße", " 世", "界 👩‍🚀")
TEXT = "".join(PIECES)
# As long as the clients of these services wait.
PATIENCE_SECONDS = 360
# What vLLM says where 4096 tokens do not fit into the context, whatever the prompt.
TOO_MANY = (
    "max_output_tokens=4096 cannot be greater than max_model_len=2048. Please request fewer output tokens. "
    "(parameter=max_output_tokens, value=4096)"
)
TOO_LONG = "The engine prompt length 3000 exceeds the max_model_len 2048. Please reduce prompt."


async def serving(world: World, script: Script, **settings: Any) -> tuple[Running, Upstream]:
    upstream = await world.upstream(script)
    return await world.gateway(backend(upstream.url, kind="engine"), **settings), upstream


async def refusing(exchange: Exchange, _: Request) -> None:
    await exchange.answer(vllm_error("the engine is on fire", 500, kind="InternalServerError"), status=500)


class Small:
    """An engine with a context of 2048 tokens: it answers only who does not ask for more."""

    def __init__(self, message: str = TOO_MANY) -> None:
        self._message = message

    async def __call__(self, exchange: Exchange, request: Request) -> None:
        if "max_output_tokens" in request.json or self._message == TOO_LONG:
            await exchange.answer(vllm_error(self._message, 400), status=400)
        else:
            await Answering(*PIECES)(exchange, request)


def asked(upstream: Upstream) -> list[tuple[str, str]]:
    """(role, text) of what the engine was asked last."""
    return [(item["role"], item["content"][0]["text"]) for item in upstream.requests[-1].json["input"]]


def options(upstream: Upstream) -> Mapping[str, Any]:
    """How the engine was told to answer, of all that it can be told."""
    names = {"max_output_tokens", "temperature", "top_p", "top_k", "repetition_penalty"}
    return {name: value for name, value in upstream.requests[-1].json.items() if name in names}


async def post(gateway: Running, path: str, **arguments: Any) -> requests.Response:
    """One POST by `requests`."""
    return await asyncio.to_thread(requests.post, gateway.url + path, timeout=PATIENCE_SECONDS, **arguments)


async def streamed(gateway: Running, path: str, **arguments: Any) -> tuple[requests.Response, list[bytes]]:
    """One POST by `requests` that reads chunk by chunk."""

    def read() -> tuple[requests.Response, list[bytes]]:
        with requests.post(gateway.url + path, stream=True, timeout=PATIENCE_SECONDS, **arguments) as answer:
            return answer, list(answer.iter_content(chunk_size=None))

    return await asyncio.to_thread(read)


def detail(answer: requests.Response) -> str:
    """The one field of an error of the form API."""
    document = answer.json()
    assert list(document) == ["detail"]
    assert isinstance(document["detail"], str)
    assert document["detail"]
    return str(document["detail"])


def data_of(body: bytes) -> list[Any]:
    """The JSON of each event that is nothing but data."""
    assert all(line.startswith(b"data: ") for line in body.split(b"\n\n")[:-1])
    return [json.loads(event.data) for event in events_of(body)]


# --- POST /v1/code/generate ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        {"data": {"prompt": "Hällo 世界 & =+"}},
        {"files": {"prompt": (None, "Hällo 世界 & =+")}},
        # As `curl -d` sends it: nothing is escaped that nobody escaped.
        {"data": "prompt=Hällo 世界 %26 %3D%2B".encode(), "headers": {"content-type": FORM}},
    ],
)
async def test_a_form_is_answered_whole(world: World, form: Any) -> None:
    gateway, upstream = await serving(world, Answering(*PIECES, reasoning=["Hm."]))
    answer = await post(gateway, GENERATE, **form)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"status": "success", "result": TEXT}
    assert TEXT.encode() in answer.content
    assert asked(upstream) == [("user", "Hällo 世界 & =+")]
    assert (await world.get(gateway, "/v1/conversations")).json["data"] == []


async def test_the_models_own_defaults_hold_for_up_to_4096_tokens(world: World) -> None:
    gateway, upstream = await serving(world, Answering("ok"))
    await post(gateway, GENERATE, data={"prompt": "hi"})
    assert options(upstream) == {"max_output_tokens": 4096}


async def test_a_context_with_less_room_gives_what_it_has(world: World) -> None:
    gateway, upstream = await serving(world, Small())
    assert (await post(gateway, GENERATE, data={"prompt": "hi"})).json()["result"] == TEXT
    assert options(upstream) == {}
    assert len(upstream.requests) == 2


async def test_a_prompt_that_is_too_long_is_told_so(world: World) -> None:
    gateway, _ = await serving(world, Small(TOO_LONG))
    answer = await post(gateway, GENERATE, data={"prompt": "hi"})
    assert (answer.status_code, detail(answer)) == (400, TOO_LONG)


@pytest.mark.parametrize("path", [GENERATE, CODE_CHAT])
@pytest.mark.parametrize(
    "form", [{}, {"data": {"promt": "hi"}}, {"data": {"prompt": ""}}, {"files": {"a": (None, "b")}}]
)
async def test_a_form_without_a_prompt_is_refused(world: World, path: str, form: Any) -> None:
    gateway, upstream = await serving(world, Answering("ok"))
    answer = await post(gateway, path, **form)
    assert (answer.status_code, detail(answer)) == (422, "the form field 'prompt' is required")
    assert upstream.requests == []


@pytest.mark.parametrize("path", [GENERATE, CODE_CHAT])
async def test_a_failing_engine_is_a_detail(world: World, path: str) -> None:
    gateway, _ = await serving(world, refusing)
    answer = await post(gateway, path, data={"prompt": "hi"})
    assert (answer.status_code, detail(answer)) == (500, "the engine is on fire")
    assert (await world.get(gateway, "/v1/conversations")).json["data"] == []


@pytest.mark.parametrize("path", [GENERATE, CODE_CHAT])
async def test_a_form_that_is_too_large_is_a_detail(world: World, path: str) -> None:
    gateway, _ = await serving(world, Answering("ok"), sizes={"bodyBytes": 1000})
    answer = await post(gateway, path, data={"prompt": "x" * 2000})
    assert answer.status_code == 413
    assert "1000" in detail(answer)


async def test_an_answer_that_breaks_off_is_no_success(world: World) -> None:
    gateway, _ = await serving(world, Answering("half", " whole", lost=True))
    answer = await post(gateway, GENERATE, data={"prompt": "hi"})
    assert answer.status_code == 502
    assert "was lost while answering" in detail(answer)


# --- POST /v1/code/chat_stream -------------------------------------------------------------------------


async def test_the_first_chunk_is_the_id_of_the_conversation_alone(world: World) -> None:
    gateway, upstream = await serving(world, Answering(*PIECES, reasoning=["Hm."]))
    answer, (first, *rest) = await streamed(gateway, CODE_CHAT, data={"prompt": "hi"})
    assert is_event_stream(answer.headers["content-type"])
    head = re.fullmatch(r"conversation_id:([0-9a-f-]{36})\n---\n", first.decode())
    assert head is not None
    assert str(UUID(head[1])) == head[1]
    assert [chunk.decode() for chunk in rest] == list(PIECES)
    assert options(upstream) == {"max_output_tokens": 4096}


async def begun(gateway: Running, prompt: str = "one", **arguments: Any) -> str:
    """A new conversation of the form API; its id."""
    _, (first, *_) = await streamed(gateway, CODE_CHAT, data={"prompt": prompt}, **arguments)
    return first.decode().removeprefix("conversation_id:").removesuffix("\n---\n")


async def test_what_follows_is_text_alone_and_knows_what_came_before(world: World) -> None:
    gateway, upstream = await serving(world, Answering("ok", "!"))
    conversation = await begun(gateway)
    _, chunks = await streamed(gateway, CODE_CHAT, data={"prompt": "two", "conversation_id": conversation})
    assert chunks == [b"ok", b"!"]
    assert asked(upstream) == [("user", "one"), ("assistant", "ok!"), ("user", "two")]
    _, chunks = await streamed(gateway, CODE_CHAT, data={"prompt": "three", "conversation_id": conversation.upper()})
    assert len(asked(upstream)) == 5


async def test_httpx_reads_the_same_chunks_as_they_are_generated(world: World) -> None:
    rest = asyncio.Event()
    gateway, _ = await serving(world, Answering("one ", "two", hold=rest))
    form = {"prompt": "hi"}
    async with (
        httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client,
        client.stream("POST", gateway.url + CODE_CHAT, data=form) as answer,
    ):
        chunks = answer.aiter_text()
        assert (await anext(chunks)).endswith("\n---\n")
        assert await anext(chunks) == "one "
        rest.set()
        assert await anext(chunks) == "two"


@pytest.mark.parametrize("id", [str(uuid4()), "7", "conv_1", "../etc"])
async def test_an_unknown_conversation_is_a_404(world: World, id: str) -> None:  # noqa: A002 - the wire's name
    gateway, upstream = await serving(world, Answering("ok"))
    answer = await post(gateway, CODE_CHAT, data={"prompt": "hi", "conversation_id": id})
    assert answer.status_code == 404
    assert "conversation" in detail(answer)
    assert upstream.requests == []


@pytest.mark.parametrize(
    "form", [{"data": {"prompt": "hi", "conversation_id": ""}}, {"files": {"prompt": (None, "hi")}}]
)
async def test_no_conversation_is_a_new_one(world: World, form: Any) -> None:
    gateway, _ = await serving(world, Answering("ok"))
    _, (first, *_) = await streamed(gateway, CODE_CHAT, **form)
    assert first.startswith(b"conversation_id:")


async def test_a_conversation_outlives_its_gateway(world: World, tmp_path: Path) -> None:
    upstream = await world.upstream(Answering("ok"))
    database: dict[str, Any] = {"database_url": f"sqlite:///{tmp_path}/conversations.db"}
    async with contextlib.AsyncExitStack() as stack:
        first = await World(stack).gateway(backend(upstream.url, kind="engine"), **database)
        conversation = await begun(first)
    second = await world.gateway(backend(upstream.url, kind="engine"), **database)
    form = {"prompt": "two", "conversation_id": conversation}
    assert (await streamed(second, CODE_CHAT, data=form))[1] == [b"ok"]
    assert asked(upstream) == [("user", "one"), ("assistant", "ok"), ("user", "two")]


async def test_an_answer_that_breaks_off_is_cut_and_kept_as_far_as_it_came(world: World) -> None:
    scripts: list[Script] = [Answering("half", " whole", lost=True), Answering("ok")]

    async def script(exchange: Exchange, request: Request) -> None:
        await scripts.pop(0)(exchange, request)

    gateway, upstream = await serving(world, script)
    client = await world.client(gateway)
    form = {"content-type": "application/x-www-form-urlencoded"}
    await client.request("POST", CODE_CHAT, b"prompt=one", headers=form)
    await client.head()
    conversation = ((await client.piece()) or b"").decode()[len("conversation_id:") : -len("\n---\n")]
    assert await client.ended() == b"4\r\nhalf\r\n"  # and no last chunk: nobody takes it for the whole
    await streamed(gateway, CODE_CHAT, data={"prompt": "two", "conversation_id": conversation})
    assert asked(upstream) == [("user", "one"), ("assistant", "half"), ("user", "two")]


async def test_requests_notices_that_an_answer_broke_off(world: World) -> None:
    gateway, _ = await serving(world, Answering("half", " whole", lost=True))
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        await streamed(gateway, CODE_CHAT, data={"prompt": "hi"})


async def test_a_client_that_leaves_stops_the_engine_and_its_conversation_goes_on(world: World) -> None:
    engine = Answering("half", " whole", hold=asyncio.Event())
    gateway, upstream = await serving(world, engine)
    client = await world.client(gateway)
    form = {"content-type": "application/x-www-form-urlencoded"}
    await client.request("POST", CODE_CHAT, b"prompt=one", headers=form)
    await client.head()
    conversation = ((await client.piece()) or b"").decode()[len("conversation_id:") : -len("\n---\n")]
    assert await client.piece() == b"half"
    client.leave()
    await until(lambda: engine.left == 1)
    form = {"prompt": "two", "conversation_id": conversation}
    assert (await post(gateway, CODE_CHAT, data=form)).text == "half whole"
    assert asked(upstream)[-1] == ("user", "two")


@pytest.mark.parametrize("path", [CODE_CHAT, NEW_MESSAGE])
async def test_a_client_that_leaves_before_its_answer_leaves_nothing_behind(world: World, path: str) -> None:
    left = asyncio.Event()

    async def script(exchange: Exchange, _: Request) -> None:
        client.leave()
        await exchange.gone()
        left.set()

    gateway, _ = await serving(world, script)
    client = await world.client(gateway)
    body = b"prompt=one" if path == CODE_CHAT else b'{"prompt": "one", "stream": true}'
    kind = "application/x-www-form-urlencoded" if path == CODE_CHAT else "application/json"
    await client.request("POST", path, body, headers={"content-type": kind})
    await left.wait()
    await until(lambda: gateway.logged() != [])
    assert (await world.get(gateway, "/v1/conversations")).json["data"] == []


async def test_silence_adds_nothing_to_plain_text(world: World) -> None:
    rest = asyncio.Event()
    times = {"keepAliveCommentSeconds": SOON}
    gateway, _ = await serving(world, Answering("one ", "two", hold=rest), times=times)
    asyncio.get_running_loop().call_later(5 * SOON, rest.set)
    _, (_, *chunks) = await streamed(gateway, CODE_CHAT, data={"prompt": "hi"})
    assert chunks == [b"one ", b"two"]


async def test_no_chunk_ends_in_the_middle_of_a_character(world: World) -> None:
    async def script(exchange: Exchange, request: Request) -> None:
        stream = b"".join(events(request.json, PIECES))
        await exchange.send(STREAM_HEAD)
        for byte in stream:
            await exchange.chunks(bytes([byte]))
        await exchange.send(END_OF_CHUNKS)

    gateway, _ = await serving(world, script)
    _, (_, *chunks) = await streamed(gateway, CODE_CHAT, data={"prompt": "hi"})
    assert [chunk.decode() for chunk in chunks] == list(PIECES)


# --- POST /chat/new/message/ ---------------------------------------------------------------------------

HISTORY = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "eins"}]


async def test_a_message_is_answered_with_the_history_that_it_belongs_to(world: World) -> None:
    gateway, upstream = await serving(world, Answering(*PIECES))
    answer = await post(gateway, NEW_MESSAGE, json={"prompt": "two", "history": HISTORY})
    assert answer.status_code == 200
    document = answer.json()
    assert list(document) == ["response", "history", "status", "time"]
    assert document["response"] == TEXT
    assert document["history"] == [
        *HISTORY,
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": TEXT},
    ]
    assert document["status"] == 200
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", document["time"])
    assert TEXT.encode() in answer.content
    assert asked(upstream) == [("user", "one"), ("assistant", "eins"), ("user", "two")]


async def test_sampling_parameters_reach_the_engine(world: World) -> None:
    gateway, upstream = await serving(world, Answering("ok"))
    sampling = {"max_tokens": 7, "temperature": 0.5, "top_p": 0.9}
    await post(gateway, NEW_MESSAGE, json={"prompt": "hi", **sampling})
    assert options(upstream) == {"max_output_tokens": 7, "temperature": 0.5, "top_p": 0.9}
    await post(gateway, NEW_MESSAGE, json={"prompt": "hi", "max_tokens": None, "top_p": None, "repetition": 1})
    assert options(upstream) == {"max_output_tokens": 4096}


async def test_a_streamed_message_has_one_id(world: World) -> None:
    gateway, _ = await serving(world, Answering(*PIECES, reasoning=["Hm."]))
    answer, chunks = await streamed(gateway, NEW_MESSAGE, json={"prompt": "hi", "stream": True})
    assert is_event_stream(answer.headers["content-type"])
    deltas = data_of(b"".join(chunks))
    assert [delta["text"] for delta in deltas] == list(PIECES)
    assert all(list(delta) == ["text", "message_id"] for delta in deltas)
    (mark,) = {delta["message_id"] for delta in deltas}
    assert re.fullmatch("[0-9a-f]+", mark)
    _, chunks = await streamed(gateway, NEW_MESSAGE, json={"prompt": "hi", "stream": True})
    assert data_of(b"".join(chunks))[0]["message_id"] != mark


async def test_a_message_that_is_not_to_be_streamed_is_one_event(world: World) -> None:
    gateway, _ = await serving(world, Answering(*PIECES))
    answer, chunks = await streamed(gateway, NEW_MESSAGE, json={"prompt": "hi", "stream": False})
    assert is_event_stream(answer.headers["content-type"])
    (event,) = data_of(b"".join(chunks))
    assert event["text"] == TEXT
    assert re.fullmatch("[0-9a-f]+", event["message_id"])


async def test_a_streamed_message_that_fails_says_why_in_the_stream(world: World) -> None:
    gateway, _ = await serving(world, Answering("half", " whole", lost=True))
    _, chunks = await streamed(gateway, NEW_MESSAGE, json={"prompt": "hi", "stream": True})
    half, failure = data_of(b"".join(chunks))
    assert half["text"] == "half"
    assert failure["message_id"] == half["message_id"]
    assert "was lost while answering" in failure["error"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": 1}, "prompt"),
        ({"prompt": "hi", "history": "x"}, "history"),
        ({"prompt": "hi", "history": [{"role": "wizard", "content": "x"}]}, "history[0].role"),
        ({"prompt": "hi", "history": [1]}, "history[0]"),
    ],
)
async def test_a_wrong_message_is_told_what_is_wrong(world: World, body: Any, param: str) -> None:
    gateway, upstream = await serving(world, Answering("ok"))
    answer = await world.post(gateway, body, path=NEW_MESSAGE)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert upstream.requests == []


async def test_the_history_of_the_last_answer_goes_on_with_its_conversation(world: World) -> None:
    gateway, _ = await serving(world, Answering("ok"))
    history: list[Any] = []
    for prompt in ("one", "two"):
        answer = await post(gateway, NEW_MESSAGE, json={"prompt": prompt, "history": history})
        history = answer.json()["history"]
    assert len((await world.get(gateway, "/v1/conversations")).json["data"]) == 1
    await post(gateway, NEW_MESSAGE, json={"prompt": "three", "history": history[:2]})
    assert len((await world.get(gateway, "/v1/conversations")).json["data"]) == 2


# --- GET /chat/get/messages/ ---------------------------------------------------------------------------


async def test_the_messages_are_those_of_the_latest_conversation(world: World) -> None:
    gateway, _ = await serving(world, Answering(*PIECES, reasoning=["Hm."]))
    assert (await world.get(gateway, GET_MESSAGES)).json == {"messages": []}
    first = await post(gateway, NEW_MESSAGE, json={"prompt": "one", "history": HISTORY})
    answer = await world.get(gateway, GET_MESSAGES)
    assert answer.json == {"messages": first.json()["history"]}
    assert TEXT.encode() in answer.body
    await begun(gateway, "another")
    latest = [{"role": "user", "content": "another"}, {"role": "assistant", "content": TEXT}]
    assert (await world.get(gateway, GET_MESSAGES)).json == {"messages": latest}


async def test_a_message_that_failed_leaves_nothing_behind(world: World) -> None:
    scripts: list[Script] = [Answering("ok"), refusing, refusing]

    async def script(exchange: Exchange, request: Request) -> None:
        await scripts.pop(0)(exchange, request)

    gateway, _ = await serving(world, script)
    first = await post(gateway, NEW_MESSAGE, json={"prompt": "one"})
    for stream in (None, True):
        answer = await post(gateway, NEW_MESSAGE, json={"prompt": "two", "stream": stream})
        assert answer.status_code == 500
    assert (await world.get(gateway, GET_MESSAGES)).json == {"messages": first.json()["history"]}


# --- /chat/stream --------------------------------------------------------------------------------------


class EventSource:
    """A browser's, up to the first close: `opened` tells whether it took the answer for events."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.opened = False

    async def until(self, over: Callable[[Event], bool]) -> list[Event]:
        """The events up to one that makes the page close it, or to the end."""
        found: list[Event] = []
        headers = {"accept": ACCEPT, "cache-control": "no-cache"}
        async with (
            httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client,
            client.stream("GET", self._url, headers=headers) as answer,
        ):
            self.opened = answer.status_code == 200 and is_event_stream(answer.headers["content-type"])
            if not self.opened:
                return found
            parser = Parser()
            async for chunk in answer.aiter_raw():
                for event in parser.feed(chunk):
                    found.append(event)
                    if over(event):
                        return found
        return found


def is_done(event: Event) -> bool:
    return event.data == "[DONE]"


async def test_an_event_source_gets_deltas_until_done(world: World) -> None:
    gateway, upstream = await serving(world, Answering(*PIECES, reasoning=["Hm."]))
    source = EventSource(str(httpx.URL(gateway.url + "/chat/stream", params={"message": "Hällo & 世界=+"})))
    *deltas, done = await source.until(is_done)
    assert [json.loads(delta.data) for delta in deltas] == [{"content": piece} for piece in PIECES]
    assert all(delta.type == "message" for delta in deltas)
    assert is_done(done)
    assert asked(upstream) == [("user", "Hällo & 世界=+")]
    assert options(upstream) == {"max_output_tokens": 4096}


async def test_messages_are_gone_on_with(world: World) -> None:
    gateway, upstream = await serving(world, Answering(*PIECES))
    body = {"messages": [*HISTORY, {"role": "user", "content": "two"}]}
    answer, chunks = await streamed(gateway, "/chat/stream", json=body)
    assert is_event_stream(answer.headers["content-type"])
    text = "".join(
        f"data: {json.dumps({'content': piece}, ensure_ascii=False, separators=(',', ':'))}\n\n" for piece in PIECES
    )
    assert b"".join(chunks).decode() == text + "data: [DONE]\n\n"
    assert asked(upstream) == [("user", "one"), ("assistant", "eins"), ("user", "two")]
    assert (await world.get(gateway, "/v1/conversations")).json["data"] == []


@pytest.mark.parametrize("query", ["", "?message=", "?massage=hi"])
async def test_an_event_source_without_a_message_is_not_opened(world: World, query: str) -> None:
    gateway, _ = await serving(world, Answering("ok"))
    answer = await world.get(gateway, f"/chat/stream{query}")
    assert (answer.status, answer.error["param"]) == (400, "message")
    source = EventSource(f"{gateway.url}/chat/stream{query}")
    await source.until(is_done)
    assert not source.opened  # and so it does not come back by itself


async def test_a_stream_that_fails_says_why_and_ends_so_that_nobody_asks_again(world: World) -> None:
    gateway, _ = await serving(world, Answering("half", " whole", lost=True))
    half, failure, done = await EventSource(f"{gateway.url}/chat/stream?message=hi").until(is_done)
    assert json.loads(half.data) == {"content": "half"}
    assert list(json.loads(failure.data)) == ["error"]
    assert "was lost while answering" in json.loads(failure.data)["error"]
    assert is_done(done)  # without it, an EventSource connects again and puts the same question


async def test_a_stream_that_fails_at_once_is_an_error(world: World) -> None:
    gateway, _ = await serving(world, refusing)
    source = EventSource(f"{gateway.url}/chat/stream?message=hi")
    await source.until(is_done)
    assert not source.opened
    answer = await world.get(gateway, "/chat/stream?message=hi")
    assert (answer.status, answer.error["message"]) == (500, "the engine is on fire")


async def test_a_silent_event_stream_is_kept_alive_by_comments(world: World) -> None:
    rest = asyncio.Event()
    gateway, _ = await serving(world, Answering("one", hold=rest), times={"keepAliveCommentSeconds": SOON})
    client = await world.client(gateway)
    await client.request("GET", "/chat/stream?message=hi")
    await client.head()
    assert await client.piece() == b": keep-alive\n\n"
    rest.set()
    assert events_of(await client.rest()) == [Event('{"content":"one"}'), Event("[DONE]")]


# --- POST /stream --------------------------------------------------------------------------------------


async def test_okhttp_gets_named_events_until_one_is_done(world: World) -> None:
    gateway, upstream = await serving(world, Answering(*PIECES, reasoning=["Hm."]))
    body = {"messages": [*HISTORY, {"role": "user", "content": "two"}]}
    answer, chunks = await streamed(gateway, "/stream", json=body, headers={"accept": ACCEPT})
    assert is_event_stream(answer.headers["content-type"])  # okhttp fails for any other
    found = events_of(b"".join(chunks))
    assert b"".join(chunks).count(b"event: message\n") == len(found)
    *deltas, last = [json.loads(event.data) for event in found]
    assert deltas == [{"content": piece, "done": False} for piece in PIECES]
    assert last == {"content": "", "done": True}
    assert asked(upstream) == [("user", "one"), ("assistant", "eins"), ("user", "two")]


async def test_a_failure_is_done_too(world: World) -> None:
    gateway, _ = await serving(world, Answering("half", " whole", lost=True))
    _, chunks = await streamed(gateway, "/stream", json={"messages": [{"role": "user", "content": "hi"}]})
    half, last = [json.loads(event.data) for event in events_of(b"".join(chunks))]
    assert half == {"content": "half", "done": False}
    assert (last["content"], last["done"]) == ("", True)
    assert "was lost while answering" in last["error"]


async def test_the_model_can_be_chosen(world: World) -> None:
    small, large = await world.upstream(Answering("small")), await world.upstream(Answering("large"))
    gateway = await world.gateway(
        backend(small.url, kind="engine", name="small"),
        backend(large.url, kind="engine", name="large"),
        default_model="small",
    )
    messages = [{"role": "user", "content": "hi"}]
    for body, model in (({}, "small"), ({"model": None}, "small"), ({"model": "large"}, "large")):
        _, chunks = await streamed(gateway, "/stream", json={"messages": messages, **body})
        assert json.loads(events_of(b"".join(chunks))[0].data)["content"] == model
    answer = await world.post(gateway, {"messages": messages, "model": "none"}, path="/stream")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/stream", "/chat/stream"])
@pytest.mark.parametrize(
    ("body", "param"), [({}, "messages"), ({"messages": [{"role": "user"}]}, "messages[0].content")]
)
async def test_wrong_messages_are_told_what_is_wrong(world: World, path: str, body: Any, param: str) -> None:
    gateway, _ = await serving(world, Answering("ok"))
    answer = await world.post(gateway, body, path=path)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert (await world.post(gateway, {"messages": []}, path=path)).status == 400


# --- POST /chat ----------------------------------------------------------------------------------------


async def test_a_message_gets_a_response(world: World) -> None:
    gateway, upstream = await serving(world, Answering(*PIECES))
    answer = await post(gateway, "/chat", json={"message": "hi", "temperature": 0.5})
    assert answer.json() == {"response": TEXT}
    assert TEXT.encode() in answer.content
    assert options(upstream) == {"max_output_tokens": 4096, "temperature": 0.5}
    await post(gateway, "/chat", json={"message": "hi"})
    assert options(upstream) == {"max_output_tokens": 4096}
    assert asked(upstream) == [("user", "hi")]


async def test_a_chat_without_a_message_is_told_so(world: World) -> None:
    gateway, _ = await serving(world, Answering("ok"))
    answer = await world.post(gateway, {}, path="/chat")
    assert (answer.status, answer.error["param"]) == (400, "message")


# --- GET /health and GET / -----------------------------------------------------------------------------


async def test_health_follows_the_engines(world: World) -> None:
    upstream = await world.upstream(Answering("ok"))
    gateway = await world.gateway(backend(upstream.url, kind="engine"), times={"probeSeconds": SOON})
    answer = await world.get(gateway, "/health")
    assert (answer.status, answer.json) == (200, {"status": "healthy", "backend": "connected"})
    upstream.healthy = False
    gateway.backend.suspect(gateway.backend.balancer.endpoints[0])
    await until(lambda: not gateway.backend.ready)
    answer = await world.get(gateway, "/health")
    assert (answer.status, answer.json) == (503, {"status": "unhealthy", "backend": "disconnected"})


async def test_the_root_is_a_page_for_browsers_and_json_for_programs(world: World) -> None:
    gateway, _ = await serving(world, Answering("ok"))
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    page = await world.get(gateway, "/", headers={"accept": accept})
    assert (page.header("content-type") or "").startswith("text/html")
    program = await asyncio.to_thread(requests.get, gateway.url + "/", timeout=PATIENCE_SECONDS)
    assert program.json()["message"] == "Fairlead"
    assert set(program.json()) == {"message", "version"}


# --- keys ----------------------------------------------------------------------------------------------


async def test_what_one_key_said_is_not_there_for_another(world: World, tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    one, other = ({"authorization": f"Bearer {KeyFile(file).create(name)[1]}"} for name in ("one", "other"))
    gateway, _ = await serving(world, Answering("ok"), key_file=file)
    conversation = await begun(gateway, headers=one)
    form = {"prompt": "two", "conversation_id": conversation}
    answer = await post(gateway, CODE_CHAT, data=form, headers=other)
    assert answer.status_code == 404
    assert "conversation" in detail(answer)
    assert (await post(gateway, CODE_CHAT, data=form, headers=one)).text == "ok"
    assert (await world.get(gateway, GET_MESSAGES, headers=other)).json == {"messages": []}
    assert (await world.get(gateway, GET_MESSAGES)).status == 401
    assert (await post(gateway, GENERATE, data={"prompt": "hi"})).status_code == 401
