"""Servers that know only chat completions answer as Responses do."""

from collections.abc import Mapping, Sequence
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from fairlead_serve.gateway.chat_events import ChatEvents, chat_request
from fairlead_serve.gateway.items import message
from fairlead_serve.gateway.transcript import Transcript

_event: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def chunk(delta: Mapping[str, Any] | None = None, *, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"object": "chat.completion.chunk", "model": "m", "created": 1, "choices": choices, **more}


def events_of(*chunks: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    chat = ChatEvents()
    return [event for one in chunks for event in chat.feed(one)] + list(chat.end())


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 1}}


def test_text_becomes_a_message() -> None:
    events = events_of(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}, finish="stop"),
        chunk(usage=USAGE),
    )
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    response = events[-1]["response"]
    assert response["output"][0]["content"][0]["text"] == "Hello"
    assert response["usage"]["input_tokens_details"]["cached_tokens"] == 1
    assert response["usage"]["total_tokens"] == 5


def test_every_event_is_one_that_the_official_client_knows() -> None:
    events = events_of(
        chunk({"reasoning_content": "Hm."}),
        chunk({"content": "Hi"}),
        chunk({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{"}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}, finish="tool_calls"),
        chunk(usage=USAGE),
    )
    for number, event in enumerate(events):
        if "response" in event:
            more = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
            Response.model_validate({**event["response"], **more})
        else:
            read = _event.validate_python({**event, "sequence_number": number})
            assert read.type == event["type"]
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["reasoning", "message", "function_call"]
    assert events[-1]["response"]["output"][2]["arguments"] == "{}"


def test_an_answer_out_of_tokens_is_incomplete() -> None:
    last = events_of(chunk({"content": "Hel"}, finish="length"))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_stream_without_a_chunk_has_no_events() -> None:
    assert events_of() == []


def test_a_stream_that_ends_without_a_reason_has_not_ended() -> None:
    assert events_of(chunk({"content": "Hel"}), chunk({"content": ""}))[-1]["type"] == "response.output_text.delta"


def test_the_transcript_of_the_events_is_the_output() -> None:
    transcript = Transcript()
    events = events_of(chunk({"content": "a"}), chunk({"content": "b"}, finish="stop"))
    for event in events:
        transcript.feed(event)
    assert transcript.output() == events[-1]["response"]["output"]


def test_the_request_is_told_in_the_words_of_chat_completions() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c", "output": "42"}
    body = {
        "model": "m",
        "instructions": "Be brief.",
        "input": [message("user", "Hi"), message("assistant", "Wait."), call, output],
        "max_output_tokens": 7,
        "temperature": 0.5,
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
        "reasoning": {"effort": "low"},
    }
    chat = chat_request(body)
    assert chat["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "Wait.",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "42"},
    ]
    assert chat["max_tokens"] == 7
    assert chat["tools"] == [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    assert chat["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert chat["response_format"] == {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}
    assert chat["reasoning_effort"] == "low"
    assert chat["stream_options"] == {"include_usage": True}
