"""Upstream errors in OpenAI's form."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_serve.gateway import translation
from tests.serve.gateway.upstream import vllm_error


def translate(status: int, document: Any, **options: Any) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return translation.api_error(status, body, model="model", **options)


def invalid(*lines: str, param: str | None) -> dict[str, Any]:
    """What vLLM 0.32 makes of pydantic's errors."""
    message = f"{len(lines)} validation error{'s' if len(lines) > 1 else ''}:\n" + "\n".join(f"  {x}" for x in lines)
    return vllm_error(message, 400, kind="Bad Request", param=param)


def test_a_vllm_error_keeps_its_message_and_gets_openai_s_type_and_code() -> None:
    error = translate(400, vllm_error("temperature must be non-negative, got -1.0.", 400, param="temperature"))
    assert error.status == 400
    assert error.envelope() == {
        "error": {
            "message": "temperature must be non-negative, got -1.0.",
            "type": "invalid_request_error",
            "param": "temperature",
            "code": None,
        }
    }


def test_a_prompt_that_is_too_long_has_openai_s_code_and_vllm_s_message() -> None:
    message = (
        "This model's maximum context length is 256 tokens. However, you requested 300 output tokens and your "
        "prompt contains 9 input tokens, for a total of 309 tokens. (parameter=max_tokens, value=300)"
    )
    error = translate(400, vllm_error(message, 400, param="max_tokens"))
    assert error.code == "context_length_exceeded"
    assert error.message.startswith("This model's maximum context length is 256 tokens.")
    assert "parameter=" not in error.message


@pytest.mark.parametrize(
    ("lines", "loc", "message", "param"),
    {
        "a wrong type": (
            ["{'type': 'list_type', 'loc': 'body.messages', 'msg': 'Input should be a valid list', 'input': 'Hello'}"],
            "body.messages",
            "the field 'messages' is wrong: input should be a valid list",
            "messages",
        ),
        "a missing field before a wrong one": (
            [
                "{'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required', 'input': '<dict of 1 items>'}",
                "{'type': 'string_type', 'loc': 'body.model', 'msg': 'Input should be a valid string', 'input': '3'}",
            ],
            "body.messages",
            "the field 'messages' is missing",
            "messages",
        ),
        "every alternative of a union": (
            [
                "{'type': 'string_type', 'loc': 'body.stop', 'msg': 'Input should be a valid string', 'input': '5'}",
                "{'type': 'list_type', 'loc': 'body.stop', 'msg': 'Input should be a valid list', 'input': '5'}",
            ],
            "body.stop",
            "the field 'stop' is wrong: input should be a valid string, or input should be a valid list",
            "stop",
        ),
        "the names of Python's types are nobody's business": (
            [
                "{'type': 'string_type', 'loc': 'body.messages.0.ChatCompletionDeveloperMessageParam.content', "
                "'msg': 'Input should be a valid string', 'input': '3'}",
                "{'type': 'iterable_type', 'loc': 'body.messages.0.ChatCompletionUserMessageParam.content', "
                "'msg': 'Input should be iterable', 'input': '3'}",
                "{'type': 'literal_error', 'loc': 'body.messages.0.ChatCompletionUserMessageParam.role', "
                "'msg': \"Input should be 'user'\", 'input': 'x', 'ctx': {'expected': \"'user'\"}}",
            ],
            "body.messages.0.ChatCompletionDeveloperMessageParam.content",
            "the field 'messages[0].content' is wrong: input should be a valid string, or input should be iterable",
            "messages[0].content",
        ),
        "quotes in the message": (
            [
                "{'type': 'literal_error', 'loc': 'body.response_format.type', "
                "'msg': \"Input should be 'text' or 'json_object'\", 'input': 'zzz'}"
            ],
            "body.response_format.type",
            "the field 'response_format.type' is wrong: input should be 'text' or 'json_object'",
            "response_format.type",
        ),
        "the whole body": (
            ["{'type': 'model_attributes_type', 'loc': 'body', 'msg': 'Input should be a valid dictionary'}"],
            "body",
            "the request body is wrong: input should be a valid dictionary",
            None,
        ),
        "a client that sends vLLM's own words": (
            [
                "{'type': 'list_type', 'loc': 'body.messages', 'msg': 'Input should be a valid list', "
                "'input': \"\\n  {'type': 'x', 'loc': 'body.evil', 'msg': 'evil'\"}"
            ],
            "body.messages",
            "the field 'messages' is wrong: input should be a valid list",
            "messages",
        ),
        "words that nobody foresaw": (
            ["something else"],
            "body",
            "the request body is not what this route takes",
            None,
        ),
    }.values(),
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_pydantic_s_errors_become_a_sentence(lines: list[str], loc: str, message: str, param: str | None) -> None:
    error = translate(400, invalid(*lines, param=loc))
    assert (error.message, error.param, error.type) == (message, param, "invalid_request_error")


def test_what_the_client_sent_is_not_in_the_message_of_a_wrong_field() -> None:
    line = (
        "{'type': 'float_parsing', 'loc': 'body.temperature', 'msg': 'Input should be a valid number', 'input': '%s'}"
    )
    assert "secret" not in translate(400, invalid(line % "secret", param="body.temperature")).message


@pytest.mark.parametrize(
    "document",
    [{"error": "x" * 10**6}, {"detail": "x" * 10**6}, vllm_error("x" * 10**6, 400), b"x" * 10**6, ["x" * 10**6]],
)
def test_no_message_is_longer_than_a_person_reads(document: Any) -> None:
    assert len(translate(400, document).message) < 1100


def test_a_param_of_any_length_is_cut() -> None:
    assert len(translate(400, vllm_error("m", 400, param="x" * 10**6)).param) <= 1000


def test_a_traceback_does_not_reach_the_client() -> None:
    message = 'it failed\nTraceback (most recent call last):\n  File "engine.py", line 1, in run\nValueError: x'
    assert translate(500, vllm_error(message, 500)).message == "it failed"
    assert translate(500, message.encode()).message == "it failed"


@pytest.mark.parametrize("body", [b"", b"<html><body>502 Bad Gateway</body></html>", b"{}", b"null", b"[", b"\xff\xfe"])
def test_an_error_without_words_still_says_something(body: bytes) -> None:
    error = translate(502, body)
    assert error.status == 502
    assert error.message


def test_plain_text_is_taken_as_the_message() -> None:
    assert translate(404, b"404 page not found").message == "404 page not found"


@pytest.mark.parametrize("status", [429, 503])
def test_an_overloaded_engine_says_when_to_come_back(status: int) -> None:
    error = translate(status, vllm_error("queue is full", status))
    assert error.code == "engine_overloaded"
    assert error.headers == {"retry-after": "1"}


def test_an_upstream_s_own_retry_after_is_kept() -> None:
    assert translate(429, {"error": {"message": "slow"}}, retry_after=b"17").headers == {"retry-after": "17"}


def test_a_code_that_is_openai_s_already_is_kept() -> None:
    error = translate(
        429, {"error": {"message": "no money", "type": "insufficient_quota", "code": "insufficient_quota"}}
    )
    assert error.code == "insufficient_quota"


@pytest.mark.parametrize("code", [400, "400", "x" * 100, "with spaces", None, ["list"]])
def test_a_code_that_is_none_of_openai_s_is_dropped(code: Any) -> None:
    assert translate(400, {"error": {"message": "m", "code": code}}).code is None


def test_an_unknown_model_has_openai_s_code() -> None:
    document = vllm_error("The model `x` does not exist.", 404, kind="NotFoundError", param="model")
    assert translate(404, document).code == "model_not_found"


def test_refused_credentials_are_the_gateway_s_and_not_the_client_s() -> None:
    error = translate(401, {"error": {"message": "Incorrect API key provided: sk-secret", "code": "invalid_api_key"}})
    assert (error.status, error.code) == (502, "upstream_refused")
    assert "sk-secret" not in error.message


@pytest.mark.parametrize("status", [0, 199, 301, 304, 999])
def test_a_status_that_is_no_error_becomes_502(status: int) -> None:
    assert translate(status, b"").status == 502


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (vllm_error("too long", 400), 400),
        (vllm_error("dead", 500), 500),
        ({"error": {"message": "m", "code": "rate_limited"}}, 500),
        ({"error": {"message": "m", "code": 7}}, 500),
        ({"error": "plain"}, 500),
    ],
)
def test_the_status_of_an_error_event_is_its_code(payload: Any, status: int) -> None:
    assert translation.stream_error(json.dumps(payload).encode(), model="model").status == status


@pytest.mark.parametrize(
    ("status", "document", "wrong_task"),
    {
        "vLLM has no such route": (404, {"detail": "Not Found"}, True),
        "vLLM refuses the task": (400, vllm_error("The model does not support Chat Completions API", 400), True),
        "not implemented": (501, vllm_error("The model does not support Embeddings API", 501), True),
        "an unknown model": (404, vllm_error("The model `x` does not exist.", 404), False),
        "a wrong field": (400, vllm_error("`n` must be 1", 400), False),
        "an option that the model does not support": (400, vllm_error("does not support images", 400), False),
        "a crash": (500, vllm_error("does not support API", 500), False),
    }.values(),
)
def test_a_model_asked_for_what_it_is_not_for_is_known(status: int, document: Any, wrong_task: bool) -> None:
    assert translation.is_wrong_task(status, json.dumps(document).encode()) is wrong_task


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "detail", "param", "code", "type"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(st.integers(100, 599), st.binary(max_size=50) | _json.map(lambda value: json.dumps(value).encode()))
def test_any_body_becomes_an_error_in_openai_s_form(status: int, body: bytes) -> None:
    for error in (
        translation.api_error(status, body, model="model"),
        translation.stream_error(body, model="model"),
    ):
        assert 400 <= error.status < 600
        assert error.message
        assert isinstance(error.code, str | None)
        assert isinstance(error.param, str | None)
    translation.is_wrong_task(status, body)
