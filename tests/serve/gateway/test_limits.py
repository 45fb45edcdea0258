"""How much a caller may use: the same whether it is counted in memory or in a real Redis."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fairlead_serve.errors import ApiError, ConfigurationError
from fairlead_serve.gateway import counters, redis_counters
from fairlead_serve.gateway.auth import ANONYMOUS, Caller
from fairlead_serve.gateway.counters import LocalCounters, Window
from fairlead_serve.gateway.limits import Grant, Limits, _duration
from fairlead_serve.gateway.redis_counters import RedisCounters
from tests.redis import RedisServer
from tests.serve.gateway.world import until


@pytest.fixture(params=["memory", "redis"])
async def limits(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Limits]:
    """With a minute whose end no test sees, and time enough for Redis on a machine that is busy."""
    for module in (counters, redis_counters):
        monkeypatch.setattr(module, "WINDOW_SECONDS", 10**7)
    monkeypatch.setattr(redis_counters, "_PATIENCE_SECONDS", 30)
    if request.param == "memory":
        limits = Limits("memory://")
        yield limits
        await limits.close()
        return
    with RedisServer(tmp_path) as server:
        limits = Limits(server.url)
        yield limits
        assert isinstance(limits._counters, RedisCounters)
        assert limits._counters._there
        await limits.close()


def caller(**limits: int) -> Caller:
    return Caller("key_1", "laptop", ("*",), **limits)


async def refusal(limits: Limits, who: Caller) -> ApiError:
    with pytest.raises(ApiError) as raised:
        await limits.admit(who)
    return raised.value


async def settled(limits: Limits) -> None:
    """Until Redis, where it is it that counts, has been told everything."""
    shared = limits._counters
    if isinstance(shared, RedisCounters):
        await until(lambda: not shared._ending)


async def ended(limits: Limits, grant: Grant, *, tokens: int = 0) -> None:
    """Charge and release, and wait until whoever counts knows of it."""
    grant.charge(tokens)
    grant.release()
    await settled(limits)


def headers(grant: Grant) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in grant.headers}


async def test_a_caller_without_limits_costs_nothing_and_is_told_nothing(limits: Limits) -> None:
    grant = await limits.admit(ANONYMOUS)
    assert grant is await limits.admit(Caller("key_1", "laptop"))
    assert (grant.headers, grant.counts_tokens) == ((), False)
    for _ in range(2):
        grant.charge(10)
        grant.release()
    if isinstance(limits._counters, LocalCounters):
        assert limits._counters._counts == {}


async def test_too_many_requests_a_minute_are_told_when_to_come_back(limits: Limits) -> None:
    who = caller(requests_per_minute=2)
    for _ in range(2):
        (await limits.admit(who)).release()
    error = await refusal(limits, who)
    assert (error.status, error.type, error.code) == (429, "rate_limit_exceeded", "rate_limit_exceeded")
    seconds = int(error.headers["retry-after"])
    assert seconds >= 1
    assert error.message == f"the key laptop is at its limit of 2 requests a minute; try again in {seconds} s"
    assert error.headers["x-ratelimit-limit-requests"] == "2"
    assert error.headers["x-ratelimit-remaining-requests"] == "0"


async def test_tokens_are_charged_afterwards_and_may_overdraw(limits: Limits) -> None:
    who = caller(tokens_per_minute=100)
    first = await limits.admit(who)
    assert first.counts_tokens
    assert headers(first)["x-ratelimit-remaining-tokens"] == "100"
    first.charge(40)
    await ended(limits, first, tokens=20)
    second = await limits.admit(who)
    assert headers(second)["x-ratelimit-remaining-tokens"] == "40"
    await ended(limits, second, tokens=1000)
    error = await refusal(limits, who)
    assert error.code == "rate_limit_exceeded"
    assert "100 tokens a minute" in error.message
    assert error.headers["x-ratelimit-remaining-tokens"] == "0"
    # What was overdrawn has to be made up for: the minute after this one is nearly full as well.
    assert int(error.headers["retry-after"]) > 50


async def test_too_many_requests_at_once_are_refused_until_one_ends(limits: Limits) -> None:
    who = caller(concurrent_requests=2)
    first, _ = await limits.admit(who), await limits.admit(who)
    assert (first.headers, first.counts_tokens) == ([], False)
    error = await refusal(limits, who)
    assert (error.status, error.code, error.headers) == (429, "concurrency_exceeded", {"retry-after": "1"})
    assert "laptop has 2 requests at once already" in error.message
    await ended(limits, first)
    await limits.admit(who)
    assert (await refusal(limits, who)).code == "concurrency_exceeded"


async def test_a_place_is_given_back_once_however_often(limits: Limits) -> None:
    who = caller(concurrent_requests=2)
    first, _ = await limits.admit(who), await limits.admit(who)
    for _ in range(3):
        await ended(limits, first)
    await limits.admit(who)
    assert (await refusal(limits, who)).code == "concurrency_exceeded"


async def test_an_answer_tells_of_the_limits_that_there_are(limits: Limits) -> None:
    names = [
        f"x-ratelimit-{what}-{unit}" for unit in ("requests", "tokens") for what in ("limit", "remaining", "reset")
    ]
    grant = await limits.admit(caller(requests_per_minute=10, tokens_per_minute=1000, concurrent_requests=5))
    assert list(headers(grant)) == names
    assert [headers(grant)[name] for name in names[:2]] == ["10", "9"]
    assert headers(grant)["x-ratelimit-reset-tokens"] == "0ms"
    assert list(headers(await limits.admit(caller(tokens_per_minute=1000)))) == names[3:]


async def test_a_refusal_tells_of_every_limit(limits: Limits) -> None:
    who = caller(requests_per_minute=10, tokens_per_minute=1000, concurrent_requests=1)
    await limits.admit(who)
    error = await refusal(limits, who)
    assert error.code == "concurrency_exceeded"
    assert error.headers["x-ratelimit-remaining-requests"] == "9"
    assert error.headers["x-ratelimit-remaining-tokens"] == "1000"


async def test_what_is_refused_counts_nowhere(limits: Limits) -> None:
    who = caller(requests_per_minute=2, concurrent_requests=1)
    first = await limits.admit(who)
    for _ in range(3):
        assert (await refusal(limits, who)).code == "concurrency_exceeded"
    await ended(limits, first)
    second = await limits.admit(who)
    assert headers(second)["x-ratelimit-remaining-requests"] == "0"
    await ended(limits, second)
    for _ in range(3):
        assert (await refusal(limits, who)).code == "rate_limit_exceeded"


async def test_a_request_that_is_cancelled_gives_its_place_back_and_pays(limits: Limits) -> None:
    who = caller(tokens_per_minute=100, concurrent_requests=1)
    admitted = asyncio.Event()

    async def request() -> None:
        grant = await limits.admit(who)
        admitted.set()
        try:
            await asyncio.Event().wait()
        finally:
            # The worst moment: cancelled again before anything could be awaited.
            task.cancel()
            grant.charge(60)
            grant.release()

    for _ in range(2):
        admitted.clear()
        task = asyncio.create_task(request())
        await admitted.wait()
        task.cancel()
        await asyncio.wait({task})
    await settled(limits)
    assert (await refusal(limits, who)).message.startswith("the key laptop is at its limit of 100 tokens")


async def test_who_comes_back_when_told_is_let_in() -> None:
    now = 6000.0
    limits = Limits("memory://")
    limits._counters = LocalCounters(clock=lambda: now)
    who = caller(requests_per_minute=7, tokens_per_minute=100)
    for took in (0, 30, 5, 1000, 99, 100, 101, 10_000, 0, 0, 0, 0, 0, 0, 0, 0):
        try:
            grant = await limits.admit(who)
        except ApiError as error:
            now += int(error.headers["retry-after"])
            grant = await limits.admit(who)
        await ended(limits, grant, tokens=took)
        now += 0.3
    assert now > 6000 + 120


async def test_who_is_over_two_limits_is_told_of_the_longer_wait() -> None:
    limits = Limits("memory://")
    limits._counters = LocalCounters(clock=lambda: 6050.0)  # 10 s before a minute ends
    who = caller(requests_per_minute=1, tokens_per_minute=100)
    await ended(limits, await limits.admit(who), tokens=200)
    error = await refusal(limits, who)
    assert "1 requests a minute; try again in 41 s" in error.message
    assert error.headers["retry-after"] == "41"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, b"0ms"),
        (0.0001, b"1ms"),
        (0.12, b"120ms"),
        (0.9999, b"1000ms"),
        (1, b"1s"),
        (59.2, b"1m0s"),
        (59, b"59s"),
        (61.5, b"1m2s"),
        (360, b"6m0s"),
    ],
)
def test_durations_are_written_as_openai_does(seconds: float, written: bytes) -> None:
    assert _duration(seconds) == written


def test_a_window_that_is_empty_resets_at_once() -> None:
    assert _duration(Window(0, 0, 30).seconds_until_empty()) == b"0ms"


@pytest.mark.parametrize("url", ["", "memory", "memcached://:hunter2@host", "postgresql://u:hunter2@host", "hunter2"])
def test_another_place_to_count_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"limitsUrl is none of memory://, redis://\.\.\.") as refused:
        Limits(url)
    assert "hunter2" not in str(refused.value)


async def test_limits_without_a_redis_at_all_hold_nevertheless(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    limits = Limits("redis://:hunter2@127.0.0.1:1/0")  # nothing listens there
    who = caller(requests_per_minute=1, tokens_per_minute=10)
    grant = await limits.admit(who)
    assert (await refusal(limits, who)).code == "rate_limit_exceeded"
    grant.charge(100)
    grant.release()
    assert (await refusal(limits, caller(tokens_per_minute=10))).code == "rate_limit_exceeded"
    await limits.close()
    assert len([record for record in caplog.records if record.levelno >= logging.INFO]) == 1
    assert "hunter2" not in caplog.text
