"""Whatever a body holds, a real engine behind the gateway answers it with 4xx in OpenAI's form, never 5xx."""

import json
from typing import Any

import httpx
import pytest

from fairlead_serve.gateway.routes.inference import PASSED_ON
from tests.e2e.conftest import Stack

pytestmark = pytest.mark.engine

MESSAGES = [{"role": "user", "content": "Hello"}]
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 2},
    "/v1/completions": {"prompt": "Hello", "max_tokens": 2},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 2},
    "/tokenize": {"prompt": "Hello"},
}
WRONG_VALUES: list[Any] = [None, -1, 0, 1e30, "x", "", True, [], {}, [[]], [{"a": {}}], "\u0000", "😀" * 100, 2**70]
FIELDS = [
    "messages",
    "prompt",
    "input",
    "max_tokens",
    "temperature",
    "top_p",
    "n",
    "stop",
    "seed",
    "logprobs",
    "stream",
]
FIELDS += ["top_logprobs", "response_format", "tools", "tool_choice", "stream_options", "logit_bias", "model", "tokens"]

RAW_BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"1",
    b'"text"',
    b"\xff\xfe",
    b"{" * 10_000,
    b'{"model": "tiny-chat"' + b" " * 1000,
    b'{"model": "tiny-chat", "messages": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"model": 7}',
    b'{"model": {"a": 1}}',
    b'{"model": "tiny-chat", "stream": "yes"}',
]


def is_openai_error(answer: httpx.Response) -> bool:
    error = answer.json()["error"]
    return set(error) == {"message", "type", "param", "code"} and (
        error["code"] is None or isinstance(error["code"], str)
    )


@pytest.mark.parametrize("path", [path for path, _ in PASSED_ON])
def test_bodies_that_are_not_what_a_route_wants_are_4xx(stack: Stack, path: str) -> None:
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        for body in RAW_BODIES:
            answer = client.post(path, content=body, headers={"content-type": "application/json"})
            assert 400 <= answer.status_code < 500, (body[:60], answer.status_code, answer.text[:300])
            assert is_openai_error(answer), answer.text[:300]
            assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", GOOD)
def test_fields_of_a_wrong_type_or_size_are_4xx_or_ignored_but_never_5xx(stack: Stack, path: str) -> None:
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        for field in FIELDS:
            for value in WRONG_VALUES:
                body = {"model": "tiny-chat", **GOOD[path], field: value}
                answer = client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
                assert answer.status_code < 500, (field, value, answer.text[:300])
                if answer.status_code >= 400:
                    assert is_openai_error(answer), (field, value, answer.text[:300])


def test_a_huge_body_is_413_and_the_next_request_is_served(stack: Stack) -> None:
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        body = json.dumps({"model": "tiny-chat", "messages": [{"role": "user", "content": "x" * 9_000_000}]})
        answer = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 413
        assert is_openai_error(answer)
        good = client.post("/v1/chat/completions", json={"model": "tiny-chat", **GOOD["/v1/chat/completions"]})
        assert good.status_code == 200
