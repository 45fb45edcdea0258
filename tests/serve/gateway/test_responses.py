"""`/v1/responses`: answers that are kept, and go on where another left off, as OpenAI's own client sees them."""

import asyncio
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseFunctionToolCall

from fairlead_serve.gateway import background
from fairlead_serve.gateway.background import Background
from fairlead_serve.gateway.routes.responses import encode_event
from fairlead_serve.gateway.transcript import Transcript
from tests.serve.gateway.official import events_of, sdk
from tests.serve.gateway.upstream import Exchange, Request, Script, Upstream, vllm_error
from tests.serve.gateway.vllm_responses import RESPONSES, Answering, events
from tests.serve.gateway.world import Running, World, backend, until

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
TOO_MANY_PAIRS = {str(number): "x" for number in range(17)}


async def serving(world: World, script: Script, **settings: Any) -> tuple[Running, Upstream]:
    """A gateway over one engine that answers as `script` says."""
    upstream = await world.upstream(script)
    engine = settings.pop("engine", {})
    return await world.gateway(backend(upstream.url, kind="engine", **engine), **settings), upstream


async def refusing(exchange: Exchange, _: Request) -> None:
    await exchange.answer(vllm_error("the prompt is bad", 400, param="body.input"), status=400)


class Held:
    """A script that answers `pieces` to every request, but only when `open` is set. `waiting` counts who waits."""

    def __init__(self, *pieces: str) -> None:
        self._pieces = pieces
        self.open = asyncio.Event()
        self.waiting = 0

    async def __call__(self, exchange: Exchange, request: Request) -> None:
        self.waiting += 1
        await self.open.wait()
        await Answering(*self._pieces)(exchange, request)


class Begun:
    """A script that sends the first `count` events of an answer, then waits until the gateway has left."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.left = 0

    async def __call__(self, exchange: Exchange, request: Request) -> None:
        await exchange.begin_stream()
        await exchange.chunks(*list(events(request.json, ["Hel", "lo"]))[: self._count])
        await exchange.gone()
        self.left += 1


class Echoing:
    """A script that answers `answer to ` and what was said last."""

    async def __call__(self, exchange: Exchange, request: Request) -> None:
        await Answering("answer to ", request.json["input"][-1]["content"][0]["text"])(exchange, request)


def said(items: Sequence[Any]) -> list[tuple[str, str]]:
    """(role, text) of messages, as the SDK or the upstream has them."""
    plain = [item if isinstance(item, dict) else item.model_dump() for item in items]
    return [(item["role"], "".join(part["text"] for part in item["content"])) for item in plain]


async def ended(client: AsyncOpenAI, response: str) -> Response:
    """The response, when nobody works on it any more."""
    async with asyncio.timeout(10):
        while (found := await client.responses.retrieve(response)).status in {"queued", "in_progress"}:
            pass
    return found


async def said_in(client: AsyncOpenAI, conversation: str) -> list[tuple[str, str]]:
    return said([item async for item in client.conversations.items.list(conversation, order="asc")])


def asked(upstream: Upstream) -> list[tuple[str, str]]:
    """(role, text) of what the engine was asked last."""
    return said(upstream.requests[-1].json["input"])


def kept(database: Path) -> list[str]:
    """The status of every response that is stored."""
    with sqlite3.connect(database) as connection:
        return [json.loads(body)["status"] for (body,) in connection.execute("SELECT body FROM responses")]


def names_of(database: Path) -> list[str]:
    """The id of every response that is stored."""
    with sqlite3.connect(database) as connection:
        return [name for (name,) in connection.execute("SELECT id FROM responses")]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the gateway has got a first piece of text."""
    event, feed = asyncio.Event(), Transcript.feed

    def hear(transcript: Transcript, told: Mapping[str, Any]) -> None:
        feed(transcript, told)
        if told["type"] == "response.output_text.delta":
            event.set()

    monkeypatch.setattr(Transcript, "feed", hear)
    return event


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "conversations.db"


# --- an answer and its events -------------------------------------------------------------------------------


async def test_an_answer_is_one_object_and_is_there_afterwards(world: World) -> None:
    running, upstream = await serving(world, Answering("Grüße", " 世界"))
    async with sdk(running) as client:
        made = await client.responses.create(model="model", input="hi", metadata={"a": "b"}, temperature=0.5)
        assert made.output_text == "Grüße 世界"
        assert (made.status, made.error, made.incomplete_details) == ("completed", None, None)
        assert made.usage is not None
        assert made.usage.total_tokens == 12
        assert made.metadata == {"a": "b"}
        assert made.completed_at is not None
        assert await client.responses.retrieve(made.id) == made
    # The engine keeps nothing and knows nothing of what is not its business.
    sent = upstream.requests[0].json
    assert sent == {
        "model": "model",
        "temperature": 0.5,
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        "store": False,
        "stream": True,
    }


async def test_a_stream_tells_every_step_under_the_ids_that_are_kept(world: World) -> None:
    script = Answering("Hel", "lo", reasoning=["Hm", "."], calls={"weather": ['{"city":', '"Paris"}']})
    running, _ = await serving(world, script)
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        request = {"input": "hi", "stream": True, "conversation": conversation.id}
        answer = await world.post(running, request, path=RESPONSES)
        assert (answer.status, answer.header("content-type")) == (200, "text/event-stream; charset=utf-8")
        told = events_of(answer.body)
        assert [event["type"].removeprefix("response.") for event in told] == [
            "created",
            "in_progress",
            *("output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.delta"),
            *("reasoning_text.done", "content_part.done", "output_item.done"),
            *("output_item.added", "content_part.added", "output_text.delta", "output_text.delta"),
            *("output_text.done", "content_part.done", "output_item.done"),
            *("output_item.added", "function_call_arguments.delta", "function_call_arguments.delta"),
            *("function_call_arguments.done", "output_item.done"),
            "completed",
        ]
        output = told[-1]["response"]["output"]
        assert [item["type"] for item in output] == ["reasoning", "message", "function_call"]
        for event in told[2:-1]:
            assert event.get("item_id", event.get("item", {}).get("id")) == output[event["output_index"]]["id"]
        assert [event["item"] for event in told if event["type"] == "response.output_item.done"] == output
        assert {event["response"]["id"] for event in told if "response" in event} == {told[-1]["response"]["id"]}
        retrieved = await client.responses.retrieve(told[-1]["response"]["id"])
        assert retrieved == Response.model_validate(told[-1]["response"])
        items = [item.id async for item in client.conversations.items.list(conversation.id, order="asc")]
        assert items[1:] == [item["id"] for item in output]


async def test_the_official_helper_puts_a_stream_together(world: World) -> None:
    running, _ = await serving(world, Answering("Hel", "lo", calls={"weather": ["{}"]}))
    async with sdk(running) as client, client.responses.stream(model="model", input="hi") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[-1] == "response.completed"
    assert final.output_text == "Hello"


async def test_an_answer_that_was_cut_by_its_length_is_incomplete(world: World) -> None:
    running, _ = await serving(world, Answering("Hel", "lo", cut=True))
    async with sdk(running) as client:
        made = await client.responses.create(input="hi", max_output_tokens=2)
        assert made.status == "incomplete"
        assert made.incomplete_details is not None
        assert made.incomplete_details.reason == "max_output_tokens"
        assert (await client.responses.retrieve(made.id)).output_text == "Hello"
    answer = await world.post(running, {"input": "hi", "stream": True}, path=RESPONSES)
    assert events_of(answer.body)[-1]["type"] == "response.incomplete"


async def test_a_stream_whose_engine_breaks_off_after_the_end_is_whole(world: World) -> None:
    async def script(exchange: Exchange, request: Request) -> None:
        await exchange.begin_stream()
        await exchange.chunks(*events(request.json, ["Hel", "lo"]))
        await exchange.close()  # without the end of its chunks

    running, _ = await serving(world, script)
    answer = await world.post(running, {"input": "hi", "stream": True}, path=RESPONSES)
    assert events_of(answer.body)[-1]["type"] == "response.completed"
    answer = await world.post(running, {"input": "hi"}, path=RESPONSES)
    assert (answer.status, answer.json["status"]) == (200, "completed")


async def test_comments_reach_who_waits_for_a_slow_answer(world: World) -> None:
    hold = asyncio.Event()
    running, _ = await serving(world, Answering("Hel", "lo", hold=hold), times={"keep_alive_comment_seconds": 0.02})
    client = await world.client(running)
    await client.request("POST", RESPONSES, {"input": "hi", "stream": True})
    await client.head()
    body = b""
    while body.count(b": keep-alive\n\n") < 2:
        body += await client.piece() or b""
    hold.set()
    assert events_of(body + await client.rest())[-1]["type"] == "response.completed"


# --- what is asked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (
            "hi",
            [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        ),
        (
            [{"role": "developer", "content": "be brief"}, {"role": "user", "content": "hi"}],
            [
                {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "be brief"}]},
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            ],
        ),
        (
            [
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "what is this?"},
                        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
                    ],
                }
            ],
            [
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "what is this?"},
                        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
                    ],
                }
            ],
        ),
        (
            [
                {"role": "user", "content": "weather?"},
                {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Paris"}'},
                {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
            ],
            [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
                {
                    "type": "function_call",
                    "call_id": "c1",
                    "name": "weather",
                    "arguments": '{"city": "Paris"}',
                    "status": "completed",
                },
                {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
            ],
        ),
        (
            [
                {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
                {"role": "assistant", "content": "hi"},
                {"role": "user", "content": "again"},
            ],
            [
                {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
                {
                    "type": "message",
                    "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}],
                },
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "again"}]},
            ],
        ),
    ],
)
async def test_input_of_every_form_reaches_the_engine_and_is_listed(world: World, given: Any, sent: Any) -> None:
    running, upstream = await serving(world, Answering("Hello"))
    async with sdk(running) as client:
        made = await client.responses.create(input=given)
        listed = [item.type async for item in client.responses.input_items.list(made.id, order="asc")]
    got = upstream.requests[0].json["input"]
    assert [{key: value for key, value in item.items() if key != "id"} for item in got] == sent
    assert listed == [item["type"] for item in sent]


# (body, the place that is wrong)
REFUSED: list[tuple[Any, str | None]] = [
    ({"input": 3}, "input"),
    ({"input": [3]}, "input[0]"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{"role": "robot", "content": "hi"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
    ({"input": [{"type": "function_call", "call_id": "c", "arguments": "{}"}]}, "input[0].name"),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments"),
    ({}, "input"),
    ({"input": []}, "input"),
    ({"input": "hi", "model": 3}, "model"),
    ({"input": "hi", "stream": "yes"}, "stream"),
    ({"input": "hi", "conversation": 3}, "conversation"),
    ({"input": "hi", "conversation": {"name": "x"}}, "conversation"),
    ({"input": "hi", "metadata": TOO_MANY_PAIRS}, "metadata"),
    ({"input": "hi", "metadata": {"a": 1}}, "metadata"),
    ({"input": "hi", "tools": "all"}, "tools"),
    ({"input": "hi", "background": True, "store": False}, "background"),
    ({"input": "hi", "conversation": "conv_1", "previous_response_id": "resp_1"}, "previous_response_id"),
    ([], None),
]


async def test_what_cannot_be_asked_is_refused_with_its_place(world: World) -> None:
    running, upstream = await serving(world, Answering("Hello"))
    client = await world.client(running)
    for body, param in REFUSED:
        answer = await client.post(RESPONSES, body)
        assert (answer.status, answer.error["type"], body) == (400, "invalid_request_error", body)
        assert answer.error["param"] == param
    assert upstream.requests == []


# --- history --------------------------------------------------------------------------------------------------


async def test_a_conversation_holds_every_turn_whoever_names_it_how(world: World) -> None:
    running, upstream = await serving(world, Echoing())
    async with sdk(running) as client:
        conversation = await client.conversations.create(items=[{"role": "user", "content": "zero"}])
        first = await client.responses.create(input="one", conversation=conversation.id)
        second = await client.responses.create(input="two", conversation={"id": conversation.id}, store=False)
        assert first.conversation is not None
        assert second.conversation is not None
        assert first.conversation.id == second.conversation.id == conversation.id
        turns = [("user", "zero"), ("user", "one"), ("assistant", "answer to one"), ("user", "two")]
        assert asked(upstream) == turns
        assert await said_in(client, conversation.id) == [*turns, ("assistant", "answer to two")]


async def test_an_answer_that_is_not_to_be_kept_is_not(world: World, database: Path) -> None:
    running, _ = await serving(world, Answering("Hello"), database_url=f"sqlite:///{database}")
    async with sdk(running) as client:
        made = await client.responses.create(input="hi", store=False)
        assert made.model_dump()["store"] is False
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(made.id)
    assert kept(database) == []


async def test_a_response_goes_on_where_another_ended_with_instructions_of_its_own(world: World) -> None:
    running, upstream = await serving(world, Echoing())
    async with sdk(running) as client:
        first = await client.responses.create(input="one", instructions="be brief", metadata={"a": "b"})
        assert upstream.requests[0].json["instructions"] == "be brief"
        second = await client.responses.create(input="two", previous_response_id=first.id)
        third = await client.responses.create(input="three", previous_response_id=second.id, instructions="rhyme")
        assert third.previous_response_id == second.id
        assert (second.instructions, second.metadata, third.instructions) == (None, {}, "rhyme")
        assert "instructions" not in upstream.requests[1].json
        assert asked(upstream) == [
            ("user", "one"),
            ("assistant", "answer to one"),
            ("user", "two"),
            ("assistant", "answer to two"),
            ("user", "three"),
        ]
        # Two may go on from one.
        await client.responses.create(input="other", previous_response_id=first.id)
        assert asked(upstream) == [("user", "one"), ("assistant", "answer to one"), ("user", "other")]


async def test_reasoning_is_kept_and_given_back_to_the_engine_in_full_and_in_order(world: World) -> None:
    running, upstream = await serving(world, Answering("Hel", "lo", reasoning=["Hm", "."]))
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        first = await client.responses.create(input="hi", conversation=conversation.id)
        await client.responses.create(input="again", conversation=conversation.id)
    question, reasoning, answer, _ = upstream.requests[1].json["input"]
    assert question["role"] == "user"
    assert reasoning == {
        "type": "reasoning",
        "id": first.output[0].id,
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "Hm."}],
        "status": "completed",
    }
    assert (answer["id"], answer["role"], answer["content"][0]["text"]) == (first.output[1].id, "assistant", "Hello")


@pytest.mark.parametrize("by", ["conversation", "previous_response_id"])
async def test_a_tool_is_called_and_its_output_answered(world: World, by: str) -> None:
    calling = Answering(calls={"weather": ['{"city": ', '"Paris"}']})
    answering = Answering("It is sunny.")

    async def script(exchange: Exchange, request: Request) -> None:
        is_answer = request.json["input"][-1]["type"] == "function_call_output"
        await (answering if is_answer else calling)(exchange, request)

    running, upstream = await serving(world, script)
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        named: Any = {"conversation": conversation.id} if by == "conversation" else {}
        stream = await client.responses.create(input="weather in Paris?", tools=[WEATHER], stream=True, **named)
        last = [event async for event in stream][-1]
        assert last.type == "response.completed"
        [call] = last.response.output
        assert isinstance(call, ResponseFunctionToolCall)
        assert json.loads(call.arguments) == {"city": "Paris"}
        assert upstream.requests[0].json["tools"] == [WEATHER]
        output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        named = named or {"previous_response_id": last.response.id}
        second = await client.responses.create(input=[output], tools=[WEATHER], **named)
        assert second.output_text == "It is sunny."
    question, made, given = upstream.requests[1].json["input"]
    assert question["role"] == "user"
    assert (made["id"], made["call_id"], made["name"]) == (call.id, call.call_id, "weather")
    assert given == output


# --- what is kept, afterwards ------------------------------------------------------------------------------------


async def test_a_deleted_response_is_gone_and_its_conversation_is_not(world: World) -> None:
    running, _ = await serving(world, Answering("Hello"))
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        made = await client.responses.create(input="hi", conversation=conversation.id)
        raw = await client.responses.with_raw_response.delete(made.id)
        assert raw.http_response.json() == {"id": made.id, "object": "response", "deleted": True}
        for call in (client.responses.retrieve, client.responses.delete):
            with pytest.raises(openai.NotFoundError) as raised:
                await call(made.id)
            assert raised.value.code == "response_not_found"
        assert await said_in(client, conversation.id) == [("user", "hi"), ("assistant", "Hello")]


async def test_what_a_response_was_asked_is_listed_in_pages_of_either_order(world: World) -> None:
    running, _ = await serving(world, Answering("Hello"))
    async with sdk(running) as client:
        messages: Any = [{"role": "user", "content": str(number)} for number in range(5)]
        made = await client.responses.create(input=messages)
        items = client.responses.input_items
        forward = [item async for item in items.list(made.id, order="asc", limit=2)]
        assert [text for _, text in said(forward)] == ["0", "1", "2", "3", "4"]
        assert [item async for item in items.list(made.id, limit=2)] == forward[::-1]
        page = await items.list(made.id, order="asc", after=forward[2].id or "", limit=1)
        assert (said(page.data), page.has_more) == ([("user", "3")], True)
        with pytest.raises(openai.NotFoundError):
            await items.list(made.id, after="msg_other")
        with pytest.raises(openai.BadRequestError):
            await items.list(made.id, limit=0)


@pytest.mark.parametrize("body", [{"conversation": "conv_1"}, {"previous_response_id": "resp_1"}])
async def test_what_there_is_not_cannot_be_continued(world: World, body: Mapping[str, str]) -> None:
    running, upstream = await serving(world, Answering("Hello"))
    answer = await world.post(running, {"input": "hi", **body}, path=RESPONSES)
    assert answer.status == 404
    assert next(iter(body.values())) in answer.error["message"]
    assert upstream.requests == []


async def test_a_response_that_is_being_answered_says_so(world: World, database: Path) -> None:
    held = Held("Hello")
    running, _ = await serving(world, held, database_url=f"sqlite:///{database}")
    async with sdk(running) as client:
        asking = asyncio.create_task(client.responses.create(input="hi"))
        await until(lambda: held.waiting == 1)
        [name] = names_of(database)
        found = await client.responses.retrieve(name)
        assert (found.status, found.model, found.output, found.completed_at) == ("in_progress", "model", [], None)
        for call in (
            client.responses.retrieve(name, stream=True),
            client.responses.create(input="more", previous_response_id=name),
        ):
            with pytest.raises(openai.ConflictError) as raised:
                await call
            assert raised.value.code == "response_unfinished"
        held.open.set()
        assert (await asking).id == name
        assert (await client.responses.retrieve(name)).status == "completed"


# --- failure --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_first_byte_has_its_status_and_keeps_nothing(
    world: World, database: Path, stream: bool
) -> None:
    running, _ = await serving(world, refusing, database_url=f"sqlite:///{database}")
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        with pytest.raises(openai.BadRequestError) as raised:
            await client.responses.create(input="hi", conversation=conversation.id, stream=stream)
        assert (raised.value.param, raised.value.status_code) == ("input", 400)
        assert await said_in(client, conversation.id) == []
    assert kept(database) == []


async def test_a_failure_in_the_middle_ends_a_stream_and_keeps_what_came(world: World) -> None:
    running, _ = await serving(world, Answering("Hel", "lo", lost=True))
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        body = {"input": "hi", "conversation": conversation.id, "stream": True}
        answer = await world.post(running, body, path=RESPONSES)
        whole, error, done = answer.body.rsplit(b"\n\n", 3)[:3]
        told = events_of(whole + b"\n\n")
        assert (told[-1]["type"], told[-1]["response"]["status"]) == ("response.failed", "failed")
        assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "engine_lost"
        assert done == b"data: [DONE]"
        failed = await client.responses.retrieve(told[-1]["response"]["id"])
        assert (failed.status, failed.output_text) == ("failed", "Hel")
        assert failed.error is not None
        kept_answer = await anext(aiter(client.conversations.items.list(conversation.id)))
        assert kept_answer.type == "message"
        assert kept_answer.status == "incomplete"
        assert await said_in(client, conversation.id) == [("user", "hi"), ("assistant", "Hel")]


async def test_a_failure_in_the_middle_is_502_to_who_waits_for_the_whole(world: World, database: Path) -> None:
    running, _ = await serving(world, Answering("Hel", "lo", lost=True), database_url=f"sqlite:///{database}")
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        with pytest.raises(openai.InternalServerError) as raised:
            await client.responses.create(input="hi", conversation=conversation.id)
        assert (raised.value.status_code, raised.value.code) == (502, "engine_lost")
        assert await said_in(client, conversation.id) == []
    assert kept(database) == ["failed"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_in_the_middle_leaves_what_came(
    world: World, database: Path, heard: asyncio.Event, stream: bool
) -> None:
    script = Answering("Hel", "lo", hold=asyncio.Event())
    running, _ = await serving(world, script, database_url=f"sqlite:///{database}")
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        leaving = await world.client(running)
        await leaving.request("POST", RESPONSES, {"input": "hi", "conversation": conversation.id, "stream": stream})
        await heard.wait()
        leaving.leave()
        await until(lambda: script.left == 1)
        await until(lambda: kept(database) == ["incomplete"])
        assert await said_in(client, conversation.id) == [("user", "hi"), ("assistant", "Hel")]
        answer = await anext(aiter(client.conversations.items.list(conversation.id)))
        assert answer.type == "message"
        assert answer.status == "incomplete"


async def test_a_client_that_leaves_before_anything_was_said_leaves_the_conversation_as_it_was(
    world: World, database: Path
) -> None:
    script = Begun(2)  # created, in_progress
    running, _ = await serving(world, script, database_url=f"sqlite:///{database}")
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        leaving = await world.client(running)
        await leaving.request("POST", RESPONSES, {"input": "hi", "conversation": conversation.id, "stream": True})
        await leaving.head()
        await leaving.piece()
        leaving.leave()
        await until(lambda: script.left == 1)
        await until(lambda: kept(database) == ["incomplete"])
        assert await said_in(client, conversation.id) == []


async def test_a_client_that_leaves_the_queue_leaves_nothing(world: World, database: Path) -> None:
    held = Held("Hello")
    running, upstream = await serving(world, held, database_url=f"sqlite:///{database}", engine={"max_ongoing": 1})
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        first = asyncio.create_task(client.responses.create(input="one", conversation=conversation.id))
        await until(lambda: held.waiting == 1)
        leaving = await world.client(running)
        await leaving.request("POST", RESPONSES, {"input": "two", "conversation": conversation.id})
        await until(lambda: running.backend.admission.queued == 1)
        leaving.leave()
        await until(lambda: len(kept(database)) == 1)
        held.open.set()
        await first
        assert await said_in(client, conversation.id) == [("user", "one"), ("assistant", "Hello")]
    assert kept(database) == ["completed"]
    assert len(upstream.requests) == 1


async def test_half_a_call_is_not_given_back_to_the_engine(world: World) -> None:
    calls = 0

    async def script(exchange: Exchange, request: Request) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            await Answering("Hello")(exchange, request)
            return
        stream = list(events(request.json, ["One moment."], calls={"weather": ['{"city":', '"Paris"}']}))
        await exchange.begin_stream()
        await exchange.chunks(*[event for event in stream[:-3] if b'"delta":"\\"Paris' not in event])
        await exchange.close()

    running, upstream = await serving(world, script)
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        body = {"input": "hi", "conversation": conversation.id, "stream": True}
        await world.post(running, body, path=RESPONSES)
        cut = await anext(aiter(client.conversations.items.list(conversation.id)))
        assert cut.type == "function_call"
        assert (cut.status, cut.arguments) == ("incomplete", '{"city":')
        await client.responses.create(input="again", conversation=conversation.id)
    # No engine can read half of a JSON, and the conversation would never be answered again.
    assert asked(upstream) == [("user", "hi"), ("assistant", "One moment."), ("user", "again")]


# --- at once ----------------------------------------------------------------------------------------------------


async def test_turns_at_once_on_one_conversation_land_whole_one_after_the_other(world: World) -> None:
    arrived = 0
    all_there = asyncio.Event()

    async def script(exchange: Exchange, request: Request) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == 8:
            all_there.set()
        await all_there.wait()
        await Echoing()(exchange, request)

    running, _ = await serving(world, script)
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        await asyncio.gather(
            *(
                client.responses.create(input=str(number), conversation=conversation.id, store=number % 2 == 0)
                for number in range(8)
            )
        )
        turns = await said_in(client, conversation.id)
    assert sorted(turns[::2]) == [("user", str(number)) for number in range(8)]
    assert turns[1::2] == [("assistant", f"answer to {text}") for _, text in turns[::2]]


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_that_is_deleted_meanwhile_takes_nothing_and_the_answer_is_whole(
    world: World, database: Path, store: bool, stream: bool
) -> None:
    held = Held("Hel", "lo")
    running, _ = await serving(world, held, database_url=f"sqlite:///{database}")
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        body = {"input": "hi", "conversation": conversation.id, "store": store, "stream": stream}
        asking = asyncio.create_task(world.post(running, body, path=RESPONSES))
        await until(lambda: held.waiting == 1)
        await client.conversations.delete(conversation.id)
        held.open.set()
        answer = await asking
        assert answer.status == 200
        response = events_of(answer.body)[-1]["response"] if stream else answer.json
        assert Response.model_validate(response).output_text == "Hello"
        with pytest.raises(openai.NotFoundError):
            await client.conversations.retrieve(conversation.id)
    assert kept(database) == []


async def test_a_response_that_is_deleted_while_it_is_answered_stays_deleted(world: World, database: Path) -> None:
    held = Held("Hel", "lo")
    running, _ = await serving(world, held, database_url=f"sqlite:///{database}")
    async with sdk(running) as client:
        asking = asyncio.create_task(client.responses.create(input="hi"))
        await until(lambda: held.waiting == 1)
        [name] = names_of(database)
        await client.responses.delete(name)
        held.open.set()
        assert (await asking).output_text == "Hello"
    assert kept(database) == []


# --- in the background ------------------------------------------------------------------------------------------


async def test_an_answer_in_the_background_is_there_when_it_has_ended(world: World) -> None:
    held = Held("Hel", "lo")
    running, _ = await serving(world, held)
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        made = await client.responses.create(input="hi", conversation=conversation.id, background=True)
        assert (made.status, made.background, made.model) == ("queued", True, "model")
        await until(lambda: held.waiting == 1)
        assert (await client.responses.retrieve(made.id)).status == "queued"
        assert await said_in(client, conversation.id) == []
        held.open.set()
        done = await ended(client, made.id)
        assert (done.status, done.output_text) == ("completed", "Hello")
        assert await said_in(client, conversation.id) == [("user", "hi"), ("assistant", "Hello")]


async def test_a_background_stream_can_be_left_and_looked_at_again_while_it_runs_and_after(
    world: World, heard: asyncio.Event
) -> None:
    hold = asyncio.Event()
    script = Answering("Hel", "lo", hold=hold)
    running, _ = await serving(world, script)
    first, second, third = [await world.client(running) for _ in range(3)]
    await first.request("POST", RESPONSES, {"input": "hi", "background": True, "stream": True})
    head, begun = await first.head(), await first.piece() or b""
    assert head.header("content-type") == "text/event-stream; charset=utf-8"
    [created] = events_of(begun)
    path = f"{RESPONSES}/{created['response']['id']}?stream=true"
    await heard.wait()
    first.leave()
    await second.request("GET", path)
    await second.head()
    await third.request("GET", f"{path}&starting_after=1")
    await third.head()
    hold.set()
    live = events_of(await second.rest())
    assert live[0] == created
    assert live[-1]["type"] == "response.completed"
    assert script.left == 0
    assert await third.rest() == b"".join(encode_event(event) for event in live[2:])
    # Its events are not kept for ever; the whole answer is.
    [begin, added, done, completed] = events_of((await world.get(running, path)).body)
    assert (begin["type"], begin["response"]["status"]) == ("response.created", "in_progress")
    assert added["item"] == done["item"] == live[-1]["response"]["output"][0]
    assert completed["response"] == live[-1]["response"]


async def test_who_comes_back_to_a_stream_after_its_end_is_told_the_end(world: World) -> None:
    running, _ = await serving(world, Answering("Hel", "lo"))
    async with sdk(running) as client:
        stream = await client.responses.create(input="hi", background=True, stream=True)
        seen = [event async for event in stream]
        last = seen[-1]
        assert last.type == "response.completed"
        again = await client.responses.retrieve(last.response.id, stream=True, starting_after=6)
        [told] = [event async for event in again]
        assert told.type == "response.completed"
        assert (told.sequence_number, told.response) == (7, last.response)


async def test_comments_reach_who_waits_for_an_answer_in_the_background(world: World) -> None:
    held = Held("Hello")
    running, _ = await serving(world, held, times={"keep_alive_comment_seconds": 0.02})
    client = await world.client(running)
    await client.request("POST", RESPONSES, {"input": "hi", "background": True, "stream": True})
    await client.head()
    assert [await client.piece(), await client.piece()] == [b": keep-alive\n\n"] * 2
    held.open.set()
    assert events_of(await client.rest())[-1]["type"] == "response.completed"


async def test_an_answer_in_the_background_can_be_cancelled(world: World, heard: asyncio.Event) -> None:
    script = Answering("Hel", "lo", hold=asyncio.Event())
    running, _ = await serving(world, script)
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        made = await client.responses.create(input="hi", conversation=conversation.id, background=True)
        await heard.wait()
        watching = await world.client(running)
        await watching.request("GET", f"{RESPONSES}/{made.id}?stream=true")
        await watching.head()
        cancelled = await client.responses.cancel(made.id)
        assert (cancelled.status, cancelled.output_text) == ("cancelled", "Hel")
        await until(lambda: script.left == 1)
        assert await client.responses.cancel(made.id) == cancelled
        assert await client.responses.retrieve(made.id) == cancelled
        assert await said_in(client, conversation.id) == [("user", "hi"), ("assistant", "Hel")]
        told = events_of(await watching.rest())
        assert (told[-1]["type"], told[-1]["response"]["status"]) == ("response.incomplete", "cancelled")


async def test_what_was_cancelled_before_it_began_leaves_the_conversation_as_it_was(world: World) -> None:
    held = Held("Hello")
    running, _ = await serving(world, held)
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        made = await client.responses.create(input="hi", conversation=conversation.id, background=True)
        await until(lambda: held.waiting == 1)
        assert (await client.responses.cancel(made.id)).status == "cancelled"
        assert await said_in(client, conversation.id) == []


async def test_only_what_runs_in_the_background_can_be_cancelled(world: World) -> None:
    running, _ = await serving(world, Answering("Hello"))
    async with sdk(running) as client:
        made = await client.responses.create(input="hi")
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.cancel(made.id)
        assert refused.value.code == "not_in_background"
        with pytest.raises(openai.NotFoundError):
            await client.responses.cancel("resp_1")
        made = await client.responses.create(input="hi", background=True)
        await ended(client, made.id)
        assert (await client.responses.cancel(made.id)).status == "completed"


@pytest.mark.parametrize("how", ["cancel", "delete", "delete the conversation"])
async def test_another_gateway_ends_an_answer_in_the_background(
    world: World, database: Path, heard: asyncio.Event, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "_LOOK_SECONDS", 0.01)
    script = Answering("Hel", "lo", hold=asyncio.Event())
    first, upstream = await serving(world, script, database_url=f"sqlite:///{database}")
    second = await world.gateway(backend(upstream.url, kind="engine"), database_url=f"sqlite:///{database}")
    async with sdk(first) as here, sdk(second) as there:
        conversation = await here.conversations.create()
        made = await here.responses.create(input="hi", conversation=conversation.id, background=True)
        await heard.wait()
        if how == "cancel":
            assert (await there.responses.cancel(made.id)).status == "cancelled"
        elif how == "delete":
            await there.responses.delete(made.id)
        else:
            await there.conversations.delete(conversation.id)
        await until(lambda: script.left == 1)
        if how == "cancel":
            assert (await here.responses.retrieve(made.id)).status == "cancelled"
            assert await said_in(there, conversation.id) == []
    assert kept(database) == (["cancelled"] if how == "cancel" else [])


async def test_an_answer_in_the_background_that_is_deleted_ends(world: World, heard: asyncio.Event) -> None:
    script = Answering("Hel", "lo", hold=asyncio.Event())
    running, _ = await serving(world, script)
    async with sdk(running) as client:
        made = await client.responses.create(input="hi", background=True)
        await heard.wait()
        await client.responses.delete(made.id)
        await until(lambda: script.left == 1)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(made.id)


@pytest.mark.parametrize("script", [refusing, Answering("Hel", "lo", lost=True)])
async def test_an_answer_in_the_background_that_fails_says_why(world: World, script: Script) -> None:
    running, _ = await serving(world, script)
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        stream = await client.responses.create(input="hi", conversation=conversation.id, background=True, stream=True)
        last = [event async for event in stream][-1]
        assert last.type == "response.failed"
        failed = await client.responses.retrieve(last.response.id)
        assert failed == last.response
        assert failed.error is not None
        assert ("the prompt is bad" in failed.error.message) or ("was lost" in failed.error.message)


async def test_a_model_that_there_is_not_is_no_matter_for_the_background(world: World, database: Path) -> None:
    running, _ = await serving(world, Answering("Hello"), database_url=f"sqlite:///{database}")
    async with sdk(running) as client:
        for stream in (False, True):
            with pytest.raises(openai.NotFoundError) as raised:
                await client.responses.create(model="other", input="hi", background=True, stream=stream)
            assert raised.value.code == "model_not_found"
    assert kept(database) == []


# --- the end of a gateway ---------------------------------------------------------------------------------------


async def test_a_drain_ends_with_every_answer_kept(world: World, database: Path) -> None:
    held = Held("Hel", "lo")
    url = f"sqlite:///{database}"
    running, upstream = await serving(world, held, database_url=url)
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        made = await client.responses.create(input="one", conversation=conversation.id, background=True)
        body = {"input": "two", "conversation": conversation.id, "stream": True}
        asking = asyncio.create_task(world.post(running, body, path=RESPONSES))
        await until(lambda: held.waiting == 2)
        running.server.stop()
        held.open.set()
        told = events_of((await asking).body)
        assert told[-1]["type"] == "response.completed"
        await asyncio.wait_for(running.serving, 10)
    again = await world.gateway(backend(upstream.url, kind="engine"), database_url=url)
    async with sdk(again) as client:
        for name in (made.id, told[-1]["response"]["id"]):
            assert (await client.responses.retrieve(name)).output_text == "Hello"
        turns = await said_in(client, conversation.id)
        assert sorted(turns[::2]) == [("user", "one"), ("user", "two")]
        assert turns[1::2] == [("assistant", "Hello")] * 2


async def test_an_end_at_once_waits_for_no_answer_in_the_background(
    world: World, database: Path, heard: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing, close = asyncio.Event(), Background.close

    async def noted(background: Background, over: asyncio.Event) -> None:
        closing.set()
        await close(background, over)

    monkeypatch.setattr(Background, "close", noted)
    script = Answering("Hel", "lo", hold=asyncio.Event())
    running, _ = await serving(world, script, database_url=f"sqlite:///{database}", times={"drain_seconds": 3600})
    await world.post(running, {"input": "hi", "background": True}, path=RESPONSES)
    await heard.wait()
    running.server.stop()
    await closing.wait()
    assert kept(database) == ["in_progress"]
    running.server.leave()
    await asyncio.wait_for(running.serving, 10)
    assert kept(database) == ["failed"]


async def test_what_a_drain_cuts_is_kept_as_far_as_it_came(world: World, database: Path, heard: asyncio.Event) -> None:
    script = Answering("Hel", "lo", hold=asyncio.Event())
    url = f"sqlite:///{database}"
    running, upstream = await serving(world, script, database_url=url, times={"drain_seconds": 0})
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        body = {"input": "hi", "conversation": conversation.id, "stream": True}
        asking = asyncio.create_task(world.post(running, body, path=RESPONSES))
        await heard.wait()
        running.server.stop()
        await asyncio.wait_for(running.serving, 10)
        body_sent = (await asking).body
        assert b'"code":"gateway_stopping"' in body_sent
    again = await world.gateway(backend(upstream.url, kind="engine"), database_url=url)
    async with sdk(again) as client:
        assert await said_in(client, conversation.id) == [("user", "hi"), ("assistant", "Hel")]
    assert kept(database) == ["failed"]
