"""The official client against the whole stack, on a real engine."""

import json

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from tests.e2e.conftest import Stack

pytestmark = pytest.mark.engine

CAPITAL: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What is the capital of France?"}]


def test_models_are_listed_and_can_be_got_one_by_one(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names == ["tiny-chat", "tiny-embed"]
    assert client.models.retrieve("tiny-chat").owned_by == "fairlead"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.models.retrieve("no/such")


def test_a_chat_completion_answers_sensibly(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="tiny-chat", messages=CAPITAL, temperature=0)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_says_the_same_as_the_whole_answer(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="tiny-chat", messages=CAPITAL, temperature=0)
    stream = client.chat.completions.create(
        model="tiny-chat", messages=CAPITAL, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert not chunks[-1].choices
    finish = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert finish[-1] == "stop"
    assert set(finish[:-1]) == {None}


async def test_the_async_client_streams_too(async_client: AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(model="tiny-chat", messages=CAPITAL, temperature=0, stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert "Paris" in text
    whole = await async_client.chat.completions.create(model="tiny-chat", messages=CAPITAL, temperature=0)
    assert whole.choices[0].message.content == text


def test_completions_continue_a_text_whole_and_streamed(client: OpenAI) -> None:
    whole = client.completions.create(model="tiny-chat", prompt="Once upon", max_tokens=12, temperature=0)
    chunks = client.completions.create(model="tiny-chat", prompt="Once upon", max_tokens=12, temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text


def test_a_follow_up_question_sees_the_turns_before_it(client: OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "user", "content": "Write a bubble sort in Python"},
    ]
    first = client.chat.completions.create(model="tiny-chat", messages=messages, temperature=0)
    python = first.choices[0].message.content or ""
    assert "def bubble_sort" in python
    messages += [{"role": "assistant", "content": python}, {"role": "user", "content": "Now the same in Java"}]
    second = client.chat.completions.create(model="tiny-chat", messages=messages, temperature=0)
    assert "static" in (second.choices[0].message.content or "")


def test_multi_byte_characters_arrive_whole(client: OpenAI) -> None:
    question: list[ChatCompletionMessageParam] = [{"role": "user", "content": "法国的首都是哪里？"}]
    whole = client.chat.completions.create(model="tiny-chat", messages=question, temperature=0)
    stream = client.chat.completions.create(model="tiny-chat", messages=question, temperature=0, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "巴黎" in text
    assert text == whole.choices[0].message.content
    assert "\ufffd" not in text


def test_n_stop_seed_and_logprobs_reach_the_engine(client: OpenAI) -> None:
    several = client.chat.completions.create(model="tiny-chat", messages=CAPITAL, n=3, seed=7, temperature=1.0)
    again = client.chat.completions.create(model="tiny-chat", messages=CAPITAL, n=3, seed=7, temperature=1.0)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert [choice.message.content for choice in several.choices] == [
        choice.message.content for choice in again.choices
    ]
    full = client.chat.completions.create(model="tiny-chat", messages=CAPITAL, temperature=0)
    stopped = client.chat.completions.create(model="tiny-chat", messages=CAPITAL, temperature=0, stop="Paris")
    assert stopped.choices[0].message.content == (full.choices[0].message.content or "").partition("Paris")[0]
    scored = client.chat.completions.create(
        model="tiny-chat", messages=CAPITAL, temperature=0, logprobs=True, top_logprobs=2, max_tokens=3
    )
    assert scored.choices[0].logprobs is not None
    content = scored.choices[0].logprobs.content
    assert content is not None
    assert [len(token.top_logprobs) for token in content] == [2, 2, 2]
    assert scored.choices[0].finish_reason == "length"


def test_a_json_schema_shapes_the_answer(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny-chat",
        messages=CAPITAL,
        temperature=0,
        max_tokens=200,
        response_format={
            "type": "json_schema",
            "json_schema": {
                "name": "yes_or_no",
                "schema": {
                    "type": "object",
                    "properties": {"answer": {"enum": ["yes", "no"]}},
                    "required": ["answer"],
                    "additionalProperties": False,
                },
            },
        },
    )
    assert json.loads(answer.choices[0].message.content or "")["answer"] in {"yes", "no"}


def test_tools_are_accepted(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="tiny-chat",
        messages=CAPITAL,
        temperature=0,
        tools=[
            {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
        ],
        tool_choice="none",
    )
    assert answer.choices[0].message.content


def test_embeddings_come_from_the_embedding_model(client: OpenAI) -> None:
    answer = client.embeddings.create(model="tiny-embed", input=["one", "two", "one"])
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert answer.data[0].embedding == pytest.approx(answer.data[2].embedding, abs=1e-5)
    assert answer.data[0].embedding != pytest.approx(answer.data[1].embedding, abs=1e-5)


def test_a_task_that_the_model_cannot_do_is_refused_by_name(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.embeddings.create(model="tiny-chat", input="one")
    assert refused.value.code == "model_not_supported"
    assert "generate" in refused.value.message
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="tiny-embed", messages=CAPITAL)
    assert refused.value.code == "model_not_supported"
    assert "embed" in refused.value.message


def test_an_unknown_model_is_a_404_that_names_those_there_are(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="tiny-chat, tiny-embed") as refused:
        client.chat.completions.create(model="gpt-9", messages=CAPITAL)
    assert refused.value.code == "model_not_found"


def test_a_prompt_longer_than_the_context_is_a_400_with_the_engines_words(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="2048") as refused:
        client.chat.completions.create(model="tiny-chat", messages=[{"role": "user", "content": "word " * 5000}])
    assert refused.value.code == "context_length_exceeded"


def test_tokenize_and_detokenize_are_inverse(stack: Stack) -> None:
    text = "Größe, 大小 and 👍"
    tokens = httpx.post(
        f"{stack.url}/tokenize", json={"model": "tiny-chat", "prompt": text, "add_special_tokens": False}
    ).json()["tokens"]
    back = httpx.post(f"{stack.url}/detokenize", json={"model": "tiny-chat", "tokens": tokens}).json()
    assert back["prompt"] == text
