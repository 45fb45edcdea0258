"""Conversations and responses with the official client, on a real engine."""

import asyncio
import json
import uuid
from collections.abc import Iterator

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.conversations import Conversation
from openai.types.responses import Response, ResponseInputParam

from tests.e2e.conftest import Stack

pytestmark = pytest.mark.engine

MODEL = "tiny-chat"
CAPITAL = "What is the capital of France?"


@pytest.fixture
def conversation(client: OpenAI) -> Iterator[Conversation]:
    made = client.conversations.create(metadata={"title": "a test"})
    yield made
    client.conversations.delete(made.id)


def texts(client: OpenAI, conversation: str) -> list[tuple[str, str]]:
    """(role, text) of every message, the oldest first."""
    items = client.conversations.items.list(conversation, order="asc", limit=100)
    return [
        (item.role, "".join(getattr(part, "text", "") for part in item.content))
        for item in items
        if item.type == "message"
    ]


def test_a_response_answers_and_is_there_afterwards(client: OpenAI) -> None:
    answer = client.responses.create(model=MODEL, input=CAPITAL, metadata={"a": "b"}, temperature=0)
    assert answer.status == "completed"
    assert "Paris" in answer.output_text
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    again = client.responses.retrieve(answer.id)
    assert again.output_text == answer.output_text
    assert again.metadata == {"a": "b"}
    asked = list(client.responses.input_items.list(answer.id))
    assert [item.type for item in asked] == ["message"]
    client.responses.delete(answer.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)


def test_a_stream_tells_every_step_under_numbers_without_a_gap(client: OpenAI) -> None:
    events = list(client.responses.create(model=MODEL, input=CAPITAL, stream=True, temperature=0))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert set(kinds[4:-4]) == {"output_text.delta"}
    last = events[-1]
    assert last.type == "response.completed"
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == last.response.output_text
    ids = {event.item_id for event in events if event.type == "response.output_text.delta"}
    assert ids == {last.response.output[0].id}
    assert client.responses.retrieve(last.response.id).output_text == text


def test_the_sdks_own_helper_reads_the_stream(client: OpenAI) -> None:
    with client.responses.stream(model=MODEL, input=CAPITAL, temperature=0) as stream:
        for _ in stream:
            pass
        assert "Paris" in stream.get_final_response().output_text


def test_a_response_goes_on_where_another_ended(client: OpenAI) -> None:
    first = client.responses.create(model=MODEL, input="Write a bubble sort in Python", temperature=0)
    second = client.responses.create(
        model=MODEL, input="Now the same in Java", previous_response_id=first.id, temperature=0
    )
    assert "static" in second.output_text
    assert second.previous_response_id == first.id


def test_a_conversation_is_remembered(client: OpenAI, conversation: Conversation) -> None:
    def ask(text: str) -> Response:
        return client.responses.create(model=MODEL, conversation=conversation.id, input=text, temperature=0)

    ask("Write a bubble sort in Python")
    second = ask("Now the same in Java")
    assert "static" in second.output_text
    assert second.conversation is not None
    assert second.conversation.id == conversation.id
    said = texts(client, conversation.id)
    assert [role for role, _ in said] == ["user", "assistant", "user", "assistant"]
    assert said[3][1] == second.output_text


def test_the_second_turn_reads_the_first_from_the_prefix_cache(client: OpenAI, conversation: Conversation) -> None:
    # On a CPU vLLM caches blocks of 128 tokens: the first turn has to fill one.
    long = " ".join(f"Keep the number {number} in mind." for number in range(30))

    def cached(text: str) -> int:
        usage = client.responses.create(model=MODEL, conversation=conversation.id, input=text).usage
        assert usage is not None
        return usage.input_tokens_details.cached_tokens

    assert cached(f"{uuid.uuid4()} {long}") == 0
    assert cached("And now?") >= 128


def test_an_answer_out_of_tokens_is_incomplete_and_kept(client: OpenAI, conversation: Conversation) -> None:
    cut = client.responses.create(
        model=MODEL, conversation=conversation.id, input="Write a bubble sort in Python", max_output_tokens=5
    )
    assert cut.status == "incomplete"
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"
    assert texts(client, conversation.id)[1][1] == cut.output_text


def test_a_response_that_is_not_stored_is_nowhere(client: OpenAI) -> None:
    answer = client.responses.create(model=MODEL, input=CAPITAL, store=False)
    assert "Paris" in answer.output_text
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)


async def test_what_was_written_for_clients_that_left_is_kept(async_client: AsyncOpenAI) -> None:
    async def leave() -> str:
        """The status of an answer that was left at its first words."""
        made = await async_client.conversations.create()
        stream = await async_client.responses.create(
            model=MODEL,
            conversation=made.id,
            input="Tell me a long story",
            stream=True,
            extra_body={"ignore_eos": True},
        )
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
        await stream.close()
        items = await async_client.conversations.items.list(made.id, order="asc")
        while len(items.data) < 2:
            await asyncio.sleep(0.2)  # the store has something to write meanwhile
            items = await async_client.conversations.items.list(made.id, order="asc")
        answer = items.data[1]
        assert answer.type == "message"
        assert answer.content
        return answer.status

    # Whole where the engine was done before the gateway had a core to hear of the leaving.
    assert set(await asyncio.gather(*(leave() for _ in range(16)))) <= {"incomplete", "completed"}


def test_a_response_in_the_background_is_asked_for_later(client: OpenAI) -> None:
    queued = client.responses.create(model=MODEL, input=CAPITAL, background=True, temperature=0)
    assert queued.status == "queued"
    events = list(client.responses.retrieve(queued.id, stream=True))
    assert events[-1].type == "response.completed"
    done = client.responses.retrieve(queued.id)
    assert done.status == "completed"
    assert "Paris" in done.output_text


def test_a_response_in_the_background_can_be_cancelled(client: OpenAI) -> None:
    # More of them than the engine ends before the last one is cancelled.
    queued = [
        client.responses.create(
            model=MODEL, input="Tell me a long story", background=True, extra_body={"ignore_eos": True}
        )
        for _ in range(16)
    ]
    last = queued[-1].id
    assert client.responses.cancel(last).status == "cancelled"
    assert client.responses.retrieve(last).status == "cancelled"
    for one in queued:
        client.responses.cancel(one.id)


def test_reasoning_and_tool_calls_of_earlier_turns_are_understood(client: OpenAI) -> None:
    history: ResponseInputParam = [
        {"role": "user", "content": "What is the weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Ask."}]},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
        {"role": "user", "content": CAPITAL},
    ]
    first = client.responses.create(model=MODEL, input=history, temperature=0)
    assert first.status == "completed"
    second = client.responses.create(model=MODEL, input=CAPITAL, previous_response_id=first.id, temperature=0)
    assert second.status == "completed"


def test_a_prompt_that_is_too_long_is_refused_and_leaves_nothing(client: OpenAI, conversation: Conversation) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        client.responses.create(model=MODEL, conversation=conversation.id, input="long " * 5000)
    assert refusal.value.code == "context_length_exceeded"
    assert texts(client, conversation.id) == []


def test_the_code_form_generates_and_its_chat_goes_on(stack: Stack, client: OpenAI) -> None:
    whole = httpx.post(f"{stack.url}/v1/code/generate", data={"prompt": CAPITAL}, timeout=60).json()
    assert whole["status"] == "success"
    assert "Paris" in whole["result"]
    form = {"prompt": "Write a bubble sort in Python"}
    with httpx.stream("POST", f"{stack.url}/v1/code/chat_stream", data=form, timeout=60) as answer:
        chunks = list(answer.iter_raw())
    head, _, text = b"".join(chunks).decode().partition("\n---\n")
    number = uuid.UUID(head.removeprefix("conversation_id:"))
    assert "def bubble_sort" in text
    form = {"prompt": "Now the same in Java", "conversation_id": str(number)}
    follow_up = httpx.post(f"{stack.url}/v1/code/chat_stream", data=form, timeout=60).text
    assert "static" in follow_up
    assert not follow_up.startswith("conversation_id")
    assert [role for role, _ in texts(client, f"conv_{number.hex}")] == ["user", "assistant"] * 2


def test_an_event_source_gets_content_and_an_end(stack: Stack) -> None:
    answer = httpx.get(f"{stack.url}/chat/stream", params={"message": "法国的首都是哪里？"}, timeout=60).text
    events = [event.removeprefix("data: ") for event in answer.split("\n\n") if event]
    assert events[-1] == "[DONE]"
    assert "巴黎" in "".join(json.loads(event)["content"] for event in events[:-1])
    assert "\\u" not in answer
