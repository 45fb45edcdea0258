"""Server-sent events as bytes."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway import sse

EVENTS = b"".join(f'data: {{"text": "{text}"}}\n\n'.encode() for text in ("Grüße", "世界", "👍 ok")) + sse.DONE


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


@given(st.data(), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_split_of_a_stream_gives_the_same_bytes_in_whole_events(data: st.DataObject, line_end: bytes) -> None:
    stream = (b": comment\n\nid: 1\n" + EVENTS).replace(b"\n", line_end)
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=20))
    splitter = sse.Splitter()
    pieces = [whole for chunk in cut(stream, places) if (whole := splitter.feed(chunk))]
    tail = splitter.end()
    assert tail is not None
    joined = b"".join(pieces) + tail
    assert joined.rstrip(b"\r\n") == stream.rstrip(b"\r\n")
    for piece in pieces:
        assert piece.endswith((line_end * 2, line_end + line_end[:1]))
        piece.decode()  # no character is cut


def test_a_chunk_of_whole_events_is_handed_on_as_it_is() -> None:
    chunk = EVENTS
    assert sse.Splitter().feed(chunk) is chunk


def test_half_an_event_is_held_until_its_other_half_comes() -> None:
    splitter = sse.Splitter()
    assert splitter.feed(b'data: {"a"') == b""
    assert splitter.held == 10
    assert splitter.feed(b": 1}\n") == b""
    assert splitter.feed(b"\ndata: next") == b'data: {"a": 1}\n\n'
    assert splitter.held == 10


def test_the_latest_blank_line_counts_whatever_ends_its_lines() -> None:
    splitter = sse.Splitter()
    assert splitter.feed(b": ping\n\ndata: 1\r\n\r\ndata: 2") == b": ping\n\ndata: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("rest", "end"),
    {
        "nothing is left": (b"", b""),
        "only line breaks are left": (b"\n", b""),
        "an event without its blank line is made whole": (b"data: 1\n", b"data: 1\n\n\n"),
        "a last [DONE] needs no line break": (b"data: [DONE]", b"data: [DONE]\n\n"),
        "half a line is lost": (b'data: {"te', None),
        "half a second line is lost": (b"event: x\ndata: 1", None),
    }.values(),
    ids=repr,
)
def test_what_is_left_at_the_end_of_a_stream_is_whole_or_lost(rest: bytes, end: bytes | None) -> None:
    splitter = sse.Splitter()
    splitter.feed(b"data: 0\n\n" + rest)
    assert splitter.end() == end


@pytest.mark.parametrize(
    "error",
    [
        b'data: {"error": {"message": "m"}}\n\n',
        b'data:{"error":{"message":"m"}}\n\n',
        b'data: {"error": {"message": "m"}}\r\n\r\n',
        b'event: error\ndata: {"error": {"message": "m"}}\n\n',
        b'data: { "error" : {"message": "m"} }\n\n',
        b'data: {"id": "x", "choices": [], "error": {"message": "m"}}\n\n',
        b'data: {"error": "m"}\n\n',
        b'data: {"error":\ndata: {"message": "m"}}\n\n',
    ],
)
def test_an_error_event_is_found_wherever_it_stands(error: bytes) -> None:
    before = b'data: {"text": "a"}\n\n: comment\n\n'
    for start in (b"", before, before.replace(b"\n", b"\r\n")):
        found = sse.find_error(start + error + sse.DONE)
        assert found is not None
        assert found[0] == start
        payload = json.loads(found[1])["error"]
        assert (payload if isinstance(payload, str) else payload["message"]) == "m"


@pytest.mark.parametrize(
    "events",
    [
        b'data: {"choices": [{"delta": {"content": "{\\"error\\": 1}"}}]}\n\n',
        b'data: {"choices": [{"delta": {"content": "error"}}]}\n\n',
        b'data: {"choices": [{"finish_reason": "error"}]}\n\n',
        b'data: {"error": null, "choices": []}\n\n',
        b'data: {"response": {"error": {"message": "m"}}}\n\n',
        b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error"}}\n\n',
        b': {"error": 1}\n\n',
        b'data: {"error": nonsense\n\n',
        b'data: ["error"]\n\n',
        b'data: {"error": "\xff"}\n\n',
        sse.DONE,
    ],
)
def test_what_only_looks_like_an_error_is_none(events: bytes) -> None:
    assert sse.find_error(events) is None


@pytest.mark.parametrize("done", [sse.DONE, b"data: [DONE]\r\n\r\n", b"data:[DONE]\n\n", EVENTS])
def test_the_end_of_a_stream_is_known(done: bytes) -> None:
    assert sse.is_done(done)


def test_a_text_that_ends_in_done_is_not_the_end() -> None:
    assert not sse.is_done(b'data: {"text": "data: [DONE]"}\n\n')
    assert not sse.is_done(b"")


def test_a_failure_is_one_error_in_openai_s_form_and_one_done() -> None:
    error, done, nothing = sse.failure(ApiError(502, "gone: 世界", code="engine_lost")).split(sse.END)
    assert json.loads(error.removeprefix(b"data: ")) == {
        "error": {"message": "gone: 世界", "type": "server_error", "param": None, "code": "engine_lost"}
    }
    assert (done, nothing) == (b"data: [DONE]", b"")
