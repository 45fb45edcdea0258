"""Greedy answers of the whole stack are those of plain vLLM on the same weights, to the letter."""

import json
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


def test_a_stream_says_what_that_of_plain_vllm_says(stack: Stack, plain_vllm: str) -> None:
    """Event for event they need not be equal: vLLM puts several tokens into one when its own output is behind."""

    def parts(url: str) -> tuple[str, list[Any], Any, str]:
        body = {
            "model": "tiny-chat",
            "messages": [{"role": "user", "content": PROMPTS[2]}],
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=120) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
        events = [json.loads(line) for line in lines[:-1]]
        choices = [event["choices"][0] for event in events if event["choices"]]
        text = "".join(choice["delta"].get("content") or "" for choice in choices)
        reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
        return text, reasons, events[-1]["usage"], lines[-1]

    ours = parts(stack.url)
    assert ours == parts(plain_vllm)
    assert ours[1] == ["stop"]
    assert ours[3] == "[DONE]"
