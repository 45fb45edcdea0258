"""An answer is known as far as its events have told."""

from typing import Any

from fairlead_serve.gateway.transcript import Transcript

MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "", "status": "in_progress"}
PART = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


def fed(*events: dict[str, Any]) -> Transcript:
    transcript = Transcript()
    for event in events:
        transcript.feed({"output_index": 0, "content_index": 0, **event})
    return transcript


def test_a_cut_answer_holds_the_text_so_far_and_is_marked() -> None:
    transcript = fed(
        {"type": "response.output_item.added", "item": MESSAGE},
        {"type": "response.content_part.added", "part": PART},
        {"type": "response.output_text.delta", "delta": "Hel"},
        {"type": "response.output_text.delta", "delta": "lo"},
    )
    [item] = transcript.output()
    assert item["status"] == "incomplete"
    assert item["content"] == [{**PART, "text": "Hello"}]
    assert not transcript.complete


def test_a_whole_item_is_what_its_last_event_says() -> None:
    done = {**MESSAGE, "status": "completed", "content": [{**PART, "text": "Hello."}]}
    transcript = fed(
        {"type": "response.output_item.added", "item": MESSAGE},
        {"type": "response.content_part.added", "part": PART},
        {"type": "response.output_text.delta", "delta": "Hel"},
        {"type": "response.output_item.done", "item": done},
    )
    assert transcript.output() == [done]
    assert transcript.complete


def test_a_cut_tool_call_keeps_the_arguments_so_far() -> None:
    transcript = fed(
        {"type": "response.output_item.added", "item": CALL},
        {"type": "response.function_call_arguments.delta", "delta": '{"a"'},
    )
    assert transcript.output() == [{**CALL, "status": "incomplete", "arguments": '{"a"'}]


def test_reasoning_before_a_message_is_an_item_of_its_own() -> None:
    reasoning: dict[str, Any] = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": None,
        "status": "in_progress",
    }
    transcript = fed(
        {"type": "response.output_item.added", "item": reasoning},
        {"type": "response.content_part.added", "part": {"type": "reasoning_text", "text": ""}},
        {"type": "response.reasoning_text.delta", "delta": "Hm."},
        {"type": "response.output_item.added", "output_index": 1, "item": MESSAGE},
    )
    first, second = transcript.output()
    assert first["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert second["content"] == []


def test_events_of_items_that_never_began_are_ignored() -> None:
    assert fed({"type": "response.output_text.delta", "delta": "x"}, {"type": "unheard.of"}).output() == []
