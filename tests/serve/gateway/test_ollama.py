"""A server of somebody else behind the gateway, and in front of it everything that the gateway offers.

And fallbacks: who answers when the one that was asked cannot.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest

from fairlead_serve.keys import KeyFile
from fairlead_serve.settings import BackendSettings
from tests.serve.gateway.client import Answer
from tests.serve.gateway.event_source import events_of
from tests.serve.gateway.ollama import MODEL, Ollama, fail
from tests.serve.gateway.upstream import Exchange, Request, Script, Upstream, vllm_error
from tests.serve.gateway.vllm_responses import RESPONSES, Answering
from tests.serve.gateway.world import CHAT, Running, World, backend, until

QUESTION = [{"role": "user", "content": "hi"}]
FORM = {"content-type": "application/x-www-form-urlencoded"}
SERVED_BY = "x-fairlead-served-by"
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}


def ollama(upstream: Upstream, **more: Any) -> BackendSettings:
    """A Model `qwen` that Ollama serves as `qwen2.5:7b`."""
    return backend(upstream.url, **{"name": "qwen", "upstream_model": MODEL, **more})


async def serving(world: World, script: Script) -> tuple[Running, Upstream]:
    upstream = await world.upstream(script)
    return await world.gateway(ollama(upstream)), upstream


def client(gateway: Running) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)


def asked(upstream: Upstream) -> list[tuple[str, Any]]:
    """(role, content) of what the upstream was asked last."""
    return [(message["role"], message["content"]) for message in upstream.requests[-1].json["messages"]]


# --- chat completions ----------------------------------------------------------------------------------


async def test_a_stream_passes_with_its_reasoning_and_its_name_for_the_model(world: World) -> None:
    gateway, upstream = await serving(world, Ollama("a <b>", " 世界", thinking=["Hm."]))
    async with client(gateway) as official:
        stream = await official.chat.completions.create(
            model="qwen", messages=[], stream=True, extra_body={"messages": QUESTION}
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "a <b> 世界"
    assert chunks[0].choices[0].delta.model_extra == {"reasoning": "Hm."}
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    assert upstream.requests[-1].json == {"model": MODEL, "messages": QUESTION, "stream": True}


async def test_the_usage_comes_when_it_is_asked_for(world: World) -> None:
    gateway, _ = await serving(world, Ollama("a", "b"))
    options = {"stream": True, "stream_options": {"include_usage": True}}
    answer = await world.post(gateway, {"model": "qwen", "messages": QUESTION, **options})
    *_, usage, done = events_of(answer.body)
    assert json.loads(usage.data)["usage"] == {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    assert done.data == "[DONE]"


async def test_a_whole_answer_passes(world: World) -> None:
    gateway, _ = await serving(world, Ollama("a", "b", thinking=["Hm."]))
    answer = await world.post(gateway, {"model": "qwen", "messages": QUESTION})
    assert answer.json["choices"][0]["message"] == {"role": "assistant", "content": "ab", "reasoning": "Hm."}


async def test_the_upstream_gets_its_own_key_and_never_the_clients(world: World) -> None:
    upstream = await world.upstream(Ollama("ok"))
    gateway = await world.gateway(ollama(upstream, api_key_env="OLLAMA_KEY"), environment={"OLLAMA_KEY": "theirs\n"})
    headers = {"authorization": "Bearer mine"}
    for path, body in ((CHAT, {"messages": QUESTION}), (RESPONSES, {"input": "hi"})):
        assert (await world.post(gateway, body, path=path, headers=headers)).status == 200
        assert upstream.requests[-1].headers["authorization"] == "Bearer theirs"


@pytest.mark.parametrize(("path", "body"), [(CHAT, {"messages": QUESTION}), (RESPONSES, {"input": "hi"})])
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_keep_their_words_in_our_form(world: World, path: str, body: Any, stream: bool) -> None:
    upstream = await world.upstream(Ollama("ok"))
    gateway = await world.gateway(ollama(upstream, upstream_model="gone"))
    answer = await world.post(gateway, {**body, "stream": stream}, path=path)
    assert (answer.status, answer.error["message"]) == (404, "model 'gone' not found")
    assert (answer.error["type"], answer.error["code"]) == ("invalid_request_error", "model_not_found")


async def test_a_failure_of_the_upstream_is_one_of_ours(world: World) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await fail(exchange, 500, "llama runner process has terminated: exit status 2")

    gateway, _ = await serving(world, script)
    answer = await world.post(gateway, {"messages": QUESTION})
    assert (answer.status, answer.error["type"]) == (500, "server_error")
    assert answer.error["message"] == "llama runner process has terminated: exit status 2"


# --- responses and conversations -----------------------------------------------------------------------


async def test_a_response_is_made_of_a_chat_completion(world: World) -> None:
    gateway, upstream = await serving(world, Ollama("a <b>", " 世界", thinking=["Let me ", "think."]))
    async with client(gateway) as official:
        stream = await official.responses.create(
            model="qwen", input="hi", instructions="Be brief.", max_output_tokens=7, temperature=0.5, stream=True
        )
        events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    thoughts = [event.delta for event in events if event.type == "response.reasoning_text.delta"]
    assert (deltas, thoughts) == (["a <b>", " 世界"], ["Let me ", "think."])
    last = events[-1]
    assert last.type == "response.completed"
    assert [item.type for item in last.response.output] == ["reasoning", "message"]
    assert last.response.output_text == "a <b> 世界"
    assert last.response.usage is not None
    assert last.response.usage.output_tokens == 4
    assert asked(upstream) == [("system", "Be brief."), ("user", "hi")]
    sent = upstream.requests[-1].json
    assert (sent["model"], sent["max_tokens"], sent["temperature"]) == (MODEL, 7, 0.5)


async def test_a_function_is_called_and_its_result_goes_back(world: World) -> None:
    scripts: list[Script] = [Ollama(call=("weather", {"city": "Bergen"})), Ollama("Rain.")]

    async def script(exchange: Exchange, request: Request) -> None:
        await scripts.pop(0)(exchange, request)

    gateway, upstream = await serving(world, script)
    first = await world.post(gateway, {"input": "Bergen?", "tools": [WEATHER]}, path=RESPONSES)
    (call,) = first.json["output"]
    assert (call["type"], call["name"], json.loads(call["arguments"])) == (
        "function_call",
        "weather",
        {"city": "Bergen"},
    )
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
    second = await world.post(gateway, {"input": [result], "previous_response_id": first.json["id"]}, path=RESPONSES)
    assert second.json["output"][0]["content"][0]["text"] == "Rain."
    question, made, returned = upstream.requests[-1].json["messages"]
    assert question == {"role": "user", "content": "Bergen?"}
    assert made["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "Bergen"}'}
    assert returned == {"role": "tool", "tool_call_id": call["call_id"], "content": "rain"}


async def test_an_answer_out_of_tokens_is_incomplete(world: World) -> None:
    gateway, _ = await serving(world, Ollama("half", finish="length"))
    answer = await world.post(gateway, {"input": "hi"}, path=RESPONSES)
    assert (answer.json["status"], answer.json["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


async def test_a_conversation_is_told_whole_and_without_thoughts(world: World) -> None:
    gateway, upstream = await serving(world, Ollama("ok", thinking=["Hm."]))
    conversation = (await world.post(gateway, {}, path="/v1/conversations")).json["id"]
    for text in ("one", "two"):
        await world.post(gateway, {"input": text, "conversation": conversation}, path=RESPONSES)
    assert asked(upstream) == [("user", "one"), ("assistant", "ok"), ("user", "two")]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_stream_without_its_end_is_no_whole_answer(world: World, stream: bool) -> None:
    gateway, _ = await serving(world, Ollama("half", " whole", lost=True))
    conversation = (await world.post(gateway, {}, path="/v1/conversations")).json["id"]
    body = {"input": "hi", "conversation": conversation, "stream": stream}
    answer = await world.post(gateway, body, path=RESPONSES)
    if stream:
        failed = json.loads(events_of(answer.body)[-3].data)
        assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
        assert "engine_lost" in events_of(answer.body)[-2].data
    else:
        assert (answer.status, answer.error["code"]) == (502, "engine_lost")
    items = (await world.get(gateway, f"/v1/conversations/{conversation}/items")).json["data"]
    assert [item["status"] for item in items] == (["incomplete", "completed"] if stream else [])


# --- older clients -------------------------------------------------------------------------------------


async def test_older_clients_do_not_notice(world: World) -> None:
    gateway, upstream = await serving(world, Ollama("a <b>", " 世界", thinking=["Hm."]))
    text = "a <b> 世界"
    form = await world.post(gateway, b"prompt=hi", path="/v1/code/generate", headers=FORM)
    assert form.json == {"status": "success", "result": text}
    assert upstream.requests[-1].json["max_tokens"] == 4096
    plain = await world.post(gateway, b"prompt=hi", path="/v1/code/chat_stream", headers=FORM)
    head, _, rest = plain.body.decode().partition("\n---\n")
    assert rest == text
    again = f"prompt=more&conversation_id={head.removeprefix('conversation_id:')}"
    assert (await world.post(gateway, again.encode(), path="/v1/code/chat_stream", headers=FORM)).body.decode() == text
    assert asked(upstream) == [("user", "hi"), ("assistant", text), ("user", "more")]
    assert (await world.post(gateway, {"message": "hi"}, path="/chat")).json == {"response": text}
    named = await world.post(gateway, {"messages": QUESTION, "model": "qwen"}, path="/stream")
    assert [json.loads(event.data)["content"] for event in events_of(named.body)] == ["a <b>", " 世界", ""]
    *deltas, done = events_of((await world.get(gateway, "/chat/stream?message=hi")).body)
    assert [json.loads(delta.data)["content"] for delta in deltas] == ["a <b>", " 世界"]
    assert done.data == "[DONE]"


# --- fallback ------------------------------------------------------------------------------------------


async def down(exchange: Exchange, _: Request) -> None:
    exchange.reset()


async def refusing(exchange: Exchange, _: Request) -> None:
    await exchange.answer(vllm_error("out of memory", 500, kind="InternalServerError"), status=500)


async def overloaded(exchange: Exchange, _: Request) -> None:
    await exchange.answer(vllm_error("too many requests", 503), status=503)


class Pair:
    """A Model `main` that engines serve, and `qwen` at Ollama, which answers for it."""

    def __init__(self, gateway: Running, engine: Upstream, other: Upstream) -> None:
        self.gateway = gateway
        self.engine = engine
        self.other = other

    @classmethod
    async def start(cls, world: World, script: Script, *, ready: bool = True, **settings: Any) -> "Pair":
        engine, other = await world.upstream(script), await world.upstream(Ollama("from ", "Ollama"))
        engine.healthy = ready
        bounds = settings.pop("bounds", {})
        cold = {"coldStart": {"timeoutSeconds": 0}}
        main = backend(engine.url, kind="engine", name="main", fallback=["qwen"], **cold, **bounds)
        gateway = await world.gateway(main, ollama(other), wait=ready, default_model="main", **settings)
        return cls(gateway, engine, other)


def text_of(path: str, answer: Answer) -> str:
    """What was answered, whatever the route."""
    assert answer.status == 200, answer.body
    if path == CHAT:
        return str(answer.json["choices"][0]["message"]["content"])
    if path == RESPONSES:
        return str(answer.json["output"][-1]["content"][0]["text"])
    return str(answer.json["response"])


REQUESTS = [(CHAT, {"messages": QUESTION}), (RESPONSES, {"input": "hi"}), ("/chat", {"message": "hi"})]


@pytest.mark.parametrize(("path", "body"), REQUESTS)
@pytest.mark.parametrize("script", [down, refusing, overloaded])
async def test_another_answers_for_an_engine_that_fails(world: World, path: str, body: Any, script: Script) -> None:
    pair = await Pair.start(world, script)
    answer = await world.post(pair.gateway, body, path=path)
    assert text_of(path, answer) == "from Ollama"
    assert answer.header(SERVED_BY) == "qwen"
    assert pair.other.requests[-1].json["model"] == MODEL


@pytest.mark.parametrize(("path", "body"), REQUESTS)
async def test_another_answers_while_no_engine_is_ready(world: World, path: str, body: Any) -> None:
    pair = await Pair.start(world, Answering("ok"), ready=False)
    answer = await world.post(pair.gateway, body, path=path)
    assert (text_of(path, answer), answer.header(SERVED_BY)) == ("from Ollama", "qwen")
    assert pair.engine.requests == []


async def test_another_answers_while_the_engine_is_full(world: World) -> None:
    rest = asyncio.Event()
    pair = await Pair.start(world, Answering("main ", "answer", hold=rest), bounds={"maxOngoing": 1, "maxQueued": 0})
    first = asyncio.create_task(world.post(pair.gateway, {"input": "hi"}, path=RESPONSES))
    await until(lambda: len(pair.engine.requests) == 1)
    second = await world.post(pair.gateway, {"input": "hi"}, path=RESPONSES)
    assert (text_of(RESPONSES, second), second.header(SERVED_BY)) == ("from Ollama", "qwen")
    rest.set()
    answer = await first
    assert (text_of(RESPONSES, answer), answer.header(SERVED_BY)) == ("main answer", None)


async def test_the_next_fallback_answers_where_the_first_one_fails_too(world: World) -> None:
    pair = [await world.upstream(script) for script in (refusing, down, Ollama("ok"))]
    main = backend(pair[0].url, kind="engine", name="main", fallback=["first", "second"])
    others = [ollama(one, name=name) for one, name in zip(pair[1:], ("first", "second"), strict=True)]
    gateway = await world.gateway(main, *others, default_model="main")
    answer = await world.post(gateway, {"input": "hi"}, path=RESPONSES)
    assert (text_of(RESPONSES, answer), answer.header(SERVED_BY)) == ("ok", "second")


async def test_the_first_refusal_is_told_where_nobody_answers(world: World) -> None:
    pair = await Pair.start(world, refusing)
    await pair.other.stop()
    answer = await world.post(pair.gateway, {"messages": QUESTION})
    assert (answer.status, answer.error["message"]) == (500, "out of memory")


async def test_a_wrong_request_is_nobody_elses(world: World) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.answer(vllm_error("temperature is wrong", 400), status=400)

    pair = await Pair.start(world, script)
    for path, body in REQUESTS:
        assert (await world.post(pair.gateway, body, path=path)).status == 400
    assert pair.other.requests == []


async def test_nobody_else_goes_on_with_an_answer_that_has_begun(world: World) -> None:
    pair = await Pair.start(world, Answering("half", " whole", lost=True))
    answer = await world.post(pair.gateway, {"input": "hi", "stream": True}, path=RESPONSES)
    assert answer.header(SERVED_BY) is None
    assert b"half" in answer.body
    assert b"engine_lost" in answer.body
    for path, body in REQUESTS[1:]:
        assert (await world.post(pair.gateway, body, path=path)).status == 502
    assert pair.other.requests == []


async def test_a_conversation_goes_on_with_another_model_and_back(world: World) -> None:
    scripts: list[Script] = [Answering("one"), refusing, Answering("three")]

    async def script(exchange: Exchange, request: Request) -> None:
        await scripts.pop(0)(exchange, request)

    pair = await Pair.start(world, script)
    conversation = (await world.post(pair.gateway, {}, path="/v1/conversations")).json["id"]
    for text in ("1", "2", "3"):
        await world.post(pair.gateway, {"input": text, "conversation": conversation}, path=RESPONSES)
    assert asked(pair.other) == [("user", "1"), ("assistant", "one"), ("user", "2")]
    told = [item["content"][0]["text"] for item in pair.engine.requests[-1].json["input"]]
    assert told == ["1", "one", "2", "from Ollama", "3"]


async def test_a_key_gets_no_model_that_it_may_not_use(world: World, tmp_path: Path) -> None:
    _, secret = KeyFile(tmp_path / "keys.yaml").create("narrow", models=["main"])
    pair = await Pair.start(world, refusing, key_file=tmp_path / "keys.yaml")
    for path, body in REQUESTS:
        answer = await world.post(pair.gateway, body, path=path, headers={"authorization": f"Bearer {secret}"})
        assert (answer.status, answer.error["message"]) == (500, "out of memory")
    assert pair.other.requests == []


async def test_a_key_for_an_alias_of_a_fallback_gets_it(world: World, tmp_path: Path) -> None:
    _, secret = KeyFile(tmp_path / "keys.yaml").create("narrow", models=["main", "small"])
    engine, other = await world.upstream(refusing), await world.upstream(Ollama("from ", "Ollama"))
    main = backend(engine.url, kind="engine", name="main", fallback=["qwen"])
    gateway = await world.gateway(main, ollama(other, aliases=["small"]), key_file=tmp_path / "keys.yaml")
    headers = {"authorization": f"Bearer {secret}"}
    answer = await world.post(gateway, {"model": "main", "messages": QUESTION}, headers=headers)
    assert (text_of(CHAT, answer), answer.header(SERVED_BY)) == ("from Ollama", "qwen")
