"""Who serves a model, and what is known of its readiness."""

import asyncio
from typing import Any

import pytest

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.backends import Backend, RoutingTable, shorten
from tests.serve.gateway.world import backend, until


def make(name: str = "model", **options: Any) -> Backend:
    return Backend(backend("http://127.0.0.1:1", "http://127.0.0.1:2", name=name, **options), [], 0)


def test_every_name_and_alias_finds_its_backend() -> None:
    one, two = make("one", aliases=("uno",)), make("two")
    table = RoutingTable([one, two])
    assert [table.find(name) for name in ("one", "uno", "two")] == [one, one, two]
    assert [name for name, _ in table.names()] == ["one", "uno", "two"]


def test_a_name_claimed_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'uno' is claimed by one and two"):
        RoutingTable([make("one", aliases=("uno",)), make("two", aliases=("uno",))])


def test_a_default_that_is_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match="'three' is none of: one, two"):
        RoutingTable([make("one"), make("two")], default_model="three")


def test_an_unknown_model_is_404_and_what_there_is_is_named() -> None:
    with pytest.raises(ApiError) as refusal:
        RoutingTable([make("one"), make("two")]).find("x" * 5000)
    error = refusal.value
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert error.message.endswith("there are: one, two")
    assert len(error.message) < 250


@pytest.mark.parametrize("unnamed", [None, ""])
def test_a_request_without_a_model_gets_the_only_one_or_the_default(unnamed: str | None) -> None:
    one, two = make("one"), make("two")
    assert RoutingTable([one]).find(unnamed) is one
    assert RoutingTable([one, two], default_model="two").find(unnamed) is two
    with pytest.raises(ApiError) as refusal:
        RoutingTable([one, two]).find(unnamed)
    assert (refusal.value.status, refusal.value.code, refusal.value.param) == (400, "model_required", "model")


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
        with model.using(endpoint):
            counted.append(endpoint.ongoing)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert counted == [1]
    assert endpoint.ongoing == 0


def test_quotes_are_cut() -> None:
    assert shorten("x" * 100) == "x" * 100
    assert shorten("x" * 101) == "x" * 100 + "…"
