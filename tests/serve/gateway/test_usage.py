"""Tokens are counted from what the engine tells, and nothing that only the gateway asked for reaches the client."""

import pytest

from fairlead_serve.gateway.usage import UsageMeter

TEXT = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
DONE = b"data: [DONE]\n\n"


def tokens(meter: UsageMeter) -> int:
    return meter.tokens(prompt_bytes=400, whole=True)


def test_the_usage_that_the_client_asked_for_is_counted_and_passed_on() -> None:
    meter = UsageMeter()
    assert meter.stream(TEXT + USAGE + DONE) == TEXT + USAGE + DONE
    assert tokens(meter) == 5


def test_the_usage_that_only_the_gateway_asked_for_is_counted_and_dropped() -> None:
    meter = UsageMeter(asked=True)
    assert meter.stream(TEXT + USAGE + DONE) == TEXT + DONE
    assert meter.stream(USAGE) == b""
    assert tokens(meter) == 5


def test_usage_beside_a_choice_is_never_dropped() -> None:
    last = b'data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}\n\n'
    assert UsageMeter(asked=True).stream(last) == last


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b'{"usage":{"prompt_tokens":4,"total_tokens":4}}', 4),
        (b'{"usage":{"input_tokens":4,"output_tokens":2}}', 6),
        (b'{"usage":null}', 0),
        (b'{"usage":"none"}', 0),
        (b"no JSON", 0),
    ],
)
def test_whole_answers_of_every_dialect_are_counted(body: bytes, count: int) -> None:
    meter = UsageMeter()
    meter.whole(body)
    assert tokens(meter) == count


def test_streams_of_messages_and_responses_are_counted() -> None:
    anthropic = UsageMeter()
    anthropic.stream(b'event: message_start\ndata: {"message":{"usage":{"input_tokens":7,"output_tokens":0}}}\n\n')
    anthropic.stream(b'event: message_delta\ndata: {"usage":{"output_tokens":3}}\n\n')
    assert tokens(anthropic) == 10
    responses = UsageMeter()
    responses.stream(b'data: {"response":{"usage":{"input_tokens":7,"output_tokens":3,"total_tokens":10}}}\n\n')
    assert tokens(responses) == 10


def test_a_text_that_speaks_of_tokens_is_left_alone() -> None:
    said = b'data: {"choices":[{"delta":{"content":"{\\"total_tokens\\": 9}"}}]}\n\n'
    meter = UsageMeter(asked=True)
    assert meter.stream(said) == said
    assert tokens(meter) == 0


def test_who_leaves_before_the_usage_pays_for_what_was_said() -> None:
    meter = UsageMeter(asked=True)
    meter.stream(TEXT * 3)
    assert meter.tokens(prompt_bytes=400, whole=False) == 103
