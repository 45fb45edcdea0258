"""The byte path, from a real client through the real server to a synthetic upstream."""

import asyncio
import contextlib
import itertools
import json
import time
from typing import Any, cast

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_serve.gateway.line import LineProtocol
from fairlead_serve.gateway.upstream import Answer as UpstreamAnswer
from fairlead_serve.gateway.watching import Silence
from tests.serve.gateway.client import Answer
from tests.serve.gateway.upstream import (
    DONE,
    END_OF_CHUNKS,
    STREAM_HEAD,
    Exchange,
    Request,
    Script,
    chunk,
    event,
    vllm_error,
)
from tests.serve.gateway.world import CHAT, Running, World, backend, until

REQUEST = {"model": "model", "messages": [{"role": "user", "content": "hi"}], "stream": True}
EVENTS = [event(text) for text in ("Grüße", " 世界", " 👍")]
KEEP_ALIVE = b": keep-alive\n\n"
# Long against what a test takes, short against its patience.
SOON = 0.02


async def streaming(exchange: Exchange, _: Request) -> None:
    await exchange.stream(*EVENTS)


async def echoing(exchange: Exchange, request: Request) -> None:
    await exchange.answer({"path": request.path, "body": request.json, "headers": request.headers})


async def resetting(exchange: Exchange, _: Request) -> None:
    exchange.reset()


def erring(status: int, body: Any, *, headers: dict[str, str] | None = None) -> Script:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.answer(body, status=status, headers=headers)

    return script


class Gate:
    """A script that stands still, before its answer or in the middle of it, until `open`; notes who left."""

    def __init__(self, *before: bytes) -> None:
        self._before = before
        self.open = asyncio.Event()
        self.reached = 0
        self.left = 0

    async def __call__(self, exchange: Exchange, _: Request) -> None:
        if self._before:
            await exchange.begin_stream()
            await exchange.chunks(*self._before)
        self.reached += 1
        opened = asyncio.create_task(self.open.wait())
        gone = asyncio.create_task(exchange.gone())
        await asyncio.wait({opened, gone}, return_when="FIRST_COMPLETED")
        if gone.done():
            opened.cancel()
            self.left += 1
            return
        gone.cancel()
        await asyncio.wait({gone})
        if self._before:
            await exchange.chunks(DONE)
            await exchange.send(END_OF_CHUNKS)
        else:
            await exchange.answer({"ok": True})


def failed_stream(body: bytes, *before: bytes) -> Any:
    """The error of a stream that began with `before`: one error event and one [DONE] must be all that follows."""
    start = b"".join(before)
    assert body.startswith(start)
    error, done, end = body[len(start) :].split(b"\n\n")
    assert (done, end) == (b"data: [DONE]", b"")
    document = json.loads(error.removeprefix(b"data: "))
    return Answer(200, [], json.dumps(document).encode()).error


# --- what passes through --------------------------------------------------------------------------------


async def test_a_stream_arrives_byte_for_byte(world: World) -> None:
    running = await world.gateway(await world.upstream(streaming))
    answer = await world.post(running, REQUEST)
    assert answer.status == 200
    assert answer.body == b"".join(EVENTS) + DONE


async def test_the_headers_of_a_stream_are_exactly_these(world: World) -> None:
    running = await world.gateway(await world.upstream(streaming))
    headers = dict((await world.post(running, REQUEST, headers={"x-request-id": "mine"})).headers)
    assert headers.pop("date")
    assert headers.pop("openai-processing-ms").isdigit()
    assert headers == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
        "x-request-id": "mine",
        "transfer-encoding": "chunked",
    }


async def test_the_headers_of_a_whole_answer_are_exactly_these(world: World) -> None:
    script = erring(200, b'{"a":1}', headers={"server": "uvicorn", "x-request-id": "theirs", "set-cookie": "a=b"})
    running = await world.gateway(await world.upstream(script))
    headers = dict((await world.post(running, REQUEST, headers={"x-request-id": "mine"})).headers)
    assert headers.pop("date")
    assert headers.pop("openai-processing-ms").isdigit()
    assert headers == {"content-type": "application/json", "content-length": "7", "x-request-id": "mine"}


async def test_the_body_arrives_at_the_upstream_byte_for_byte(world: World) -> None:
    upstream = await world.upstream(streaming)
    running = await world.gateway(upstream)
    body = b' {"model":"model", "x": 1e400, "y": "\\u00e9\xc3\xa9", "x": 2 }'
    await world.post(running, body)
    assert upstream.requests[0].body == body
    assert (upstream.requests[0].method, upstream.requests[0].path) == ("POST", CHAT)


async def test_an_answer_that_is_no_json_keeps_its_type(world: World) -> None:
    running = await world.gateway(await world.upstream(erring(200, b"WEBVTT", headers={"content-type": "text/vtt"})))
    answer = await world.post(running, REQUEST)
    assert (answer.header("content-type"), answer.body) == ("text/vtt", b"WEBVTT")


async def test_chunks_are_sent_on_as_they_come(world: World) -> None:
    steps = [asyncio.Event() for _ in EVENTS]

    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        for one, step in zip(EVENTS, steps, strict=True):
            await exchange.chunks(one)
            await step.wait()
        await exchange.chunks(DONE)
        await exchange.send(END_OF_CHUNKS)

    client = await world.client(await world.gateway(await world.upstream(script)))
    await client.request("POST", CHAT, REQUEST)
    await client.head()
    for one, step in zip(EVENTS, steps, strict=True):
        assert await client.piece() == one  # the next one is not sent before this one was seen
        step.set()
    assert await client.rest() == DONE


STREAM = b"".join(EVENTS) + b": comment\n\n" + DONE


@given(chunks=st.lists(st.integers(0, len(STREAM)), max_size=6), writes=st.lists(st.integers(0, 1000), max_size=10))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_a_stream_cut_anywhere_arrives_in_whole_events(
    world: World, chunks: list[int], writes: list[int]
) -> None:
    bounds = [0, *sorted(chunks), len(STREAM)]
    framed = b"".join(chunk(STREAM[a:b]) for a, b in itertools.pairwise(bounds) if b > a)
    wire = STREAM_HEAD + framed + END_OF_CHUNKS
    places = [0, *sorted(place % len(wire) for place in writes), len(wire)]

    async def script(exchange: Exchange, _: Request) -> None:
        for a, b in itertools.pairwise(places):
            await exchange.send(wire[a:b])
            await asyncio.sleep(0)

    upstream = await world.upstream(script)
    running = await world.gateway(upstream)
    client = await world.client(running)
    await client.request("POST", CHAT, REQUEST)
    await client.head()
    pieces = []
    while (piece := await client.piece()) is not None:
        assert piece.endswith(b"\n\n")
        piece.decode()
        pieces.append(piece)
    assert b"".join(pieces) == STREAM


async def test_sixty_four_streams_at_once_are_not_mixed_up(world: World) -> None:
    everybody = asyncio.Barrier(64)

    async def script(exchange: Exchange, request: Request) -> None:
        await exchange.begin_stream()
        await everybody.wait()
        for number in range(50):
            await exchange.chunks(event(f"{request.json['user']}:{number}"))
            await asyncio.sleep(0)
        await exchange.chunks(DONE)
        await exchange.send(END_OF_CHUNKS)

    running = await world.gateway(await world.upstream(script))

    async def one(number: int) -> None:
        answer = await world.post(running, REQUEST | {"user": f"u{number}"})
        assert answer.body == b"".join(event(f"u{number}:{part}") for part in range(50)) + DONE

    await asyncio.gather(*map(one, range(64)))
    assert running.backend.admission.ongoing == 0


async def test_the_name_that_the_upstream_knows_is_put_in(world: World) -> None:
    upstream = await world.upstream(echoing)
    running = await world.gateway(backend(upstream.url, upstream_model="qwen2.5:7b", aliases=("nick",)))
    for sent in ({"model": "model", "n": 1}, {"model": "nick", "n": 1}, {"n": 1}):
        assert (await world.post(running, sent)).json["body"] == {"model": "qwen2.5:7b", "n": 1}


async def test_the_name_that_the_upstream_knows_is_put_into_forms_too(world: World) -> None:
    upstream = await world.upstream(erring(200, {}))
    running = await world.gateway(backend(upstream.url, upstream_model="whisper-1"))
    body = b'--Zz\r\ncontent-disposition: form-data; name="model"\r\n\r\nmodel\r\n--Zz--\r\n'
    kind = "multipart/form-data; boundary=Zz"
    answer = await world.post(running, body, path="/v1/audio/transcriptions", headers={"content-type": kind})
    assert answer.status == 200
    assert upstream.requests[0].body == body.replace(b"\r\nmodel\r\n", b"\r\nwhisper-1\r\n")
    assert upstream.requests[0].headers["content-type"] == kind


async def test_credentials_go_where_they_belong(world: World) -> None:
    hosted, own = await world.upstream(echoing), await world.upstream(echoing)
    running = await world.gateway(
        backend(hosted.url, name="hosted", api_key_env="KEY"),
        backend(own.url + "/engines/own", name="own", kind="engine"),
        environment={"KEY": "sk-upstream\n"},
    )
    sent = {"authorization": "Bearer flk-client", "x-fairlead-internal-token": "guess", "cookie": "c", "x-api-key": "k"}
    at_hosted = (await world.post(running, {"model": "hosted"}, headers=sent)).json["headers"]
    at_own = (await world.post(running, {"model": "own"}, headers=sent)).json["headers"]
    assert at_hosted["authorization"] == "Bearer sk-upstream"
    assert "x-fairlead-internal-token" not in at_hosted
    assert at_own["x-fairlead-internal-token"] == "internal"
    assert "authorization" not in at_own
    for headers in (at_hosted, at_own):
        assert not {"cookie", "x-api-key"} & set(headers)


async def test_the_trace_of_a_request_goes_on(world: World) -> None:
    running = await world.gateway(await world.upstream(echoing))
    headers = {"traceparent": "00-1-2-01", "tracestate": "a=b", "x-session-id": "s"}
    assert headers.items() <= (await world.post(running, {}, headers=headers)).json["headers"].items()


async def test_an_engine_is_reached_below_its_path(world: World) -> None:
    upstream = await world.upstream(echoing)
    running = await world.gateway(backend(upstream.url + "/engines/m", kind="engine"))
    assert (await world.post(running, {}, path="/v1/embeddings")).json["path"] == "/engines/m/v1/embeddings"


# --- silence --------------------------------------------------------------------------------------------


async def test_comments_fill_a_silence_before_the_first_event_and_between_events(world: World) -> None:
    steps = [asyncio.Event() for _ in range(2)]
    half = len(EVENTS[1]) // 2

    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        await steps[0].wait()
        await exchange.chunks(EVENTS[0], EVENTS[1][:half])
        await steps[1].wait()
        await exchange.chunks(EVENTS[1][half:], DONE)
        await exchange.send(END_OF_CHUNKS)

    running = await world.gateway(await world.upstream(script), times={"keep_alive_comment_seconds": SOON})
    client = await world.client(running)
    await client.request("POST", CHAT, REQUEST)
    assert (await client.head()).status == 200
    for step, expected in zip(steps, (EVENTS[0], EVENTS[1]), strict=True):
        for _ in range(3):
            assert await client.piece() == KEEP_ALIVE
        step.set()
        while (piece := await client.piece() or b"") == KEEP_ALIVE:
            pass
        assert piece.startswith(expected)
    rest = (piece + await client.rest()).replace(KEEP_ALIVE, b"")
    assert rest == EVENTS[1] + DONE


async def test_half_of_the_framing_is_no_silence(world: World) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        wire = STREAM_HEAD + b"".join(map(chunk, [*EVENTS, DONE])) + END_OF_CHUNKS
        for place in range(len(wire)):
            await exchange.send(wire[place : place + 1])
            await asyncio.sleep(0)

    running = await world.gateway(await world.upstream(script))
    assert (await world.post(running, REQUEST)).body == b"".join(EVENTS) + DONE


@pytest.mark.parametrize("busy", [True, False])
async def test_a_busy_stream_has_no_comments(busy: bool) -> None:
    pokes = 0

    class Poked:
        def poke(self) -> None:
            nonlocal pokes
            pokes += 1

    end = time.perf_counter() + 0.5
    with Silence(cast(UpstreamAnswer, Poked()), 0.2) as silence:
        while time.perf_counter() < end:
            if busy:
                silence.broken()
            await asyncio.sleep(0)
    assert pokes == (0 if busy else 2)


async def test_every_chunk_breaks_the_silence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = 0

    def count(_: Silence) -> None:
        nonlocal broken
        broken += 1

    monkeypatch.setattr(Silence, "broken", count)
    client = await world.client(await world.gateway(await world.upstream(streaming)))
    await client.request("POST", CHAT, REQUEST)
    await client.head()
    pieces = 0
    while await client.piece() is not None:
        pieces += 1
    assert broken == pieces > 0


# --- errors before the first byte -----------------------------------------------------------------------


async def test_an_error_as_the_first_event_is_an_honest_status(world: World) -> None:
    payload = json.dumps(vllm_error("This model's maximum context length is 8 tokens.", 400, param="messages"))

    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.stream(b"data: " + payload.encode() + b"\n\n")

    answer = await world.post(await world.gateway(await world.upstream(script)), REQUEST)
    assert answer.status == 400
    assert answer.error["code"] == "context_length_exceeded"
    assert answer.header("content-type") == "application/json"


@pytest.mark.parametrize("status", [400, 404, 408, 409, 422, 429, 500, 501, 503])
async def test_an_upstream_s_error_keeps_its_status_and_gets_openai_s_form(world: World, status: int) -> None:
    running = await world.gateway(await world.upstream(erring(status, vllm_error("why", status))))
    answer = await world.post(running, REQUEST)
    assert (answer.status, answer.error["message"]) == (status, "why")
    assert bool(answer.header("retry-after")) is (status in {429, 503})


async def test_an_upstream_s_own_word_on_when_to_come_back_is_passed_on(world: World) -> None:
    running = await world.gateway(await world.upstream(erring(429, vllm_error("x", 429), headers={"retry-after": "9"})))
    assert (await world.post(running, REQUEST)).header("retry-after") == "9"


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank", "/v1/score"])
async def test_a_route_that_the_engine_does_not_have_names_the_model_s_tasks(world: World, path: str) -> None:
    upstream = await world.upstream(erring(404, {"detail": "Not Found"}), tasks=["generate"])
    running = await world.gateway(backend(upstream.url, kind="engine"))
    await until(lambda: running.backend.tasks != ())
    answer = await world.post(running, REQUEST, path=path)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_supported", "model")
    assert answer.error["message"] == f"the model model does not support {path}; it does: generate"


async def test_an_answer_over_the_limit_is_an_error_and_not_asked_for_again(world: World) -> None:
    upstream = await world.upstream(erring(200, b"x" * 2000))
    running = await world.gateway(backend(upstream.url, kind="engine"), sizes={"answer_bytes": 1000})
    answer = await world.post(running, REQUEST)
    assert (answer.status, answer.error["code"]) == (502, "answer_too_large")
    assert len(upstream.requests) == 1
    assert running.backend.ready


async def test_an_event_over_the_limit_ends_the_stream(world: World) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        await exchange.chunks(EVENTS[0])
        with contextlib.suppress(ConnectionError):
            while True:
                await exchange.chunks(b"data: " + b"x" * 1000)

    upstream = await world.upstream(script)
    running = await world.gateway(upstream, sizes={"answer_bytes": 50_000})
    answer = await world.post(running, REQUEST)
    assert failed_stream(answer.body, EVENTS[0])["code"] == "answer_too_large"
    await until(lambda: upstream.open == 0)


# --- errors after the first byte ------------------------------------------------------------------------

_ERROR = b"data: " + json.dumps(vllm_error("EngineCore died", 500, kind="InternalServerError")).encode() + b"\n\n"


@pytest.mark.parametrize(
    "chunks",
    {
        "alone": (EVENTS[0], _ERROR, DONE),
        "in one chunk with the event before": (EVENTS[0] + _ERROR, DONE),
        "in one chunk with the end": (EVENTS[0], _ERROR + DONE),
        "in one chunk with everything": (EVENTS[0] + _ERROR + DONE,),
        "cut in half": (EVENTS[0], _ERROR[:20], _ERROR[20:], DONE),
        "followed by more": (EVENTS[0], _ERROR + EVENTS[1], EVENTS[2], DONE),
        "without an end": (EVENTS[0], _ERROR),
        "with other line ends": (EVENTS[0], _ERROR.replace(b"\n", b"\r\n"), DONE),
    }.values(),
)
async def test_an_error_event_ends_the_stream_in_openai_s_form(world: World, chunks: tuple[bytes, ...]) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        with contextlib.suppress(ConnectionError):  # the gateway has heard enough after the error
            await exchange.chunks(*chunks)
            await exchange.send(END_OF_CHUNKS)

    answer = await world.post(await world.gateway(await world.upstream(script)), REQUEST)
    error = failed_stream(answer.body, EVENTS[0])
    assert (error["message"], error["type"]) == ("EngineCore died", "server_error")


async def test_a_stream_of_an_engine_that_died_ends_as_lost_and_the_engine_is_asked_for_its_health(
    world: World,
) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        died = json.dumps(vllm_error(_ENGINE_DIED, 500)).encode()
        with contextlib.suppress(ConnectionError):
            await exchange.chunks(EVENTS[0], b"data: " + died + b"\n\n", DONE)

    upstream = await world.upstream(script)
    running = await world.gateway(backend(upstream.url, kind="engine"), times={"probe_seconds": 3600})
    upstream.healthy = False
    answer = await world.post(running, REQUEST)
    assert failed_stream(answer.body, EVENTS[0])["code"] == "engine_lost"
    await until(lambda: not running.backend.ready)


@pytest.mark.parametrize(
    "half",
    {
        "between events": b"",
        "in an event": chunk(EVENTS[1][:-9]),
        "in a character": chunk(EVENTS[1][: EVENTS[1].index("世".encode()) + 1]),
        "in the framing": b"1",
        "in a chunk": chunk(EVENTS[1])[:-9],
    }.values(),
)
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_upstream_that_dies_in_mid_stream_ends_it_with_an_error(world: World, half: bytes, how: str) -> None:
    seen = asyncio.Event()

    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        await exchange.chunks(EVENTS[0])
        await seen.wait()
        await exchange.send(half)
        if how == "close":
            await exchange.close()
        else:
            exchange.reset()

    running = await world.gateway(await world.upstream(script))
    client = await world.client(running)
    await client.request("POST", CHAT, REQUEST)
    await client.head()
    first = await client.piece()
    seen.set()
    error = failed_stream((first or b"") + await client.rest(), EVENTS[0])
    assert (error["code"], error["type"]) == ("engine_lost", "server_error")
    # The client's connection is as good as before.
    assert (await client.get("/livez")).status == 200


async def test_a_stream_that_breaks_after_its_done_is_done(world: World) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        await exchange.chunks(EVENTS[0], DONE)
        await exchange.close()

    answer = await world.post(await world.gateway(await world.upstream(script)), REQUEST)
    assert answer.body == EVENTS[0] + DONE


async def test_a_stream_without_a_length_ends_with_its_connection(world: World) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.send(b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        await exchange.send(b"".join(EVENTS) + DONE)
        await exchange.close()

    answer = await world.post(await world.gateway(await world.upstream(script)), REQUEST)
    assert answer.body == b"".join(EVENTS) + DONE


async def test_a_stream_without_a_length_that_ends_in_mid_event_has_failed(world: World) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.send(b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        await exchange.send(EVENTS[0] + EVENTS[1][:-9])
        await exchange.close()

    answer = await world.post(await world.gateway(await world.upstream(script)), REQUEST)
    assert failed_stream(answer.body, EVENTS[0])["code"] == "engine_lost"


async def test_a_last_event_without_its_blank_line_is_made_whole(world: World) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        await exchange.chunks(EVENTS[0], DONE.rstrip())
        await exchange.send(END_OF_CHUNKS)

    answer = await world.post(await world.gateway(await world.upstream(script)), REQUEST)
    assert answer.body == EVENTS[0] + DONE


# --- time -----------------------------------------------------------------------------------------------


async def test_a_request_that_takes_too_long_is_504(world: World) -> None:
    gate = Gate()
    upstream = await world.upstream(gate)
    running = await world.gateway(backend(upstream.url, request_seconds=SOON))
    answer = await world.post(running, REQUEST)
    assert (answer.status, answer.error["code"]) == (504, "request_timeout")
    await until(lambda: gate.left == 1)
    assert running.backend.admission.ongoing == 0


async def test_a_stream_that_takes_too_long_ends_with_an_error(world: World) -> None:
    gate = Gate(EVENTS[0])
    running = await world.gateway(backend((await world.upstream(gate)).url), times={"request_seconds": 5 * SOON})
    answer = await world.post(running, REQUEST)
    assert answer.status == 200
    assert failed_stream(answer.body, EVENTS[0])["code"] == "request_timeout"
    await until(lambda: gate.left == 1)
    assert running.backend.admission.ongoing == 0


async def test_time_runs_in_the_queue_too(world: World) -> None:
    gate = Gate()
    upstream = await world.upstream(gate)
    running = await world.gateway(backend(upstream.url, max_ongoing=1, request_seconds=5 * SOON))
    await asyncio.gather(*(world.post(running, REQUEST) for _ in range(3)))
    assert [line["status"] for line in await logged(running, 3)] == [504] * 3
    assert len(upstream.requests) == 1
    assert (running.backend.admission.ongoing, running.backend.admission.queued) == (0, 0)


async def logged(running: Running, count: int) -> list[dict[str, Any]]:
    """The first `count` lines of the access log, as soon as they are written."""
    await until(lambda: len(running.logged()) >= count)
    return running.logged()


# --- places and cold models -----------------------------------------------------------------------------


async def test_one_request_too_many_is_429_with_retry_after(world: World) -> None:
    gate = Gate()
    upstream = await world.upstream(gate)
    running = await world.gateway(backend(upstream.url, max_ongoing=2, max_queued=1))
    posts = [asyncio.create_task(world.post(running, REQUEST)) for _ in range(3)]
    await until(lambda: running.backend.admission.queued == 1)
    answer = await world.post(running, REQUEST)
    assert (answer.status, answer.error["code"], answer.error["type"]) == (
        429,
        "engine_overloaded",
        "rate_limit_exceeded",
    )
    assert int(answer.header("retry-after") or 0) > 0
    gate.open.set()
    assert [(await post).status for post in posts] == [200] * 3
    assert len(upstream.requests) == 3


async def test_the_queue_is_first_come_first_served(world: World) -> None:
    gate = Gate()
    upstream = await world.upstream(gate)
    running = await world.gateway(backend(upstream.url, max_ongoing=1, max_queued=10))
    posts = []
    for number in range(6):
        posts.append(asyncio.create_task(world.post(running, {"n": number})))
        await until(lambda number=number: running.backend.admission.queued == number and gate.reached == 1)  # type: ignore[misc]
    gate.open.set()
    await asyncio.gather(*posts)
    assert [request.json["n"] for request in upstream.requests] == list(range(6))


async def test_requests_to_a_cold_model_wait_until_it_is_there(world: World) -> None:
    upstream = await world.upstream(streaming)
    upstream.healthy = False
    cold = backend(upstream.url, kind="engine")
    running = await world.gateway(cold, wait=False, times={"probe_seconds": SOON})
    posts = [asyncio.create_task(world.post(running, REQUEST)) for _ in range(5)]
    await until(lambda: running.backend.cold == 5)
    assert running.backend.admission.ongoing == 0
    upstream.healthy = True
    assert [(await post).body for post in posts] == [b"".join(EVENTS) + DONE] * 5


async def test_no_more_requests_wait_for_a_cold_model_than_may(world: World) -> None:
    upstream = await world.upstream(streaming)
    upstream.healthy = False
    # The places at the model are fewer than those that may wait for it: the one does not bound the other.
    cold = backend(upstream.url, kind="engine", max_ongoing=1, max_queued=0, cold_start={"max_queued": 3})
    running = await world.gateway(cold, wait=False)
    posts = [asyncio.create_task(world.post(running, REQUEST)) for _ in range(3)]
    await until(lambda: running.backend.cold == 3)
    answer = await world.post(running, REQUEST)
    assert (answer.status, answer.error["code"]) == (503, "engine_unavailable")
    assert int(answer.header("retry-after") or 0) > 0
    for post in posts:
        post.cancel()
    await asyncio.wait(posts)


async def test_the_wait_for_a_cold_model_ends(world: World) -> None:
    upstream = await world.upstream(streaming)
    upstream.healthy = False
    cold = backend(upstream.url, kind="engine", max_ongoing=1, cold_start={"timeout_seconds": SOON})
    running = await world.gateway(cold, wait=False)
    answers = await asyncio.gather(*(world.post(running, REQUEST) for _ in range(4)))
    assert [(one.status, one.error["code"], one.header("retry-after")) for one in answers] == [
        (503, "engine_unavailable", "5")
    ] * 4
    assert running.backend.cold == 0
    assert upstream.requests == []


_ENGINE_DIED = "EngineCore encountered an issue. See stack trace (above) for the root cause."

# --- failover -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failing",
    {
        "it takes no connection": None,
        "it cuts the connection": resetting,
        "HAProxy has no server": erring(503, b"<html>503</html>", headers={"content-type": "text/html"}),
        "HAProxy's own error": erring(500, b"Internal Server Error", headers={"content-type": "text/plain"}),
        "the application is not there yet": erring(404, b"Path not found", headers={"content-type": "text/plain"}),
        "the engine has died": erring(503, {"error": {}}, headers={"x-fairlead-engine-dead": "1"}),
        "the engine dies while it answers": erring(500, vllm_error(_ENGINE_DIED, 500)),
        "an empty stream": erring(200, b"", headers={"content-type": "text/event-stream"}),
    }.values(),
)
async def test_a_request_that_one_engine_loses_is_answered_by_another(world: World, failing: Script | None) -> None:
    bad, good = await world.upstream(failing or resetting), await world.upstream(streaming)
    engines = backend(bad.url, good.url, kind="engine", strategy="LeastLoad")
    running = await world.gateway(engines, times={"probe_seconds": 3600})
    await until(lambda: all(endpoint.ready for endpoint in running.backend.balancer.endpoints))
    bad.healthy = False
    if failing is None:
        await bad.stop()
    for _ in range(3):
        assert (await world.post(running, REQUEST)).body == b"".join(EVENTS) + DONE
    # The connection that its health was asked on may have been stale, so there was a second one.
    assert len(bad.requests) == (0 if failing is None else 2 if failing is resetting else 1)
    assert running.backend.balancer.endpoints[0].ready is False


async def test_a_head_without_a_first_event_is_no_first_byte(world: World) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        await exchange.chunks(EVENTS[0][:10])
        await exchange.close()

    bad, good = await world.upstream(script), await world.upstream(streaming)
    running = await world.gateway(backend(bad.url, good.url))
    assert (await world.post(running, REQUEST)).body == b"".join(EVENTS) + DONE
    assert len(bad.requests) == 1


async def test_half_a_whole_answer_is_no_first_byte(world: World) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{")
        exchange.reset()

    bad, good = await world.upstream(script), await world.upstream(erring(200, {"ok": True}))
    running = await world.gateway(backend(bad.url, good.url))
    assert (await world.post(running, REQUEST)).json == {"ok": True}


async def test_a_request_that_kills_every_engine_is_not_sent_for_ever(world: World) -> None:
    upstream = await world.upstream(resetting)
    running = await world.gateway(backend(upstream.url, kind="engine"), times={"probe_seconds": SOON})
    answer = await world.post(running, REQUEST)
    assert (answer.status, answer.error["code"]) == (503, "engine_unavailable")
    assert answer.header("retry-after")
    assert len(upstream.requests) == 3
    assert running.backend.admission.ongoing == 0


async def test_kept_connections_do_not_add_to_how_often_a_request_is_sent(world: World) -> None:
    async def script(exchange: Exchange, request: Request) -> None:
        if "poison" in request.json:
            exchange.reset()
        else:
            await everybody.wait()
            await exchange.answer({})

    everybody = asyncio.Barrier(4)
    upstream = await world.upstream(script)
    running = await world.gateway(backend(upstream.url, kind="engine"), times={"probe_seconds": SOON})
    await asyncio.gather(*(world.post(running, {}) for _ in range(4)))
    assert (await world.post(running, {"poison": 1})).status == 503
    assert len(upstream.requests) == 4 + 3


async def test_a_kept_connection_that_has_died_is_replaced_silently(world: World) -> None:
    async def script(exchange: Exchange, request: Request) -> None:
        if len(upstream.requests) == 2:
            exchange.reset()
        else:
            await exchange.answer(request.json)

    upstream = await world.upstream(script)
    running = await world.gateway(upstream)  # one endpoint of somebody else's: nothing else would be tried
    assert [(await world.post(running, {"n": number})).json for number in range(3)] == [{"n": n} for n in range(3)]
    assert len(upstream.requests) == 4


async def test_an_engine_that_is_replaced_is_waited_for(world: World) -> None:
    upstream = await world.upstream(streaming)
    running = await world.gateway(backend(upstream.url, kind="engine"), times={"probe_seconds": SOON})
    await upstream.stop()
    posting = asyncio.create_task(world.post(running, REQUEST))
    await until(lambda: running.backend.cold == 1)
    await upstream.listen()
    assert (await posting).body == b"".join(EVENTS) + DONE


async def test_an_upstream_of_somebody_else_that_is_away_is_502_at_once(world: World) -> None:
    first, second = await world.upstream(streaming), await world.upstream(resetting)
    await first.stop()
    running = await world.gateway(backend(first.url, second.url))
    answer = await world.post(running, REQUEST)
    assert (answer.status, answer.error["code"], answer.error["type"]) == (502, "upstream_unreachable", "server_error")
    assert len(second.requests) == 1


async def test_an_engine_s_own_500_is_an_answer_and_not_a_loss(world: World) -> None:
    upstream = await world.upstream(erring(500, vllm_error("no", 500)))
    running = await world.gateway(backend(upstream.url, kind="engine"))
    assert (await world.post(running, REQUEST)).error["message"] == "no"
    assert len(upstream.requests) == 1
    assert running.backend.ready


async def test_an_engine_without_a_resource_is_asked_by_no_other_name(world: World) -> None:
    upstream = await world.upstream(erring(404, vllm_error("The model `model` does not exist.", 404)))
    running = await world.gateway(backend(upstream.url, kind="engine"))
    answer = await world.post(running, REQUEST)
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert len(upstream.requests) == 1


async def test_retries_are_counted(world: World) -> None:
    bad, good = await world.upstream(resetting), await world.upstream(streaming)
    running = await world.gateway(backend(bad.url, good.url))
    await world.post(running, REQUEST)
    metrics = (await world.get(running, "/metrics")).body.decode()
    assert 'fairlead_retries_total{model="model",reason="lost"} 1.0' in metrics
    assert 'fairlead_requests_total{model="model",status="200"} 1.0' in metrics


# --- clients that leave ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["leave", "reset"])
@pytest.mark.parametrize("before", [(), (EVENTS[0],)], ids=["before the first byte", "in mid-stream"])
async def test_a_client_that_leaves_takes_its_upstream_connection_with_it(
    world: World, before: tuple[bytes, ...], how: str
) -> None:
    gate = Gate(*before)
    running = await world.gateway(await world.upstream(gate))
    client = await world.client(running)
    await client.request("POST", CHAT, REQUEST)
    if before:
        await client.head()
        assert await client.piece() == EVENTS[0]
    await until(lambda: gate.reached == 1)
    client.leave() if how == "leave" else client.reset()
    await until(lambda: gate.left == 1)
    await until(lambda: running.backend.admission.ongoing == 0)
    assert running.backend.balancer.endpoints[0].ongoing == 0
    assert [line["status"] for line in await logged(running, 1)] == [200 if before else 499]


async def test_a_client_that_leaves_the_queue_frees_its_place_in_it(world: World) -> None:
    gate = Gate()
    upstream = await world.upstream(gate)
    running = await world.gateway(backend(upstream.url, max_ongoing=1))
    first = asyncio.create_task(world.post(running, REQUEST))
    await until(lambda: gate.reached == 1)
    client = await world.client(running)
    await client.request("POST", CHAT, REQUEST)
    await until(lambda: running.backend.admission.queued == 1)
    client.leave()
    await until(lambda: running.backend.admission.queued == 0)
    gate.open.set()
    assert (await first).status == 200
    assert len(upstream.requests) == 1


async def test_a_client_that_leaves_while_a_model_is_cold_is_not_waited_for(world: World) -> None:
    upstream = await world.upstream(streaming)
    upstream.healthy = False
    running = await world.gateway(backend(upstream.url, kind="engine"), wait=False, times={"probe_seconds": SOON})
    client = await world.client(running)
    await client.request("POST", CHAT, REQUEST)
    await until(lambda: running.backend.cold == 1)
    client.leave()
    await until(lambda: running.backend.cold == 0)
    upstream.healthy = True
    await running.backend.became_ready()
    assert upstream.requests == []


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(world: World, caplog: Any) -> None:
    upstream = await world.upstream(streaming)
    running = await world.gateway(upstream)
    client = await world.client(running)
    await client.send(b'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"mo')
    await until(lambda: bool(running.server._server.server_state.tasks))
    client.leave()
    assert [line["status"] for line in await logged(running, 1)] == [499]
    assert upstream.requests == []
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_leaving_clients_leave_nothing_behind(world: World, caplog: Any) -> None:
    gate = Gate(EVENTS[0])
    running = await world.gateway(backend((await world.upstream(gate)).url, max_ongoing=10, max_queued=100))
    clients = [await world.client(running) for _ in range(40)]
    for client in clients:
        await client.request("POST", CHAT, REQUEST)
    await until(lambda: gate.reached == 10 and running.backend.admission.queued == 30)
    for client in clients:
        client.leave()
    await until(lambda: not running.server._server.server_state.tasks)
    assert (running.backend.admission.ongoing, running.backend.admission.queued) == (0, 0)
    assert running.backend.balancer.endpoints[0].ongoing == 0
    gate.open.set()
    assert (await world.post(running, REQUEST)).status == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# --- clients that are slow ------------------------------------------------------------------------------


async def test_a_client_that_does_not_read_stops_the_upstream(world: World) -> None:
    sent = 0

    async def script(exchange: Exchange, _: Request) -> None:
        nonlocal sent
        await exchange.begin_stream()
        for _piece in range(400):
            await exchange.chunks(event("x" * 100_000))
            sent += 1
        await exchange.chunks(DONE)
        await exchange.send(END_OF_CHUNKS)

    running = await world.gateway(await world.upstream(script))
    client = await world.client(running, receive_buffer=16_384)
    await client.request("POST", CHAT, REQUEST)
    assert (await client.head()).status == 200
    before = -1
    while sent != before:  # until it stands still
        before = sent
        for _ in range(50):
            await asyncio.sleep(0.001)
    assert 0 < sent < 200  # the rest is not in the gateway: the system's buffers are what fills
    assert (await client.rest()).count(b"data: ") == 401


async def test_a_client_that_reads_on_after_a_long_pause_gets_the_rest(world: World) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        await exchange.chunks(*[event("x" * 100_000)] * 400, DONE)
        await exchange.send(END_OF_CHUNKS)

    running = await world.gateway(await world.upstream(script), times={"keep_alive_comment_seconds": SOON})
    client = await world.client(running, receive_buffer=16_384)
    await client.request("POST", CHAT, REQUEST)
    await client.head()
    (connection,) = running.server._server.server_state.connections
    assert isinstance(connection, LineProtocol)
    await until(lambda: connection.flow.write_paused and connection.on_writable is not None)
    await until(lambda: connection.on_writable is None)  # the pause was long enough for a comment, which has to wait
    assert (await asyncio.wait_for(client.rest(), 10)).count(b"data: ") == 401


async def test_a_client_that_does_not_read_cannot_outstay_its_time(world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr("fairlead_serve.gateway.exchange._LAST_WORDS_SECONDS", SOON)

    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        with contextlib.suppress(ConnectionError):
            while True:
                await exchange.chunks(event("x" * 100_000))

    upstream = await world.upstream(script)
    running = await world.gateway(backend(upstream.url, request_seconds=10 * SOON))
    client = await world.client(running, receive_buffer=16_384)
    await client.request("POST", CHAT, REQUEST)
    await until(lambda: bool(running.server._server.server_state.tasks))
    await until(lambda: not running.server._server.server_state.tasks)
    assert running.backend.admission.ongoing == 0
    await until(lambda: upstream.open == 0)


# --- the official client --------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def sdk(running: Running) -> Any:
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="flk-x", max_retries=0) as client:
        yield client


MESSAGES: Any = [{"role": "user", "content": "hi"}]


async def test_the_official_client_reads_a_stream(world: World) -> None:
    running = await world.gateway(await world.upstream(streaming))
    async with sdk(running) as client:
        stream = await client.chat.completions.create(model="model", messages=MESSAGES, stream=True)
        assert [part.choices[0].delta.content async for part in stream] == ["Grüße", " 世界", " 👍"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
async def test_the_official_client_knows_every_error(
    world: World, status: int, error: type[openai.APIStatusError]
) -> None:
    running = await world.gateway(await world.upstream(erring(status, vllm_error("why", status, param="body.n"))))
    async with sdk(running) as client:
        with pytest.raises(error) as raised:
            await client.chat.completions.create(model="model", messages=MESSAGES)
    assert raised.value.status_code == status
    assert raised.value.param == "n"
    assert raised.value.request_id
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["message"] == "why"


async def test_the_official_client_knows_a_model_that_there_is_not(world: World) -> None:
    running = await world.gateway(await world.upstream(streaming))
    async with sdk(running) as client:
        with pytest.raises(openai.NotFoundError) as raised:
            await client.chat.completions.create(model="other", messages=MESSAGES)
    assert raised.value.code == "model_not_found"


async def test_the_official_client_raises_what_goes_wrong_in_mid_stream(world: World) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        await exchange.chunks(EVENTS[0])
        await exchange.close()

    running = await world.gateway(await world.upstream(script))
    async with sdk(running) as client:
        stream = await client.chat.completions.create(model="model", messages=MESSAGES, stream=True)
        first = await anext(stream)
        assert first.choices[0].delta.content == "Grüße"
        with pytest.raises(openai.APIError) as raised:
            await anext(stream)
    assert raised.value.code == "engine_lost"


# --- anything at all ------------------------------------------------------------------------------------

_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_names = st.sampled_from(["model", "stream", "messages", "prompt", "input", "stream_options"]) | st.text(max_size=5)
_bodies = (
    st.binary(max_size=80)
    | _values.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(_names, _values, max_size=5).map(
        lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    )
    | st.integers(1, 3000).map(lambda depth: b'{"x":' + b"[" * depth)
)
_kinds = st.sampled_from(
    ["application/json", "", "text/plain", "multipart/form-data; boundary=a", "multipart/form-data", "\xff"]
)
ROUTES = (
    CHAT,
    "/v1/completions",
    "/v1/embeddings",
    "/v1/rerank",
    "/v1/score",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/audio/transcriptions",
    "/tokenize",
    "/detokenize",
)


async def test_a_thousand_bodies_of_any_kind_break_no_route(world: World) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.answer({"ok": True})

    upstream = await world.upstream(script)
    running = await world.gateway(backend(upstream.url, upstream_model="other"), default_model="model")
    cases: list[tuple[bytes, str]] = []

    @given(_bodies, _kinds)
    @settings(max_examples=1000, deadline=None, database=None)
    def collect(body: bytes, kind: str) -> None:
        cases.append((body, kind))

    collect()
    assert len(cases) >= 1000

    async def send_all(route: str) -> None:
        client = await world.client(running)
        for body, kind in cases:
            answer = await client.post(route, body, headers={"content-type": kind})
            assert answer.status in {200, 400, 404, 413, 415}, (body, kind, answer)
            if answer.status != 200:
                assert answer.error["message"]

    async with asyncio.timeout(60):
        await asyncio.gather(*map(send_all, ROUTES))
