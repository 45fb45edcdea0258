import json

import pytest

from bench import answers


def test_a_stream_has_one_event_a_token_and_ends_with_done() -> None:
    body = answers.stream_body(5)
    assert len(answers.events(5)) == 5
    assert answers.contents(body) == [answers.token(number) for number in range(5)]
    assert body.endswith(answers.DONE)


def test_an_event_is_as_large_as_vllms() -> None:
    assert 180 <= len(answers.events(10)[3]) <= 260


def test_the_last_token_says_why_the_stream_ends() -> None:
    last = answers.events(3)[-1].removesuffix(answers.DONE)
    assert json.loads(last[6:])["choices"][0]["finish_reason"] == "length"


def test_what_was_sent_is_what_has_to_arrive() -> None:
    assert answers.difference(answers.stream_body(8), 8) is None


def test_a_comment_between_events_changes_nothing() -> None:
    first, *rest = answers.events(4)
    assert answers.difference(first + b": keep-alive\n\n" + b"".join(rest), 4) is None


FIVE = answers.events(5)
DAMAGED = {
    "a lost token": b"".join((*FIVE[:2], *FIVE[3:])),
    "a repeated token": b"".join((*FIVE[:2], FIVE[1], *FIVE[2:])),
    "two tokens in the wrong order": b"".join((FIVE[1], FIVE[0], *FIVE[2:])),
    "a stream cut short": b"".join(FIVE[:3]),
    "a stream without its end": answers.stream_body(5).removesuffix(answers.DONE),
    "an error in the stream": b"".join(FIVE[:3]) + b'data: {"error":{"message":"no"}}\n\n' + answers.DONE,
    "half an event": answers.stream_body(5)[:-40],
    "no stream at all": b"Internal Server Error",
    "nothing": b"",
}


@pytest.mark.parametrize("body", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_stream_is_noticed(body: bytes) -> None:
    assert answers.difference(body, 5)


def test_a_request_says_how_many_tokens_it_wants() -> None:
    wanted = json.loads(answers.request_body(tokens=12, stream=True))
    assert (wanted["max_tokens"], wanted["stream"], wanted["model"]) == (12, True, answers.MODEL)
