"""Greedy answers of the whole stack are those of plain vLLM on the same weights, to the letter."""

from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Stack

pytestmark = pytest.mark.engine

PROMPTS = [
    "Hello",
    "What is the capital of France?",
    "Write a bubble sort in Python",
    "写一个冒泡排序",
    "Tell me a long story",
    "What do you think of quantum chromodynamics?",
]


def chat(url: str, prompt: str, **more: Any) -> dict[str, Any]:
    body = {"model": "tiny-chat", "messages": [{"role": "user", "content": prompt}], "temperature": 0, **more}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


@pytest.mark.parametrize("prompt", PROMPTS)
def test_text_usage_and_finish_reason_equal_plain_vllm(stack: Stack, plain_vllm: str, prompt: str) -> None:
    ours, theirs = chat(stack.url, prompt), chat(plain_vllm, prompt)
    assert ours["choices"][0]["message"] == theirs["choices"][0]["message"]
    assert ours["choices"][0]["finish_reason"] == theirs["choices"][0]["finish_reason"]
    assert ours["usage"] == theirs["usage"]


def test_a_stream_is_event_for_event_that_of_plain_vllm(stack: Stack, plain_vllm: str) -> None:
    def events(url: str) -> list[str]:
        body = {
            "model": "tiny-chat",
            "messages": [{"role": "user", "content": PROMPTS[1]}],
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=120) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            return [line for line in answer.iter_lines() if line]

    ours, theirs = events(stack.url), events(plain_vllm)
    assert len(ours) == len(theirs)
    assert ours[-1] == theirs[-1] == "data: [DONE]"
    assert [_timeless(line) for line in ours] == [_timeless(line) for line in theirs]


def _timeless(line: str) -> str:
    """The event without what differs from request to request: its id and time."""
    return ",".join(part for part in line.split(",") if '"id":' not in part and '"created":' not in part)
