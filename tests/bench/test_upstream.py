import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from bench import answers, load
from bench.client import Connection, Target
from bench.errors import BenchError
from bench.upstream import Connection as Upstream
from bench.upstream import Ticker, chunked, parse_request

POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nContent-Length: 4\r\n\r\nbody"


def test_a_request_is_taken_apart() -> None:
    request = parse_request(POST)
    assert request is not None
    assert (request.method, request.path, request.body, request.rest) == ("POST", "/v1/chat/completions", b"body", b"")


@pytest.mark.parametrize("length", range(len(POST)))
def test_a_request_is_not_read_before_it_is_whole(length: int) -> None:
    assert parse_request(POST[:length]) is None


def test_what_follows_a_request_is_kept() -> None:
    request = parse_request(POST + b"GET /health")
    assert request is not None
    assert request.rest == b"GET /health"


def test_a_request_without_a_length_has_no_body() -> None:
    request = parse_request(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
    assert request is not None
    assert request.body == b""


def test_chunks_carry_their_length_in_hexadecimal() -> None:
    assert chunked(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert chunked(b"") == b"0\r\n\r\n"


@contextlib.asynccontextmanager
async def serving(protocol: type[Upstream] = Upstream) -> AsyncIterator[Target]:
    loop = asyncio.get_running_loop()
    ticker = Ticker(loop)
    server = await loop.create_server(lambda: protocol(ticker), "127.0.0.1", 0)
    async with server:
        yield Target("upstream", "127.0.0.1", server.sockets[0].getsockname()[1])


async def test_the_client_receives_every_token_of_the_upstream() -> None:
    async with serving() as target:
        connection = await Connection.open(target)
        exchange = connection.send(target.post(load.CHAT, answers.request_body(tokens=4, stream=True)))
        await exchange.done
        connection.close()
    assert (exchange.status, exchange.events) == (200, 5)  # four tokens and [DONE]
    assert answers.difference(exchange.body, 4) is None
    assert 0 < exchange.first_token_seconds < exchange.ended - exchange.began


async def test_one_connection_serves_one_request_after_another() -> None:
    async with serving() as target:
        connection = await Connection.open(target)
        for stream in (False, True, False):
            exchange = connection.send(target.post(load.CHAT, answers.request_body(tokens=2, stream=stream)))
            await exchange.done
            assert exchange.body == (answers.stream_body(2) if stream else answers.whole_body())
        connection.close()


async def test_first_tokens_are_measured_of_all_targets_in_turn() -> None:
    async with serving() as one, serving() as other:
        found = await load.first_tokens([one, other], samples=3)
    assert [len(seconds) for seconds in found] == [3, 3]


class Forgetful(Upstream):
    """Leaves one part of every stream out."""

    def step(self) -> None:
        super().step()
        next(self._parts, None)


async def test_a_lost_token_fails_the_run() -> None:
    async with serving(Forgetful) as target:
        with pytest.raises(BenchError, match="upstream"):
            await load.stream(target, streams=1, seconds=0.05)


class Rude(Upstream):
    """Closes the connection in the middle of a stream."""

    def step(self) -> None:
        super().step()
        assert self._transport is not None
        self._transport.close()


async def test_a_connection_closed_in_the_middle_fails_the_run() -> None:
    async with serving(Rude) as target:
        with pytest.raises(BenchError, match="before its answer was whole"):
            await load.first_tokens([target], samples=1)


async def test_nobody_listening_fails_the_run() -> None:
    async with serving() as target:
        pass
    with pytest.raises(BenchError, match="takes no connection"):
        await load.first_tokens([target], samples=1)
