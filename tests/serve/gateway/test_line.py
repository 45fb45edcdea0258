"""A client's connection, one request after the other on it."""

import asyncio
import contextlib
import gc
from collections.abc import Iterator

import pytest

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.inbound import Inbound
from fairlead_serve.gateway.line import LineProtocol, _Corked, _Cycle
from fairlead_serve.gateway.upstream import Answer
from tests.serve.gateway.test_proxy import EVENTS, REQUEST, Gate, streaming
from tests.serve.gateway.upstream import DONE, Exchange, Request
from tests.serve.gateway.world import CHAT, World, backend, until

WHOLE = b"".join(EVENTS) + DONE


async def either(exchange: Exchange, request: Request) -> None:
    if request.json.get("stream"):
        await streaming(exchange, request)
    else:
        await exchange.answer({"n": request.json["n"]})


async def test_requests_that_come_together_are_answered_one_after_the_other(world: World) -> None:
    client = await world.client(await world.gateway(await world.upstream(either)))
    bodies = [REQUEST, {"model": "model", "n": 1}, REQUEST, {"model": "model", "n": 2}]
    for body in bodies:
        await client.request("POST", CHAT, body)
    answers = [(await client.answer()).body for _ in bodies]
    assert answers == [WHOLE, b'{"n": 1}', WHOLE, b'{"n": 2}']


async def test_a_request_in_the_middle_of_a_stream_waits_for_its_end(world: World) -> None:
    gate = Gate(*EVENTS)

    async def script(exchange: Exchange, request: Request) -> None:
        await (gate if request.json.get("stream") else either)(exchange, request)

    upstream = await world.upstream(script)
    client = await world.client(await world.gateway(upstream))
    await client.request("POST", CHAT, REQUEST)
    await until(lambda: gate.reached == 1)
    await client.request("POST", CHAT, {"model": "model", "n": 1})
    gate.open.set()
    assert (await client.answer()).body == WHOLE
    assert (await client.answer()).json == {"n": 1}


async def test_nothing_of_a_request_waits_for_the_collector(world: World) -> None:
    client = await world.client(await world.gateway(await world.upstream(either)))
    with _no_collector():
        for number in range(20):
            assert (await client.post(CHAT, {"model": "model", "n": number})).status == 200
            assert (await client.post(CHAT, REQUEST)).body == WHOLE
        kept, connections = _count(Answer, _Cycle), _count(LineProtocol)
    assert 0 < kept <= 2 * connections


@pytest.mark.parametrize("fallback", [(), ("other",)])
async def test_nothing_of_a_refused_request_waits_for_the_collector(world: World, fallback: tuple[str, ...]) -> None:
    upstream = await world.upstream(either)
    full = backend(upstream.url, max_ongoing=1, max_queued=0, fallback=fallback)
    running = await world.gateway(full, backend(upstream.url, name="other"))
    running.backend.admission.ongoing = 1
    client = await world.client(running)
    with _no_collector():
        for number in range(20):
            answer = await client.post(CHAT, {"model": "model", "n": number})
            assert answer.status == (200 if fallback else 429)
        kept = _count(ApiError, Inbound)
    running.backend.admission.ongoing = 0
    assert kept <= 1


async def test_a_head_that_is_held_when_the_connection_goes_is_dropped() -> None:
    loop = asyncio.get_running_loop()
    failures: list[object] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    accepted = loop.create_future()
    lost = asyncio.Event()

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.set_result(transport)

        def connection_lost(self, _: Exception | None) -> None:
            lost.set()

    server = await loop.create_server(Accepting, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    corked = _Corked(await accepted, loop)
    corked.abort()
    corked.cork(b"head")
    await lost.wait()
    await until(lambda: corked._flushing is None)
    writer.transport.abort()
    server.close()
    assert failures == []


def _count(*kinds: type) -> int:
    """Objects of these kinds. By their type alone: to be asked for its class, an object of another library may warn."""
    return sum(issubclass(type(one), kinds) for one in gc.get_objects())


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
