"""What limits count by, in memory and on a clock of the test."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead_serve.gateway.auth import Caller
from fairlead_serve.gateway.counters import WINDOW_SECONDS, LocalCounters, Standing, Window


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0 * WINDOW_SECONDS

    def __call__(self) -> float:
        return self.now


def caller(owner: str = "key_1", **limits: int) -> Caller:
    return Caller(owner, owner, ("*",), **limits)


async def begin(counters: LocalCounters, who: Caller, *, times: int = 1) -> Standing:
    """`times` requests that are all ongoing; what is said to the last one."""
    for _ in range(times - 1):
        assert (await counters.begin(who)).full is None
    return await counters.begin(who)


@pytest.mark.parametrize(
    ("window", "used"),
    [
        (Window(0, 0, 60), 0),
        (Window(0, 7, 30), 7),
        (Window(10, 0, 60), 10),
        (Window(10, 0, 30), 5),
        (Window(10, 2, 33), 7),
        (Window(10, 2, 0), 2),
    ],
)
def test_the_minute_before_counts_by_what_the_last_sixty_seconds_reach_into_it(window: Window, used: int) -> None:
    assert window.used == used


@pytest.mark.parametrize(
    ("window", "limit", "below", "empty"),
    [
        (Window(0, 0, 60), 1, 0, 0),
        (Window(0, 1, 20), 1, 20, 80),  # one request at the limit of one counts until the next minute begins
        (Window(0, 60, 20), 30, 50, 80),  # half of it has to run out, in the middle of the next minute
        (Window(60, 0, 60), 30, 30, 60),
        (Window(60, 10, 60), 30, 40, 120),
    ],
)
def test_when_there_is_room_again(window: Window, limit: int, below: float, empty: float) -> None:
    assert window.seconds_until_below(limit) == pytest.approx(below)
    assert window.seconds_until_empty() == pytest.approx(empty)


async def test_requests_are_counted_up_to_the_limit() -> None:
    counters = LocalCounters(clock=Clock())
    who = caller(requests_per_minute=3)
    assert (await begin(counters, who, times=3)).requests.used == 3
    refused = await counters.begin(who)
    assert (refused.full, refused.requests.used) == ("requests", 3)


async def test_tokens_count_when_a_request_ends_and_may_overdraw() -> None:
    counters = LocalCounters(clock=Clock())
    who = caller(tokens_per_minute=100)
    first, second = await begin(counters, who), await begin(counters, who)
    first.end(99)
    assert (await begin(counters, who)).full is None
    second.end(400)
    refused = await counters.begin(who)
    assert (refused.full, refused.tokens.used) == ("tokens", 499)


async def test_requests_at_once_give_their_places_back() -> None:
    counters = LocalCounters(clock=Clock())
    who = caller(concurrent_requests=2)
    first, _ = await begin(counters, who), await begin(counters, who)
    assert (await counters.begin(who)).full == "concurrency"
    first.end(0)
    assert (await counters.begin(who)).full is None
    assert (await counters.begin(who)).full == "concurrency"


async def test_what_is_refused_counts_nowhere() -> None:
    counters = LocalCounters(clock=Clock())
    who = caller(requests_per_minute=2, concurrent_requests=1)
    first = await counters.begin(who)
    for _ in range(5):
        assert (await counters.begin(who)).full == "concurrency"
    first.end(0)
    second = await counters.begin(who)
    assert (second.full, second.requests.used) == (None, 2)
    for _ in range(5):
        assert (await counters.begin(who)).full == "requests"
    second.end(0)
    assert counters._counts["key_1"].ongoing == 0


async def test_each_owner_is_counted_apart() -> None:
    counters = LocalCounters(clock=Clock())
    assert (await begin(counters, caller("key_1", requests_per_minute=1))).full is None
    assert (await begin(counters, caller("key_2", requests_per_minute=1))).full is None
    assert (await begin(counters, caller("key_1", requests_per_minute=1))).full == "requests"


async def test_changed_limits_keep_what_was_counted() -> None:
    counters = LocalCounters(clock=Clock())
    assert (await begin(counters, caller(requests_per_minute=2), times=2)).full is None
    assert (await counters.begin(caller(requests_per_minute=3))).full is None
    assert (await counters.begin(caller(requests_per_minute=1))).full == "requests"


async def test_the_end_of_a_minute_does_not_give_the_limit_twice() -> None:
    clock = Clock()
    counters = LocalCounters(clock=clock)
    who = caller(requests_per_minute=60)
    clock.now += 59
    await begin(counters, who, times=60)
    clock.now += 2
    assert (await begin(counters, who)).full is None
    assert (await counters.begin(who)).full == "requests"


@pytest.mark.parametrize("seconds", [120, 121, 3600, 10**9])
async def test_after_two_minutes_everything_is_forgotten_but_who_is_still_there(seconds: int) -> None:
    clock = Clock()
    counters = LocalCounters(clock=clock)
    who = caller(requests_per_minute=1, tokens_per_minute=1, concurrent_requests=2)
    (await counters.begin(who)).end(1000)
    clock.now += seconds
    standing = await counters.begin(who)
    assert (standing.full, standing.requests.used, standing.tokens.used) == (None, 1, 0)


_STEPS = st.lists(st.tuples(st.floats(0, 150), st.integers(0, 300)), max_size=40)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(1, 20), st.integers(1, 1000), _STEPS)
async def test_who_waits_as_long_as_was_said_is_let_in(
    requests: int, tokens: int, steps: list[tuple[float, int]]
) -> None:
    clock = Clock()
    counters = LocalCounters(clock=clock)
    who = caller(requests_per_minute=requests, tokens_per_minute=tokens)
    for pause, took in steps:
        clock.now += pause
        standing = await counters.begin(who)
        while standing.full is not None:
            window, limit = (standing.requests, requests) if standing.full == "requests" else (standing.tokens, tokens)
            wait = window.seconds_until_below(limit)
            assert 0 <= wait <= window.seconds_until_empty()
            clock.now += wait + 0.001
            again = await counters.begin(who)
            assert again.full != standing.full
            standing = again
        standing.end(took)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(1, 20), st.lists(st.floats(0, 20), max_size=100))
async def test_no_minute_of_the_clock_has_more_requests_than_the_limit(limit: int, pauses: list[float]) -> None:
    clock = Clock()
    counters = LocalCounters(clock=clock)
    who = caller(requests_per_minute=limit)
    admitted: dict[int, int] = {}
    for pause in pauses:
        clock.now += pause
        standing = await counters.begin(who)
        assert standing.requests.used <= limit
        if standing.full is None:
            minute = int(clock.now // WINDOW_SECONDS)
            admitted[minute] = admitted.get(minute, 0) + 1
    assert max(admitted.values(), default=0) <= limit
