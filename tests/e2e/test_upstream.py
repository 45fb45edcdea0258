"""A server that is not Fairlead's, a plain vLLM, behind the gateway alone."""

import json
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from tests.processes import Command

pytestmark = pytest.mark.engine

CAPITAL = "What is the capital of France?"


@pytest.fixture(scope="module")
def url(plain_vllm: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway with the plain vLLM as `remote`, and `gone`, which nobody serves and for which `remote` answers."""
    upstream = {"kind": "upstream", "upstreamModel": "tiny-chat"}
    backends = [
        {"name": "remote", "endpoints": [plain_vllm], **upstream},
        {"name": "gone", "endpoints": ["http://127.0.0.1:9"], "fallback": ["remote"], **upstream},
    ]
    config = tmp_path_factory.mktemp("gateway") / "gateway.yaml"
    config.write_text(json.dumps({"backends": backends}))
    with Command("gateway", "--config", str(config), "--port", "0") as command:
        yield command.wait_ready()


@pytest.fixture
def remote(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as one:
        yield one


def test_it_answers_under_our_name_for_it(remote: OpenAI) -> None:
    assert [model.id for model in remote.models.list()] == ["remote", "gone"]
    answer = remote.chat.completions.create(model="remote", messages=[{"role": "user", "content": CAPITAL}])
    assert "Paris" in (answer.choices[0].message.content or "")


def test_its_chat_completions_make_whole_conversations(remote: OpenAI) -> None:
    conversation = remote.conversations.create()
    first = remote.responses.create(
        model="remote", conversation=conversation.id, input="Write a bubble sort in Python", temperature=0
    )
    assert "def bubble_sort" in first.output_text
    events = list(
        remote.responses.create(
            model="remote", conversation=conversation.id, input="Now the same in Java", temperature=0, stream=True
        )
    )
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert "static" in last.response.output_text
    assert last.response.usage is not None
    assert last.response.usage.output_tokens > 0
    items = remote.conversations.items.list(conversation.id).data
    assert [getattr(item, "status", None) for item in items] == ["completed"] * 4


def test_it_says_the_same_as_an_engine_of_ours(remote: OpenAI, client: OpenAI) -> None:
    ours = client.responses.create(model="tiny-chat", input=CAPITAL, temperature=0)
    theirs = remote.responses.create(model="remote", input=CAPITAL, temperature=0)
    assert theirs.output_text == ours.output_text
    assert ours.usage is not None
    assert theirs.usage is not None
    assert theirs.usage.total_tokens == ours.usage.total_tokens


def test_its_refusals_come_through_in_openais_form(remote: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        remote.responses.create(model="remote", input="long " * 5000)
    assert refusal.value.code == "context_length_exceeded"


def test_it_stands_in_for_a_model_that_nobody_serves(remote: OpenAI) -> None:
    messages = [{"role": "user", "content": CAPITAL}]
    answer = remote.chat.completions.with_raw_response.create(model="gone", messages=messages)  # type: ignore[arg-type]
    assert answer.headers["x-fairlead-served-by"] == "remote"
    assert "Paris" in (answer.parse().choices[0].message.content or "")
    stored = remote.responses.with_raw_response.create(model="gone", input=CAPITAL)
    assert stored.headers["x-fairlead-served-by"] == "remote"
    assert "Paris" in stored.parse().output_text
