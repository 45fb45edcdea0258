"""The gateway as a listening process: its port, its wire, its end."""

import asyncio
import gc
import json
import socket

import psutil
import pytest

from fairlead_serve.errors import PortInUse
from fairlead_serve.gateway.api import create_gateway
from fairlead_serve.gateway.server import GatewayServer, listen
from fairlead_serve.settings import GatewaySettings
from tests.serve.gateway.client import Client
from tests.serve.gateway.test_proxy import EVENTS, REQUEST, Gate, echoing, failed_stream, streaming
from tests.serve.gateway.upstream import DONE, Exchange, Request
from tests.serve.gateway.world import CHAT, World, backend, until


async def answering(exchange: Exchange, request: Request) -> None:
    await exchange.answer({"n": request.json.get("n")})


# --- the port -------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_says_who_has_to_go() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*; choose another with --port"):
            listen("127.0.0.1", port)


def test_a_port_is_held_from_the_moment_it_is_bound() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(PortInUse):
        listen("127.0.0.1", first.getsockname()[1])


async def test_a_port_whose_last_connections_are_not_forgotten_yet_can_be_had(world: World) -> None:
    running = await world.gateway(await world.upstream(answering))
    port = running.server._listener.getsockname()[1]
    client = await world.client(running)
    # The gateway closes first, so it is its side of which the system remembers the connection for a minute.
    assert (await client.get("/livez", headers={"connection": "close"})).status == 200
    assert await client.ended() == b""
    running.server.stop()
    await asyncio.wait_for(running.serving, 10)
    listen("127.0.0.1", port).close()


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70000), ("nowhere.invalid", 0), ("a" * 100, 0)])
def test_an_address_that_there_cannot_be_is_a_sentence(host: str, port: int) -> None:
    with pytest.raises(PortInUse, match="cannot listen on"):
        listen(host, port)


async def test_the_url_names_address_and_port(world: World) -> None:
    running = await world.gateway(await world.upstream(answering))
    port = running.server._listener.getsockname()[1]
    assert running.url == f"http://127.0.0.1:{port}"


async def test_ipv6_is_served_too(world: World) -> None:
    running = await world.gateway(await world.upstream(answering), host="::1")
    assert running.url.startswith("http://[::1]:")
    reader, writer = await asyncio.open_connection("::1", running.server._listener.getsockname()[1])
    client = Client(reader, writer)
    assert (await client.get("/livez")).status == 200
    client.leave()


# --- the wire -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS to a plain port\r\n\r\n",
        b"GET / HTTP/1.1\r\nbroken header\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"\r\n\r\n\x00",
    ],
)
async def test_what_is_no_http_is_400_in_openai_s_form(world: World, garbage: bytes) -> None:
    client = await world.client(await world.gateway(await world.upstream(answering)))
    await client.send(garbage)
    answer = await client.answer()
    assert (answer.status, answer.error["code"]) == (400, "invalid_http")
    assert answer.header("connection") == "close"
    assert await client.ended() == b""


async def test_headers_without_an_end_are_431(world: World) -> None:
    client = await world.client(await world.gateway(await world.upstream(answering)))
    await client.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n")
    for _ in range(70):
        await client.send(b"x-filler: " + b"x" * 1000 + b"\r\n")
    answer = await client.answer()
    assert (answer.status, answer.header("connection")) == (431, "close")
    assert "longer than 65536 bytes" in answer.error["message"]


async def test_long_headers_with_an_end_are_taken_again_and_again(world: World) -> None:
    client = await world.client(await world.gateway(await world.upstream(answering)))
    for _ in range(5):
        assert (await client.get("/livez", headers={"cookie": "x" * 30_000})).status == 200


async def test_garbage_after_a_request_does_not_get_into_its_answer(world: World) -> None:
    gate = Gate(EVENTS[0])
    client = await world.client(await world.gateway(await world.upstream(gate)))
    await client.request("POST", CHAT, REQUEST)
    await client.head()
    assert await client.piece() == EVENTS[0]
    await client.send(b"\x00garbage\r\n\r\n")
    assert b"HTTP/1.1" not in await client.ended()
    await until(lambda: gate.left == 1)


async def test_requests_sent_before_the_answers_are_answered_in_order(world: World) -> None:
    client = await world.client(await world.gateway(await world.upstream(answering)))
    for number in range(10):
        await client.request("POST", CHAT, {"n": number})
    assert [(await client.answer()).json["n"] for _ in range(10)] == list(range(10))


async def test_a_connection_is_used_again_after_every_kind_of_answer(world: World) -> None:
    client = await world.client(await world.gateway(await world.upstream(streaming)))
    for _ in range(3):
        assert (await client.post(CHAT, REQUEST)).body.endswith(DONE)
        assert (await client.post(CHAT, b"{")).status == 400
        assert (await client.get("/nothing")).status == 404
        assert (await client.get("/livez")).status == 200


async def test_a_client_that_offers_http_2_is_served_http_1(world: World) -> None:
    client = await world.client(await world.gateway(await world.upstream(answering)))
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEAAEAAAAIAAAAA"}
    for number in range(3):
        sent = {"n": number, "text": "\r\nupgrade: h2c\r\n"}
        assert (await client.post(CHAT, sent, headers=offer)).json == {"n": number}


async def test_a_client_of_http_1_0_gets_its_answer_and_the_end(world: World) -> None:
    client = await world.client(await world.gateway(await world.upstream(answering)))
    await client.send(b"POST %s HTTP/1.0\r\ncontent-length: 8\r\n\r\n" % CHAT.encode() + b'{"n": 1}')
    assert (await client.answer()).json == {"n": 1}
    assert await client.ended() == b""


async def test_a_client_of_http_1_0_gets_a_stream_without_chunks(world: World) -> None:
    client = await world.client(await world.gateway(await world.upstream(streaming)))
    body = json.dumps(REQUEST).encode()
    await client.send(b"POST %s HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % (CHAT.encode(), len(body)) + body)
    head = await client.head()
    assert (head.header("transfer-encoding"), head.header("connection")) == (None, "close")
    assert await client.ended() == b"".join(EVENTS) + DONE


async def test_an_unused_connection_is_closed_after_a_while(world: World) -> None:
    running = await world.gateway(await world.upstream(answering), times={"idle_connection_seconds": 1})
    client = await world.client(running)
    assert (await client.get("/livez")).status == 200
    assert await asyncio.wait_for(client.ended(), 10) == b""


# --- the end --------------------------------------------------------------------------------------------


async def test_a_drain_lets_streams_finish_and_says_that_it_drains(world: World) -> None:
    gate = Gate(EVENTS[0])
    running = await world.gateway(await world.upstream(gate), times={"drain_delay_seconds": 0.3})
    client, probe = await world.client(running), await world.client(running)
    assert (await probe.get("/readyz")).status == 200
    await client.request("POST", CHAT, REQUEST)
    head = await client.head()
    assert head.header("connection") is None
    assert await client.piece() == EVENTS[0]
    running.server.stop()
    # In the delay: not ready, still serving, and asking clients to go elsewhere.
    answer = await probe.get("/readyz")
    assert (answer.status, answer.error["code"], answer.header("connection")) == (503, "draining", "close")
    assert (await world.get(running, "/livez")).status == 200
    # After it: no new connections, and the stream goes on.
    url = running.url
    await until(lambda: running.server._listener.fileno() < 0)
    with pytest.raises(ConnectionRefusedError):
        await Client.connect(url)
    assert not running.serving.done()
    gate.open.set()
    assert await client.rest() == DONE
    await asyncio.wait_for(running.serving, 10)
    assert len(running.logged()) == 4  # the log is written out


async def test_a_drain_without_requests_ends_at_once(world: World) -> None:
    running = await world.gateway(await world.upstream(answering), times={"drain_seconds": 3600})
    client = await world.client(running)
    assert (await client.get("/livez")).status == 200  # a kept connection holds nobody up
    running.server.stop()
    await asyncio.wait_for(running.serving, 10)
    assert await client.ended() == b""


async def test_what_does_not_finish_in_time_ends_with_an_error(world: World, caplog: pytest.LogCaptureFixture) -> None:
    stream_gate, whole_gate = Gate(EVENTS[0]), Gate()
    streams, wholes = await world.upstream(stream_gate), await world.upstream(whole_gate)
    running = await world.gateway(
        backend(streams.url, name="model"), backend(wholes.url, name="whole"), times={"drain_seconds": 1}
    )
    stream, whole = await world.client(running), await world.client(running)
    await stream.request("POST", CHAT, REQUEST)
    await stream.head()
    await whole.request("POST", CHAT, {"model": "whole"})
    await until(lambda: whole_gate.reached == 1)
    running.server.stop()
    assert failed_stream(await stream.rest(), EVENTS[0])["code"] == "gateway_stopping"
    answer = await whole.answer()
    assert (answer.status, answer.error["code"], answer.header("retry-after")) == (503, "gateway_stopping", "1")
    await asyncio.wait_for(running.serving, 10)
    await until(lambda: stream_gate.left == whole_gate.left == 1)
    assert "Traceback" not in caplog.text


async def test_leaving_drops_what_is_in_flight_at_once(world: World) -> None:
    gate = Gate(EVENTS[0])
    upstream = await world.upstream(gate)
    running = await world.gateway(upstream, times={"drain_seconds": 3600})
    client = await world.client(running)
    await client.request("POST", CHAT, REQUEST)
    await client.head()
    running.server.stop()
    running.server.leave()
    await asyncio.wait_for(running.serving, 5)
    await client.ended()
    await until(lambda: gate.left == 1)


async def test_what_goes_wrong_at_the_start_ends_the_server_and_is_raised(world: World) -> None:
    settings = GatewaySettings.model_validate({"backends": [backend("http://127.0.0.1:1")]})
    gateway = create_gateway(settings, environment={}, created=0, access_log=None)

    async def on_started() -> None:
        raise BrokenPipeError("nobody reads")

    with listen("127.0.0.1", 0) as listener:
        server = GatewayServer(gateway, listener, settings)
        with pytest.raises(BrokenPipeError):
            await asyncio.wait_for(server.run(on_started=on_started), 10)


async def test_probing_ends_with_the_server(world: World) -> None:
    upstream = await world.upstream(answering)
    running = await world.gateway(backend(upstream.url, kind="engine"))
    running.server.stop()
    await asyncio.wait_for(running.serving, 10)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("probe")]
    await until(lambda: upstream.open == 0)


# --- memory ---------------------------------------------------------------------------------------------


async def test_memory_is_flat_over_many_requests(world: World) -> None:
    upstream = await world.upstream(echoing)
    running = await world.gateway(upstream)
    body = json.dumps(REQUEST | {"x": "y" * 1000}).encode()

    async def some(count: int) -> None:
        client = await world.client(running)
        for _ in range(count):
            assert (await client.post(CHAT, body)).status == 200
        client.leave()

    def measure() -> tuple[int, int]:
        upstream.requests.clear()
        running.log.truncate(0)
        gc.collect()
        return psutil.Process().memory_info().rss, len(gc.get_objects())

    await asyncio.gather(*(some(100) for _ in range(8)))
    bytes_before, objects_before = measure()
    await asyncio.gather(*(some(300) for _ in range(8)))
    bytes_after, objects_after = measure()
    assert objects_after - objects_before < 500
    assert bytes_after - bytes_before < 5 * 1024 * 1024
