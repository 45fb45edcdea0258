"""Who serves a model, and what is known of its readiness."""

import asyncio
from typing import Any

import pytest

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.backends import Backend
from fairlead_serve.gateway.balancing import PrefixHash
from tests.serve.gateway.world import backend, until

URLS = ("http://127.0.0.1:1", "http://127.0.0.1:2")


def make(name: str = "model", **options: Any) -> Backend:
    return Backend(backend(*URLS, name=name, **options), [], 0, URLS)


def test_an_upstream_is_ready_from_the_start_and_an_engine_is_not() -> None:
    assert make(kind="upstream").ready
    assert not make(kind="engine").ready


def test_a_model_is_ready_as_long_as_one_endpoint_is() -> None:
    model = make(kind="engine")
    first, second = model.balancer.endpoints
    model.mark(first, ready=True)
    model.mark(second, ready=True)
    model.suspect(first)
    assert model.ready
    assert first.doubt.is_set()
    model.suspect(second)
    assert not model.ready


def test_a_failure_of_somebody_else_s_server_does_not_take_it_out() -> None:
    model = make(kind="upstream")
    model.suspect(model.balancer.endpoints[0])
    assert all(endpoint.ready for endpoint in model.balancer.endpoints)


def test_a_broken_stream_asks_for_probes_and_takes_nothing_out() -> None:
    model = make(kind="engine")
    for endpoint in model.balancer.endpoints:
        model.mark(endpoint, ready=True)
    model.suspect_all()
    assert model.ready
    assert all(endpoint.doubt.is_set() for endpoint in model.balancer.endpoints)


async def test_requests_wait_for_a_cold_model_in_bounded_number() -> None:
    model = make(kind="engine", cold_start={"max_queued": 2, "timeout_seconds": 60})
    waiting = [asyncio.create_task(model.wait_ready()) for _ in range(2)]
    await until(lambda: model.cold == 2)
    assert model.waiting == 2
    with pytest.raises(ApiError) as refusal:
        await model.wait_ready()
    assert (refusal.value.status, refusal.value.code) == (503, "engine_unavailable")
    assert int(refusal.value.headers["retry-after"]) > 0
    waiting[0].cancel()
    await asyncio.wait({waiting[0]})
    assert model.cold == 1
    model.mark(model.balancer.endpoints[0], ready=True)
    await waiting[1]
    assert model.cold == 0


async def test_the_wait_for_a_cold_model_is_bounded_in_time() -> None:
    model = make(kind="engine", cold_start={"max_queued": 2, "timeout_seconds": 0.01})
    with pytest.raises(ApiError) as refusal:
        await model.wait_ready()
    assert refusal.value.status == 503
    assert model.cold == 0


def test_a_refused_task_names_what_the_model_does() -> None:
    model = make()
    model.tasks = ("embed", "classify")
    error = model.not_supported("/v1/chat/completions")
    assert (error.status, error.code) == (404, "model_not_supported")
    assert error.message == "the model model does not support /v1/chat/completions; it does: embed, classify"


def test_requests_at_an_endpoint_are_counted_also_when_they_fail() -> None:
    model = make()
    endpoint = model.balancer.endpoints[0]
    counted = []

    def fail() -> None:
        with endpoint:
            counted.append(endpoint.ongoing)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert counted == [1]
    assert endpoint.ongoing == 0


# --- while the gateway runs -----------------------------------------------------------------------------


def urls_of(model: Backend) -> list[str]:
    return [endpoint.url for endpoint in model.balancer.endpoints]


def test_endpoints_that_stay_keep_what_is_known_of_them() -> None:
    model = make(kind="engine")
    first, second = model.balancer.endpoints
    model.mark(second, ready=True)
    with second:
        gone = model.serve_at([URLS[1], "http://127.0.0.1:3"], ready=True)
        assert gone == [first]
        assert urls_of(model) == [URLS[1], "http://127.0.0.1:3"]
        assert model.balancer.endpoints[0] is second
        assert second.ongoing == 1


def test_an_endpoint_that_comes_back_has_the_requests_that_it_left_with() -> None:
    model = make(kind="engine")
    second = model.balancer.endpoints[1]
    with second:
        model.serve_at([URLS[0]], ready=True)
        model.serve_at(URLS, ready=True)
        assert model.balancer.endpoints[1] is second
        assert (second.ongoing, second.ready) == (1, True)


@pytest.mark.parametrize("strategy", ["LeastLoad", "PrefixHash"])
def test_only_the_endpoints_of_now_are_picked(strategy: str) -> None:
    model = make(kind="engine", strategy=strategy)
    model.serve_at(["http://127.0.0.1:3"], ready=True)
    assert {picked.url for _ in range(4) if (picked := model.balancer.pick(session=b"s"))} == {"http://127.0.0.1:3"}
    model.serve_at([], ready=True)
    assert model.balancer.pick() is None
    assert not model.ready


def test_a_changed_strategy_begins_its_turns_anew() -> None:
    model = make(kind="upstream")
    for _ in range(5):
        model.balancer.pick()
    model.change(backend(*URLS, kind="engine", strategy="PrefixHash"), [], 0)
    assert isinstance(model.balancer, PrefixHash)
    model.change(backend(*URLS, kind="engine", strategy="LeastLoad"), [], 0)
    picked = [endpoint.url for _ in range(4) if (endpoint := model.balancer.pick())]
    assert picked == [*URLS, *URLS]


async def test_who_waits_goes_on_when_the_first_endpoint_comes() -> None:
    model = make(kind="engine")
    model.serve_at([], ready=True)
    waiting = asyncio.create_task(model.wait_ready())
    await until(lambda: model.cold == 1)
    model.serve_at(URLS[:1], ready=True)
    await waiting


async def test_an_endpoint_that_is_gone_again_at_once_lets_nobody_through() -> None:
    model = make(kind="engine")
    waiting = asyncio.create_task(model.wait_ready())
    await until(lambda: model.cold == 1)
    model.serve_at(URLS[:1], ready=True)
    model.serve_at([], ready=True)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


@pytest.mark.parametrize(("removed", "status"), [(True, 404), (False, 503)])
async def test_who_waits_is_told_when_there_is_nothing_to_wait_for(removed: bool, status: int) -> None:
    model = make(kind="engine")
    waiting = asyncio.create_task(model.wait_ready())
    await until(lambda: model.cold == 1)
    if removed:
        model.remove()
    else:
        model.refuse("it is suspended")
    with pytest.raises(ApiError) as refusal:
        await waiting
    assert refusal.value.status == status
    assert model.cold == 0


async def test_what_is_refused_is_not_ready_until_it_is_served_again() -> None:
    model = make(kind="upstream")
    model.refuse("it is suspended")
    with pytest.raises(ApiError, match="the model model is not served now: it is suspended"):
        await model.wait_ready()
    model.refuse("")
    await model.wait_ready()
    assert model.ready
