"""Counting in a real Redis: that gateways agree, and what becomes of requests when one of the two is gone."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from fairlead_serve.errors import ConfigurationError
from fairlead_serve.gateway import counters as local_counters
from fairlead_serve.gateway import redis_counters
from fairlead_serve.gateway.auth import Caller
from fairlead_serve.gateway.counters import LocalCounters, Standing
from fairlead_serve.gateway.redis_counters import RedisCounters
from tests.redis import RedisServer
from tests.serve.gateway.world import until

OWNER = "key_1"
USED = f"fairlead:{{{OWNER}}}"
ONGOING = f"{USED}:ongoing"

Gateway = Callable[..., RedisCounters]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture(autouse=True)
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute whose end no test sees, and time enough for Redis on a machine that is busy."""
    for module in (local_counters, redis_counters):
        monkeypatch.setattr(module, "WINDOW_SECONDS", 10**7)
    monkeypatch.setattr(redis_counters, "_PATIENCE_SECONDS", 30)


@pytest.fixture
async def gateway(server: RedisServer) -> AsyncIterator[Gateway]:
    """Makes the counters of one gateway after the other, all at `server`."""
    made: list[RedisCounters] = []

    def make(*, url: str = server.url, lease_seconds: float = 30.0, retry_seconds: float = 0.01) -> RedisCounters:
        instead = LocalCounters()
        made.append(RedisCounters(url, instead=instead, lease_seconds=lease_seconds, retry_seconds=retry_seconds))
        return made[-1]

    yield make
    for one in made:
        await one.close()


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    """A look into the server that does not go through the code."""
    async with Redis.from_url(server.url) as client:
        yield client


def caller(**limits: int) -> Caller:
    return Caller(OWNER, "laptop", ("*",), **limits)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the answer is yes."""
    async with asyncio.timeout(10):
        while not await condition():  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.001)


async def settled(counters: RedisCounters) -> None:
    """Until Redis has been told everything."""
    await until(lambda: not counters._ending)


async def lease_end(redis: Redis) -> float:
    """When the only lease runs out, in milliseconds since 1970."""
    leases: Any = await redis.zrange(ONGOING, 0, -1, withscores=True)
    ((_, end),) = leases
    return float(end)


async def test_gateways_count_requests_together(gateway: Gateway) -> None:
    one, two = gateway(), gateway()
    who = caller(requests_per_minute=3)
    assert [(await counters.begin(who)).full for counters in (one, two, one)] == [None, None, None]
    for counters in (one, two):
        refused = await counters.begin(who)
        assert (refused.full, refused.requests.used) == ("requests", 3)


async def test_gateways_count_tokens_together(gateway: Gateway) -> None:
    one, two = gateway(), gateway()
    who = caller(tokens_per_minute=100)
    first = await one.begin(who)
    assert (await two.begin(who)).full is None
    first.end(250)
    await settled(one)
    refused = await two.begin(who)
    assert (refused.full, refused.tokens.used) == ("tokens", 250)


async def test_gateways_share_places(gateway: Gateway) -> None:
    one, two = gateway(), gateway()
    who = caller(concurrent_requests=2)
    first, _ = await one.begin(who), await two.begin(who)
    assert (await two.begin(who)).full == "concurrency"
    first.end(0)
    await settled(one)
    assert (await two.begin(who)).full is None
    assert (await one.begin(who)).full == "concurrency"


async def test_what_is_refused_counts_nowhere(gateway: Gateway, redis: Redis) -> None:
    counters = gateway()
    who = caller(requests_per_minute=2, concurrent_requests=1)
    first = await counters.begin(who)
    for _ in range(3):
        assert (await counters.begin(who)).full == "concurrency"
    first.end(0)
    second = await counters.begin(who)
    assert (second.full, second.requests.used) == (None, 2)
    second.end(0)
    for _ in range(3):
        assert (await counters.begin(who)).full == "requests"
    await settled(counters)
    assert await redis.zcard(ONGOING) == 0


@pytest.mark.parametrize("unit", ["requests", "tokens"])
async def test_the_minute_before_counts_too(gateway: Gateway, redis: Redis, unit: str) -> None:
    seconds, _ = await redis.time()
    minute = seconds // local_counters.WINDOW_SECONDS
    await redis.hset(f"{USED}:{minute - 1}", unit, 10**9)
    standing = await gateway().begin(caller(requests_per_minute=1000, tokens_per_minute=1000))
    window = {"requests": standing.requests, "tokens": standing.tokens}[unit]
    assert standing.full == unit
    assert window.previous == 10**9
    assert 0 < window.left <= local_counters.WINDOW_SECONDS


async def test_nothing_stays_in_redis_for_ever(gateway: Gateway, redis: Redis) -> None:
    counters = gateway()
    (await counters.begin(caller(requests_per_minute=10, tokens_per_minute=10, concurrent_requests=2))).end(5)
    await counters.begin(caller(concurrent_requests=2))
    await settled(counters)
    keys = await redis.keys("*")
    assert keys
    assert all([await redis.pttl(key) > 0 for key in keys])


async def test_who_asks_again_right_after_an_answer_is_no_crowd(gateway: Gateway) -> None:
    counters = gateway()
    for _ in range(50):
        standing = await counters.begin(caller(concurrent_requests=1))
        assert standing.full is None
        standing.end(0)


async def test_the_places_of_a_killed_gateway_come_back(gateway: Gateway) -> None:
    killed, other = gateway(lease_seconds=0.2), gateway(lease_seconds=0.2)
    who = caller(concurrent_requests=1)
    assert (await killed.begin(who)).full is None
    assert killed._renewing is not None
    killed._renewing.cancel()
    killed._leases.clear()
    assert (await other.begin(who)).full == "concurrency"

    async def admitted() -> bool:
        return (await other.begin(who)).full is None

    await eventually(admitted)


async def test_a_long_request_keeps_its_place(gateway: Gateway, redis: Redis) -> None:
    counters, other = gateway(lease_seconds=1.0), gateway()
    who = caller(concurrent_requests=1)
    standing = await counters.begin(who)
    first = await lease_end(redis)

    async def renewed_past_its_lease() -> bool:
        return await lease_end(redis) > first + 1000

    await eventually(renewed_past_its_lease)
    assert (await other.begin(who)).full == "concurrency"
    standing.end(0)
    await settled(counters)
    assert await redis.zcard(ONGOING) == 0


async def test_a_place_given_back_is_not_renewed_to_life(gateway: Gateway, redis: Redis) -> None:
    counters = gateway()
    (await counters.begin(caller(concurrent_requests=1))).end(0)
    await settled(counters)
    await counters._renew_script(keys=[ONGOING], args=[30_000, "gone"])
    assert await redis.zcard(ONGOING) == 0


async def test_closing_gives_back_every_place(gateway: Gateway, redis: Redis) -> None:
    counters = gateway()
    for _ in range(5):
        await counters.begin(caller(concurrent_requests=5))
    assert await redis.zcard(ONGOING) == 5
    await counters.close()
    assert await redis.zcard(ONGOING) == 0


async def test_a_request_that_is_cancelled_while_it_asks_holds_no_place(
    gateway: Gateway, server: RedisServer, redis: Redis
) -> None:
    counters = gateway()
    who = caller(concurrent_requests=1)
    (await counters.begin(who)).end(0)
    await settled(counters)
    server.freeze()
    asking = asyncio.create_task(counters.begin(who))
    await until(lambda: bool(counters._leases))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait({asking})
    server.thaw()
    assert asking.cancelled()
    assert counters._leases == {}
    await settled(counters)

    async def free() -> bool:
        return await redis.zcard(ONGOING) == 0

    await eventually(free)


async def test_without_redis_a_gateway_counts_by_itself_and_says_so_once(
    gateway: Gateway, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    counters = gateway(retry_seconds=1000)
    who = caller(requests_per_minute=2, tokens_per_minute=100, concurrent_requests=5)
    held = await counters.begin(who)
    server.stop()
    assert [(await counters.begin(who)).full for _ in range(3)] == [None, None, "requests"]
    held.end(500)
    assert (await counters._instead.begin(caller(tokens_per_minute=100))).full == "tokens"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "Redis is away" in record.getMessage()


async def test_redis_is_used_again_when_it_is_back(
    gateway: Gateway, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    one, two = gateway(), gateway()
    who = caller(requests_per_minute=2)
    for _ in range(2):
        assert (await one.begin(who)).full is None
    server.stop()
    assert (await one.begin(who)).full is None
    server.start()
    await until(lambda: one._there and two._there)
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(":")[0] for message in messages] == [
        "Redis is away, so this gateway counts the limits of its keys by itself",
        "Redis is back",
    ]
    # It came back empty; from here on both count there.
    assert [(await counters.begin(who)).full for counters in (two, one, two, one)] == [None, None, *["requests"] * 2]


async def test_a_redis_that_hangs_is_not_waited_for(
    gateway: Gateway, server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_counters, "_PATIENCE_SECONDS", 0.25)
    counters = gateway(retry_seconds=1000)
    who = caller(requests_per_minute=100)
    await counters.begin(who)
    server.freeze()
    began = time.monotonic()
    standings = await asyncio.gather(*(counters.begin(who) for _ in range(20)))
    first = time.monotonic() - began
    await counters.begin(who)
    assert [standing.full for standing in standings] == [None] * 20
    assert 0.2 < first < 5
    assert "no answer within 0.25 s" in caplog.text
    server.thaw()


async def test_a_redis_that_takes_no_writes_stays_away(
    gateway: Gateway, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    counters = gateway()
    await redis.replicaof("127.0.0.1", "1")
    for _ in range(5):
        assert (await counters.begin(caller(requests_per_minute=100))).full is None
    assert len(caplog.records) == 1
    assert await redis.ping()
    assert not counters._there
    await redis.replicaof("NO", "ONE")
    await until(lambda: counters._there)


async def test_a_connection_that_was_cut_while_unused_says_nothing(
    gateway: Gateway, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    counters = gateway()
    who = caller(requests_per_minute=10)
    await counters.begin(who)
    await redis.client_kill_filter(_type="normal", skipme=True)
    assert (await counters.begin(who)).requests.used == 2
    assert caplog.records == []


async def test_a_wrong_password_is_logged_without_it(
    gateway: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with RedisServer(tmp_path, password="opensesame") as locked:
        counters = gateway(url=locked.url.replace("//", "//:hunter2@"), retry_seconds=1000)
        assert (await counters.begin(caller(requests_per_minute=1))).full is None
        right = gateway(url=locked.url.replace("//", "//:opensesame@"))
        await right.begin(caller(requests_per_minute=1))
        assert (await right.begin(caller(requests_per_minute=1))).full == "requests"
    assert "Redis is away" in caplog.text
    assert "hunter2" not in caplog.text
    assert "opensesame" not in caplog.text


@pytest.mark.parametrize("url", ["redis://:hunter2@host:port/0", "redis://:hunter2@host:99999999/0", "http://hunter2"])
def test_a_url_that_is_none_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigurationError, match="limitsUrl is not the URL of a Redis") as refusal:
        RedisCounters(url, instead=LocalCounters())
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__cause__ is None


async def test_any_end_while_everything_falls_apart_is_quiet(gateway: Gateway, server: RedisServer) -> None:
    counters = gateway(retry_seconds=1000)
    standings: list[Standing] = [await counters.begin(caller(concurrent_requests=20)) for _ in range(20)]
    server.stop()
    for standing in standings[:10]:
        standing.end(1)
    await settled(counters)
    for standing in standings[10:]:
        standing.end(1)
    with contextlib.suppress(asyncio.CancelledError):
        await counters.close()
    assert counters._leases == {}
