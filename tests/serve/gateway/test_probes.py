"""Readiness as the engines themselves tell it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from fairlead_serve.gateway.backends import Backend
from fairlead_serve.gateway.probes import Prober
from fairlead_serve.gateway.upstream import UpstreamClient
from tests.serve.gateway.upstream import Exchange, Request, Upstream
from tests.serve.gateway.world import World, backend, until

# Far longer than a test: what happens then happens because it was asked for.
NEVER = 3600.0
SOON = 0.005


async def no_script(exchange: Exchange, _: Request) -> None:
    await exchange.answer({})


@contextlib.asynccontextmanager
async def probing(model: Backend, *, seconds: float) -> AsyncIterator[None]:
    client = UpstreamClient(connect_seconds=5, max_idle=4)
    prober = Prober(client, seconds=seconds)
    prober.follow(model)
    yield
    await prober.stop()
    client.close()


def engine(*upstreams: Upstream) -> Backend:
    urls = [f"{one.url}/engines/m" for one in upstreams]
    return Backend(backend(*urls, kind="engine"), [(b"x-fairlead-internal-token", b"internal")], 0, urls)


async def test_an_engine_becomes_ready_when_it_says_so(world: World) -> None:
    upstream = await world.upstream(no_script)
    upstream.healthy = False
    model = engine(upstream)
    async with probing(model, seconds=SOON):
        await until(lambda: len(upstream.probes) >= 3)
        assert not model.ready
        upstream.healthy = True
        await until(lambda: model.ready)


async def test_an_engine_is_asked_below_its_path_with_the_internal_token(world: World) -> None:
    upstream = await world.upstream(no_script)
    async with probing(engine(upstream), seconds=NEVER):
        await until(lambda: len(upstream.probes) == 2)
    assert [probe.path for probe in upstream.probes] == ["/engines/m/health", "/engines/m/fairlead/tasks"]
    assert {probe.headers["x-fairlead-internal-token"] for probe in upstream.probes} == {"internal"}


async def test_doubt_is_cleared_up_at_once(world: World) -> None:
    upstream = await world.upstream(no_script)
    model = engine(upstream)
    async with probing(model, seconds=NEVER):
        await until(lambda: model.tasks != ())
        model.suspect(model.balancer.endpoints[0])
        assert not model.ready
        await until(lambda: model.ready)


async def test_doubt_that_is_right_takes_the_engine_out(world: World) -> None:
    upstream = await world.upstream(no_script)
    model = engine(upstream)
    async with probing(model, seconds=NEVER):
        await until(lambda: model.tasks != ())
        upstream.healthy = False
        model.suspect_all()
        await until(lambda: not model.ready)


async def test_an_engine_that_comes_back_is_found_by_itself(world: World) -> None:
    upstream = await world.upstream(no_script)
    model = engine(upstream)
    await upstream.stop()
    async with probing(model, seconds=SOON):
        model.suspect_all()
        await upstream.listen()
        await until(lambda: model.ready)


async def test_one_dead_engine_says_nothing_of_the_others(world: World) -> None:
    dead, alive = await world.upstream(no_script), await world.upstream(no_script)
    await dead.stop()
    model = engine(dead, alive)
    async with probing(model, seconds=SOON):
        await until(lambda: model.ready)
        assert [endpoint.ready for endpoint in model.balancer.endpoints] == [False, True]


async def test_what_the_model_can_do_is_learned_once(world: World) -> None:
    upstream = await world.upstream(no_script, tasks=["embed", "classify"])
    model = engine(upstream)
    async with probing(model, seconds=SOON):
        await until(lambda: len(upstream.probes) >= 5)
        assert model.tasks == ("embed", "classify")
    assert sum(probe.path.endswith("/fairlead/tasks") for probe in upstream.probes) == 1


@pytest.mark.parametrize("body", [b"nonsense", b'{"a": 1}', b'["\xff"]', b"[1]", b"x" * 100_000])
async def test_nonsense_about_tasks_does_not_end_the_probing(world: World, body: bytes) -> None:
    asked = 0

    class Nonsense(Upstream):
        async def _handle(self, exchange: Exchange, request: Request) -> None:
            nonlocal asked
            asked += 1
            await exchange.answer(body if request.path.endswith("tasks") else {})

    async with Nonsense(no_script) as upstream:
        model = engine(upstream)
        async with probing(model, seconds=SOON):
            await until(lambda: asked >= 5)
            assert model.ready
            assert model.tasks == ()


async def test_somebody_else_s_server_is_not_probed(world: World) -> None:
    upstream = await world.upstream(no_script)
    model = Backend(backend(upstream.url, kind="upstream"), [], 0, [upstream.url])
    async with probing(model, seconds=SOON):
        for _ in range(20):
            await asyncio.sleep(0)
    assert upstream.connections == 0


async def test_endpoints_are_looked_after_from_their_coming_to_their_going(world: World) -> None:
    first, second = await world.upstream(no_script), await world.upstream(no_script)
    model = engine(first)
    client = UpstreamClient(connect_seconds=5, max_idle=4)
    prober = Prober(client, seconds=NEVER)
    prober.follow(model)
    await until(lambda: len(first.probes) == 2)
    model.serve_at([f"{one.url}/engines/m" for one in (first, second)], ready=True)
    prober.follow(model)
    await until(lambda: len(second.probes) == 2)
    assert len(first.probes) == 2  # what stays is not asked anew
    gone = model.serve_at([f"{second.url}/engines/m"], ready=True)
    prober.follow(model)
    gone[0].doubt.set()
    model.suspect_all()
    await until(lambda: len(second.probes) == 3)
    assert len(first.probes) == 2
    await prober.stop()
    client.close()
