"""What is known of a request before it is passed on."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_serve.asgi import Message, Receive, Scope
from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.inbound import ClientGone, Inbound, parse_fields, read_inbound

JSON = (b"content-type", b"application/json")


def receiving(*parts: bytes, gone: bool = False) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if gone:
        messages.append({"type": "http.disconnect"})
    else:
        messages[-1]["more_body"] = False
    turn = iter(messages)

    async def receive() -> Message:
        return next(turn)

    return receive


def scope(*headers: tuple[bytes, bytes]) -> Scope:
    return {"type": "http", "path": "/v1/chat/completions", "headers": list(headers)}


async def read(*parts: bytes, headers: tuple[tuple[bytes, bytes], ...] = (JSON,), limit: int = 1000) -> Inbound:
    return await read_inbound(scope(*headers), receiving(*parts), limit=limit, seconds=10)


async def test_the_body_is_kept_byte_for_byte() -> None:
    body = b' {"model" : "m", "stream":true, "x": 1e400, "x": 2}\n'
    inbound = await read(body[:7], body[7:30], body[30:])
    assert (inbound.body, inbound.model, inbound.stream) == (body, "m", True)
    assert inbound.path == "/v1/chat/completions"


async def test_of_a_model_named_twice_the_last_counts_as_it_does_for_python() -> None:
    assert (await read(b'{"model": "a", "model": "b"}')).model == "b"


@pytest.mark.parametrize("body", [b"{}", b'{"model": null, "stream": null}'])
async def test_what_is_not_said_is_not_known(body: bytes) -> None:
    inbound = await read(body)
    assert (inbound.model, inbound.stream) == (None, False)


async def test_credentials_stay_at_the_gateway() -> None:
    given = [
        JSON,
        (b"authorization", b"Bearer flk-secret"),
        (b"cookie", b"secret"),
        (b"x-api-key", b"secret"),
        (b"x-fairlead-internal-token", b"guess"),
        (b"host", b"gateway"),
        (b"content-length", b"2"),
        (b"traceparent", b"00-1-2-3"),
        (b"accept", b"*/*"),
    ]
    inbound = await read(b"{}", headers=tuple(given))
    assert inbound.headers == [JSON, (b"traceparent", b"00-1-2-3"), (b"accept", b"*/*")]


async def test_a_body_without_a_type_is_passed_on_as_the_json_that_it_is() -> None:
    assert (await read(b"{}", headers=())).headers == [JSON]


@pytest.mark.parametrize("kind", [b"application/json; charset=utf-8", b"APPLICATION/JSON", b"application/problem+json"])
async def test_json_may_be_named_in_any_way(kind: bytes) -> None:
    assert (await read(b'{"model": "m"}', headers=((b"content-type", kind),))).model == "m"


@pytest.mark.parametrize("kind", [b"text/plain", b"application/x-www-form-urlencoded", b"x" * 5000])
async def test_anything_but_json_is_415(kind: bytes) -> None:
    with pytest.raises(ApiError) as refusal:
        await read(b"{}", headers=((b"content-type", kind),))
    assert (refusal.value.status, refusal.value.code) == (415, "unsupported_media_type")
    assert len(refusal.value.message) < 200


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    async def receive() -> Message:
        pytest.fail("the body was read")

    with pytest.raises(ApiError) as refusal:
        await read_inbound(scope((b"content-length", b"1001")), receive, limit=1000, seconds=10)
    assert (refusal.value.status, refusal.value.code) == (413, "request_too_large")


async def test_an_undeclared_length_over_the_limit_is_refused_as_soon_as_it_is_known() -> None:
    with pytest.raises(ApiError) as refusal:
        await read_inbound(scope(), receiving(b"x" * 600, b"x" * 401, gone=True), limit=1000, seconds=10)
    assert refusal.value.status == 413


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    assert len((await read(b'{"model":"m"}'.ljust(1000))).body) == 1000


async def test_a_client_that_leaves_before_its_body_is_whole_is_gone() -> None:
    with pytest.raises(ClientGone):
        await read_inbound(scope(JSON), receiving(b'{"mod', gone=True), limit=1000, seconds=10)


async def test_a_body_that_does_not_come_is_408() -> None:
    with pytest.raises(ApiError) as refusal:
        await read_inbound(scope(JSON), asyncio.Event().wait, limit=1000, seconds=0.01)  # type: ignore[arg-type]
    assert refusal.value.status == 408


@pytest.mark.parametrize(
    ("body", "message", "param"),
    {
        "a wrong model": (b'{"model": 5}', "the field 'model' is wrong: expected a string, got a number", "model"),
        "a wrong stream": (
            b'{"stream": "yes"}',
            "the field 'stream' is wrong: expected true or false, got a string",
            "stream",
        ),
        "a list": (b"[]", "the request body is wrong: expected an object, got a list", None),
    }.values(),
)
def test_a_wrong_type_is_said_in_plain_words(body: bytes, message: str, param: str | None) -> None:
    with pytest.raises(ApiError) as refusal:
        parse_fields(body)
    assert (refusal.value.status, refusal.value.message, refusal.value.param) == (400, message, param)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"model": "m"} x',
        b"\xef\xbb\xbf{}",
        b'{"model": "\xff"}',
        b'{"model": "\\ud800"}',
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"model=m",
        b'{"x": NaN}',
    ],
)
def test_what_is_no_json_is_said_to_be_none(body: bytes) -> None:
    with pytest.raises(ApiError) as refusal:
        parse_fields(body)
    assert (refusal.value.status, refusal.value.code) == (400, "invalid_json")
    assert len(refusal.value.message) < 200


def test_a_model_s_name_of_any_length_is_bounded() -> None:
    with pytest.raises(ApiError) as refusal:
        parse_fields(json.dumps({"model": "x" * 10**6}).encode())
    assert len(refusal.value.message) < 200


async def test_another_model_s_name_leaves_every_other_byte_of_the_values_alone() -> None:
    inbound = await read('{"model": "m", "n": 12345678901234567890123, "f": 1.10, "t": "\\u00e9é", "z": null}'.encode())
    assert inbound.with_model("other") == (
        '{"model":"other","n":12345678901234567890123,"f":1.10,"t":"\\u00e9é","z":null}'.encode()
    )


async def test_a_model_s_name_is_added_where_there_is_none() -> None:
    assert json.loads((await read(b'{"a": 1}')).with_model("other")) == {"a": 1, "model": "other"}


async def test_a_body_whose_names_are_no_text_is_refused_where_it_would_be_rewritten() -> None:
    inbound = await read(b'{"\xff": 1}')
    with pytest.raises(ApiError) as refusal:
        inbound.with_model("other")
    assert refusal.value.code == "invalid_json"


async def test_the_model_of_a_form_is_known_and_replaced() -> None:
    kind = (b"content-type", b"multipart/form-data; boundary=Zz")
    body = b'--Zz\r\ncontent-disposition: form-data; name="model"\r\n\r\nwhisper\r\n--Zz--\r\n'
    inbound = await read(body, headers=(kind,))
    assert (inbound.model, inbound.stream, inbound.body, inbound.headers) == ("whisper", False, body, [kind])
    assert inbound.with_model("large") == body.replace(b"whisper", b"large")


_documents = st.dictionaries(st.text(max_size=5) | st.sampled_from(["model", "stream"]), st.integers() | st.text())


@given(st.binary(max_size=60) | _documents.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_parsed_or_refused(body: bytes) -> None:
    statuses: list[int] = []
    try:
        fields: Any = parse_fields(body)
        rewritten = Inbound("/", [], body, fields.model, stream=False).with_model("other")
    except ApiError as error:
        statuses.append(error.status)
    else:
        # Values that are skipped are not looked at: they may hold what is no text.
        assert json.loads(rewritten.decode("utf-8", "replace"))["model"] == "other"
    assert statuses in ([], [400])
