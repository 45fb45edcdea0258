"""The HTTP client of the byte path, against a server that does everything a server can do wrong."""

import asyncio
import contextlib
import gc
import itertools
import socket
import ssl
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_serve.gateway.upstream import (
    Answer,
    AnswerTooLarge,
    Origin,
    UpstreamBroken,
    UpstreamClient,
    UpstreamError,
    UpstreamUnreachable,
)
from fairlead_serve.gateway.upstream.connection import Connection
from tests.serve.gateway.upstream import END_OF_CHUNKS, STREAM_HEAD, Exchange, Request, Script, Upstream, chunk
from tests.serve.gateway.world import World, until


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    one = UpstreamClient(connect_seconds=5, max_idle=4)
    yield one
    one.close()


async def ask(client: UpstreamClient, upstream: Upstream, body: bytes = b"{}", *, fresh: bool = False) -> Answer:
    return await client.request(Origin.parse(upstream.url), "POST", "/v1/x", [(b"a", b"1")], body, fresh=fresh)


def sending(*parts: bytes, then_close: bool = False) -> Script:
    async def script(exchange: Exchange, _: Request) -> None:
        for part in parts:
            await exchange.send(part)
        if then_close:
            await exchange.close()

    return script


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("http://host", Origin("host", 80, tls=False, path=""), b"host"),
        ("https://host/", Origin("host", 443, tls=True, path=""), b"host"),
        ("http://host:8000/engines/m/", Origin("host", 8000, tls=False, path="/engines/m"), b"host:8000"),
        ("http://[::1]:81", Origin("::1", 81, tls=False, path=""), b"[::1]:81"),
    ],
)
def test_a_url_says_where_connections_go(url: str, origin: Origin, authority: bytes) -> None:
    assert Origin.parse(url) == origin
    assert origin.authority == authority


@pytest.mark.parametrize("url", ["", "host:80", "ftp://host", "http://", "http://host:port", "http://host:99999"])
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"http|[Pp]ort"):
        Origin.parse(url)


async def test_a_request_is_sent_whole_and_its_answer_read(world: World, client: UpstreamClient) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.answer({"a": 1}, status=201, headers={"X-Name": "value"})

    upstream = await world.upstream(script)
    origin = Origin.parse(upstream.url + "/prefix")
    answer = await client.request(origin, "POST", "/v1/x", [(b"a", b"1")], b"body")
    assert (answer.status, answer.header(b"x-name"), answer.header(b"none")) == (201, b"value", b"")
    assert await answer.read(1000) == b'{"a": 1}'
    request = upstream.requests[0]
    assert (request.method, request.path, request.body) == ("POST", "/prefix/v1/x", b"body")
    assert request.headers == {"host": f"127.0.0.1:{upstream.port}", "a": "1", "content-length": "4"}


async def test_a_large_body_arrives_whole(world: World, client: UpstreamClient) -> None:
    body = bytes(range(256)) * 16384

    async def script(exchange: Exchange, request: Request) -> None:
        await exchange.answer({"same": request.body == body})

    answer = await ask(client, await world.upstream(script), body)
    assert await answer.read(1000) == b'{"same": true}'


async def test_a_connection_is_used_again(world: World, client: UpstreamClient) -> None:
    upstream = await world.upstream(sending(STREAM_HEAD, chunk(b"one"), END_OF_CHUNKS))
    for _ in range(5):
        assert await (await ask(client, upstream)).read(10) == b"one"
    assert (upstream.connections, client.idle) == (1, 1)


async def test_the_other_side_of_a_silent_connection_is_looked_after(world: World, client: UpstreamClient) -> None:
    upstream = await world.upstream(sending(STREAM_HEAD))
    answer = await ask(client, upstream)
    wire = answer._wire
    assert isinstance(wire, Connection)
    assert wire._transport is not None
    connection = wire._transport.get_extra_info("socket")
    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    found = [connection.getsockopt(socket.IPPROTO_TCP, option) for option in options]
    assert found == [15, 5, 3, 30_000]
    answer.abort()


async def test_requests_at_once_have_a_connection_each_and_only_some_are_kept(
    world: World, client: UpstreamClient
) -> None:
    everybody = asyncio.Barrier(8)

    async def script(exchange: Exchange, request: Request) -> None:
        await everybody.wait()
        await exchange.answer(request.body)

    upstream = await world.upstream(script)

    async def one(number: int) -> None:
        assert await (await ask(client, upstream, b"%d" % number)).read(10) == b"%d" % number

    await asyncio.gather(*map(one, range(8)))
    assert upstream.connections == 8
    assert client.idle == 4
    await until(lambda: upstream.open == 4)


async def test_a_connection_in_which_a_request_is_stuck_is_not_used_again(client: UpstreamClient) -> None:
    connections = 0
    over = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")  # and no more, so that the body fills all buffers
        writer.write(b"HTTP/1.1 413 Too large\r\ncontent-length: 2\r\n\r\nno")
        await over.wait()
        writer.transport.abort()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    origin = Origin.parse(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        answer = await client.request(origin, "POST", "/v1/x", [], bytes(32 * 1024 * 1024))
        assert (answer.status, await answer.read(10), client.idle) == (413, b"no", 0)
        answer = await client.request(origin, "POST", "/v1/x", [], b"small")
        assert (answer.status, connections, client.idle) == (413, 2, 1)
    finally:
        over.set()
        await until(lambda: client.idle == 0)
        server.close()


async def test_no_connection_is_kept_where_none_may_be(world: World) -> None:
    upstream = await world.upstream(sending(STREAM_HEAD, chunk(b"one"), END_OF_CHUNKS))
    client = UpstreamClient(connect_seconds=5, max_idle=0)
    for _ in range(2):
        assert await (await ask(client, upstream)).read(10) == b"one"
    assert (upstream.connections, client.idle) == (2, 0)


async def test_a_kept_connection_that_the_other_side_closes_is_forgotten(world: World, client: UpstreamClient) -> None:
    close = asyncio.Event()

    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.answer({})
        await close.wait()
        await exchange.close()

    upstream = await world.upstream(script)
    await (await ask(client, upstream)).read(10)
    assert client.idle == 1
    close.set()
    await until(lambda: client.idle == 0)


async def test_a_kept_connection_that_dies_at_the_moment_of_use_is_replaced_silently(
    world: World, client: UpstreamClient
) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        if len(upstream.requests) == 2:
            exchange.reset()
        else:
            await exchange.answer({"attempt": len(upstream.requests)})

    upstream = await world.upstream(script)
    await (await ask(client, upstream)).read(100)
    answer = await ask(client, upstream)
    assert await answer.read(100) == b'{"attempt": 3}'
    assert (upstream.connections, answer.sent) == (2, 2)


async def test_a_new_connection_that_dies_is_not_replaced(world: World, client: UpstreamClient) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        exchange.reset()

    upstream = await world.upstream(script)
    with pytest.raises(UpstreamBroken) as broken:
        await ask(client, upstream)
    assert (broken.value.sent, broken.value.answered, len(upstream.requests)) == (1, False, 1)


async def test_how_often_a_request_was_sent_is_told(world: World, client: UpstreamClient) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        if len(upstream.requests) == 1:
            await exchange.answer({})
        else:
            exchange.reset()

    upstream = await world.upstream(script)
    await (await ask(client, upstream)).read(100)
    with pytest.raises(UpstreamBroken) as broken:
        await ask(client, upstream)
    assert (broken.value.sent, len(upstream.requests)) == (2, 3)


async def test_fresh_uses_no_kept_connection(world: World, client: UpstreamClient) -> None:
    upstream = await world.upstream(sending(STREAM_HEAD, END_OF_CHUNKS))
    for _ in range(2):
        assert await (await ask(client, upstream, fresh=True)).read(10) == b""
    assert upstream.connections == 2


@pytest.mark.parametrize(
    "parts",
    {
        "before the head": (),
        "in the status line": (b"HTTP/1.1 2",),
        "in the headers": (b"HTTP/1.1 200 OK\r\ncontent-ty",),
    }.values(),
)
async def test_a_connection_that_ends_before_the_head_is_whole_is_broken(
    world: World, client: UpstreamClient, parts: tuple[bytes, ...]
) -> None:
    upstream = await world.upstream(sending(*parts, then_close=True))
    with pytest.raises(UpstreamBroken, match="ended the connection") as broken:
        await ask(client, upstream)
    assert broken.value.answered is bool(parts)


@pytest.mark.parametrize(
    "parts",
    {
        "no chunk": (STREAM_HEAD,),
        "after a chunk": (STREAM_HEAD, chunk(b"one")),
        "in a chunk": (STREAM_HEAD, b"5\r\none"),
        "before the last chunk's end": (STREAM_HEAD, chunk(b"one"), b"0\r\n"),
        "in a counted body": (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\none",),
    }.values(),
)
async def test_a_connection_that_ends_before_the_body_is_whole_is_broken(
    world: World, client: UpstreamClient, parts: tuple[bytes, ...]
) -> None:
    answer = await ask(client, await world.upstream(sending(*parts, then_close=True)))
    with pytest.raises(UpstreamBroken):
        await answer.read(1000)


async def test_what_came_before_the_end_of_a_connection_is_still_read(world: World, client: UpstreamClient) -> None:
    answer = await ask(client, await world.upstream(sending(STREAM_HEAD, chunk(b"one"), then_close=True)))
    assert await answer.chunk() == b"one"
    with pytest.raises(UpstreamBroken):
        await answer.chunk()


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"])
async def test_without_a_length_the_end_of_the_connection_is_the_end_of_the_body(
    world: World, client: UpstreamClient, head: bytes
) -> None:
    answer = await ask(client, await world.upstream(sending(head, b"one ", b"two", then_close=True)))
    assert await answer.read(100) == b"one two"
    assert client.idle == 0


async def test_without_a_length_a_reset_is_no_end(world: World, client: UpstreamClient) -> None:
    read = asyncio.Event()

    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.send(b"HTTP/1.0 200 OK\r\n\r\none")
        await read.wait()
        exchange.reset()

    answer = await ask(client, await world.upstream(script))
    assert await answer.chunk() == b"one"
    read.set()
    with pytest.raises(UpstreamBroken):
        await answer.chunk()


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_ends_with_its_head(world: World, client: UpstreamClient, status: int) -> None:
    upstream = await world.upstream(sending(b"HTTP/1.1 %d X\r\n\r\n" % status))
    answer = await ask(client, upstream)
    assert (answer.status, await answer.read(10)) == (status, b"")
    assert client.idle == 1


async def test_what_comes_after_the_body_is_no_header(world: World, client: UpstreamClient) -> None:
    upstream = await world.upstream(sending(STREAM_HEAD, chunk(b"one"), b"0\r\nx-late: 1\r\n\r\n"))
    for _ in range(2):
        answer = await ask(client, upstream)
        assert await answer.read(10) == b"one"
        assert [name for name, _ in answer.headers] == [b"content-type", b"transfer-encoding"]
    assert upstream.connections == 1


async def test_what_comes_before_the_answer_is_passed_over(world: World, client: UpstreamClient) -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    upstream = await world.upstream(sending(early, b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none"))
    answer = await ask(client, upstream)
    assert (answer.status, answer.header(b"link"), await answer.read(10)) == (200, b"", b"one")


@pytest.mark.parametrize(
    "garbage",
    {
        "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
        "a broken status": b"HTTP/1.1 OK\r\n\r\n",
        "a broken chunk": STREAM_HEAD + b"zz\r\n",
        "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "another protocol on request": b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhello",
        "zeros": bytes(1000),
    }.values(),
)
async def test_garbage_is_broken_and_its_connection_closed(
    world: World, client: UpstreamClient, garbage: bytes
) -> None:
    upstream = await world.upstream(sending(garbage))
    with pytest.raises(UpstreamBroken):
        await (await ask(client, upstream)).read(1000)
    await until(lambda: upstream.open == 0)
    assert client.idle == 0


async def test_headers_without_an_end_are_given_up(world: World, client: UpstreamClient) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nx: ")
        with contextlib.suppress(ConnectionError):
            while True:
                await exchange.send(b"x" * 65536)

    with pytest.raises(UpstreamBroken, match="headers are longer"):
        await ask(client, await world.upstream(script))


@pytest.mark.parametrize(
    "more",
    {
        "a second answer": b"HTTP/1.1 200 OK\r\ncontent-type: text/evil\r\ncontent-length: 4\r\n\r\nevil",
        "half a second answer": b"HTTP/1.1 200 OK\r\ncont",
        "garbage": b"\x00\x01garbage",
    }.values(),
)
async def test_bytes_after_an_answer_are_never_taken_for_the_next_one(
    world: World, client: UpstreamClient, more: bytes
) -> None:
    upstream = await world.upstream(
        sending(b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ncontent-length: 4\r\n\r\ngood" + more)
    )
    for number in range(1, 3):
        answer = await ask(client, upstream)
        assert (answer.status, answer.header(b"content-type"), await answer.read(10)) == (200, b"a/b", b"good")
        assert (upstream.connections, client.idle) == (number, 0)


async def test_bytes_on_an_unused_connection_close_it(world: World, client: UpstreamClient) -> None:
    go_on = asyncio.Event()

    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.answer({})
        await go_on.wait()
        await exchange.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")

    upstream = await world.upstream(script)
    await (await ask(client, upstream)).read(10)
    go_on.set()
    await until(lambda: client.idle == 0)
    await until(lambda: upstream.open == 0)


async def test_connections_that_nobody_takes_are_unreachable(world: World, client: UpstreamClient) -> None:
    upstream = await world.upstream(sending())
    await upstream.stop()
    with pytest.raises(UpstreamUnreachable, match="takes no connection") as unreachable:
        await ask(client, upstream)
    assert unreachable.value.sent == 0


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "nowhere.invalid"])
async def test_a_host_that_there_cannot_be_is_unreachable(client: UpstreamClient, host: str) -> None:
    with pytest.raises(UpstreamUnreachable):
        await client.request(Origin.parse(f"http://{host}:1"), "GET", "/", [])


async def test_the_making_of_a_connection_is_bounded_in_time(world: World) -> None:
    # TLS to a server that never says a word: the connection is there, but not made.
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await reader.read()
        writer.transport.abort()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = UpstreamClient(connect_seconds=0.05, max_idle=1)
    with pytest.raises(UpstreamUnreachable, match=r"within 0\.05 s"):
        await client.request(Origin.parse(f"https://127.0.0.1:{port}"), "GET", "/", [])
    server.close()


async def test_the_certificates_of_the_system_are_read_once(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    made: list[ssl.SSLContext] = []
    create = ssl.create_default_context

    def count() -> ssl.SSLContext:
        made.append(create())
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", count)
    upstream = await world.upstream(sending())
    client = UpstreamClient(connect_seconds=0.05, max_idle=1)
    for _ in range(3):
        with pytest.raises(UpstreamUnreachable):
            await client.request(Origin.parse(upstream.url.replace("http", "https")), "GET", "/", [])
    assert len(made) == 1


async def test_a_cancelled_request_closes_its_connection(world: World, client: UpstreamClient) -> None:
    gone = asyncio.Event()

    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.gone()
        gone.set()

    upstream = await world.upstream(script)
    asking = asyncio.create_task(ask(client, upstream))
    await until(lambda: bool(upstream.requests))
    asking.cancel()
    await asyncio.wait_for(gone.wait(), 10)


async def test_an_answer_given_up_closes_its_connection(world: World, client: UpstreamClient) -> None:
    gone = asyncio.Event()

    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        await exchange.gone()
        gone.set()

    answer = await ask(client, await world.upstream(script))
    answer.abort()
    await asyncio.wait_for(gone.wait(), 10)


async def test_an_answer_that_is_too_large_is_given_up(world: World, client: UpstreamClient) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        with contextlib.suppress(ConnectionError):
            while True:
                await exchange.chunks(b"x" * 10_000)

    upstream = await world.upstream(script)
    answer = await ask(client, upstream)
    with pytest.raises(AnswerTooLarge, match="larger than 50000 bytes"):
        await answer.read(50_000)
    await until(lambda: upstream.open == 0)


async def test_an_answer_that_is_not_read_is_not_taken_from_the_network(world: World, client: UpstreamClient) -> None:
    sent = 0

    async def script(exchange: Exchange, _: Request) -> None:
        nonlocal sent
        await exchange.begin_stream()
        for _piece in range(1000):
            await exchange.chunks(b"x" * 65_536)
            sent += 65_536
        await exchange.send(END_OF_CHUNKS)

    answer = await ask(client, await world.upstream(script))
    # Until it stands still: what the client and the system's own buffers hold, and no more.
    before = -1
    while sent != before:
        before = sent
        for _ in range(50):
            await asyncio.sleep(0.001)
    assert answer._buffered < 2 * 1024 * 1024
    assert sent < 30 * 1024 * 1024
    assert len(await answer.read(10**9)) == 65_536_000


async def test_a_whole_answer_that_waits_for_its_reader_does_not_hold_the_next_one_up(
    world: World, client: UpstreamClient
) -> None:
    size, last = 262_200, 100  # just below the mark where reading pauses, and above it with the last bytes
    go_on = asyncio.Event()

    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        await exchange.send(b"x" * (size - last))
        await go_on.wait()
        await exchange.send(b"x" * last)

    upstream = await world.upstream(script)
    unread = await ask(client, upstream)
    await until(lambda: unread._buffered == size - last)
    go_on.set()
    await until(lambda: client.idle == 1)
    assert len(await (await ask(client, upstream)).read(10**7)) == size
    assert upstream.connections == 1
    assert len(await unread.read(10**7)) == size


async def test_a_pipe_reads_on_where_reading_was_paused(world: World, client: UpstreamClient) -> None:
    size = 16 * 1024 * 1024

    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        await exchange.chunks(b"x" * size)
        await exchange.send(END_OF_CHUNKS)

    answer = await ask(client, await world.upstream(script))
    wire = answer._wire
    assert isinstance(wire, Connection)
    await until(lambda: wire._paused)
    taken = 0

    def sink(data: bytes) -> bool:
        nonlocal taken
        taken += len(data)
        return True

    assert await asyncio.wait_for(answer.pipe(sink), 10)
    assert taken == size


async def test_a_poke_wakes_a_reader_with_nothing(world: World, client: UpstreamClient) -> None:
    go_on = asyncio.Event()

    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.begin_stream()
        await go_on.wait()
        await exchange.chunks(b"one")

    answer = await ask(client, await world.upstream(script))
    answer.poke()  # nobody waits: nothing happens, now or later
    reading = asyncio.create_task(answer.chunk())
    await until(lambda: answer._waiter is not None)
    assert not reading.done()
    answer.poke()
    assert await reading == b""
    go_on.set()
    assert await answer.chunk() == b"one"


async def test_half_of_the_framing_does_not_wake_a_reader(world: World, client: UpstreamClient) -> None:
    steps = [asyncio.Event() for _ in range(3)]
    seen = 0

    async def script(exchange: Exchange, _: Request) -> None:
        for part, step in zip((STREAM_HEAD, b"3", b"\r\n"), steps, strict=True):
            await exchange.send(part)
            await step.wait()
        await exchange.send(b"one\r\n")

    answer = await ask(client, await world.upstream(script))
    receive = answer.receive

    def counted(body: bytes) -> None:
        nonlocal seen
        seen += 1
        receive(body)

    answer.receive = counted  # type: ignore[method-assign]
    reading = asyncio.create_task(answer.chunk())
    for number, step in enumerate(steps):
        await until(lambda number=number: seen >= number)  # type: ignore[misc]
        assert not reading.done()
        step.set()
    assert await reading == b"one"


BODY = b"".join(chunk(f"Grüße {number} 世界\n".encode()) for number in range(4)) + END_OF_CHUNKS


@given(places=st.lists(st.integers(0, len(STREAM_HEAD + BODY)), max_size=12))
@settings(max_examples=200)
async def test_an_answer_cut_anywhere_reads_the_same(places: list[int]) -> None:
    whole = STREAM_HEAD + BODY
    parts = [whole[start:end] for start, end in itertools.pairwise([0, *sorted(places), len(whole)]) if end > start]
    client = UpstreamClient(connect_seconds=5, max_idle=1)
    async with Upstream(sending(*parts)) as upstream:
        body = await (await ask(client, upstream)).read(1000)
    client.close()
    assert body.decode() == "".join(f"Grüße {number} 世界\n" for number in range(4))


async def test_a_small_answer_is_fetched_with_its_status(world: World, client: UpstreamClient) -> None:
    upstream = await world.upstream(sending(), tasks=["generate"])
    origin = Origin.parse(upstream.url)
    assert await client.fetch(origin, "/fairlead/tasks", [], limit=100, seconds=5) == (200, b'["generate"]')
    upstream.healthy = False
    assert (await client.fetch(origin, "/health", [], limit=100, seconds=5))[0] == 503
    assert client.idle == 1


async def test_a_fetch_is_bounded_in_time_and_size(world: World, client: UpstreamClient) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.transport.abort()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    origin = Origin.parse(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(UpstreamError, match=r"within 0\.05 s"):
        await client.fetch(origin, "/health", [], limit=100, seconds=0.05)
    server.close()
    upstream = await world.upstream(sending(), tasks=["x" * 200])
    with pytest.raises(UpstreamError, match="larger than 100"):
        await client.fetch(Origin.parse(upstream.url), "/fairlead/tasks", [], limit=100, seconds=5)


async def test_a_closed_client_keeps_no_connection_not_even_those_in_use(world: World) -> None:
    go_on = asyncio.Event()

    async def script(exchange: Exchange, _: Request) -> None:
        if len(upstream.requests) > 1:
            await go_on.wait()
        await exchange.answer({})

    upstream = await world.upstream(script)
    client = UpstreamClient(connect_seconds=5, max_idle=4)
    await (await ask(client, upstream)).read(10)
    asking = asyncio.create_task(ask(client, upstream, fresh=True))
    await until(lambda: len(upstream.requests) == 2)
    client.close()
    go_on.set()
    assert await (await asking).read(10) == b"{}"
    await until(lambda: upstream.open == 0)
    assert client.idle == 0


async def test_nothing_of_an_answer_outlives_it(world: World, client: UpstreamClient) -> None:
    upstream = await world.upstream(sending(STREAM_HEAD, chunk(b"one"), END_OF_CHUNKS))
    gc.collect()
    gc.disable()  # there is nothing for it to do
    try:
        for _ in range(50):
            await (await ask(client, upstream)).read(10)
        assert sum(type(one) is Answer for one in gc.get_objects()) <= 2
    finally:
        gc.enable()


async def test_a_dropped_origin_keeps_no_connection_and_may_be_asked_again(
    world: World, client: UpstreamClient
) -> None:
    async def script(exchange: Exchange, _: Request) -> None:
        await exchange.answer({})

    dropped, other = await world.upstream(script), await world.upstream(script)
    for upstream in (dropped, other):
        await (await ask(client, upstream)).read(10)
    client.drop(Origin.parse(dropped.url))
    await until(lambda: dropped.open == 0)
    assert (client.idle, other.open) == (1, 1)
    await (await ask(client, dropped)).read(10)
    assert client.idle == 2
