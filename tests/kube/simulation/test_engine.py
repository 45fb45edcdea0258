"""The status port of simulated engines."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from fairlead_serve.internal import TOKEN_HEADER, TOKEN_VARIABLE
from tests.kube.simulation.engine import STATUS_PORT, Engine
from tests.kube.simulation.script import Crash, Ready
from tests.kube.simulation.world import World

TOKEN = {TOKEN_HEADER: "word"}
ENV = [{"name": TOKEN_VARIABLE, "valueFrom": {"secretKeyRef": {"name": "token", "key": "token"}}}]
SQL, TALK = {"name": "sql", "uri": "hf://a/sql"}, {"name": "talk", "uri": "hf://a/talk"}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def engine(world: World) -> Engine:
    """The engine of the pods of the Model m, which run."""
    engine = world.script.serve(Engine(), model="m")
    world.create("secrets", "token", stringData={"token": "word"})
    world.deploy(env=ENV)
    return engine


def url(world: World, path: str) -> str:
    return f"http://{world.pod['status']['podIP']}:{STATUS_PORT}{path}"


async def get(http: aiohttp.ClientSession, world: World) -> Any:
    async with http.get(url(world, "/status"), headers=TOKEN) as answer:
        return await answer.json()


async def test_an_engine_says_what_the_test_has_it_say(
    world: World, engine: Engine, http: aiohttp.ClientSession
) -> None:
    assert await get(http, world) == {"phase": "Ready", "download": None, "cached": True, "adapters": []}
    engine.phase, engine.cached = "Downloading", False
    engine.download = {"bytesDone": 1, "bytesTotal": 9, "bytesPerSecond": 3}
    said = await get(http, world)
    assert (said["phase"], said["cached"], said["download"]["bytesTotal"]) == ("Downloading", False, 9)


async def test_adapters_are_loaded_as_asked_for(world: World, engine: Engine, http: aiohttp.ClientSession) -> None:
    engine.failing = {"talk": "no such repository"}
    async with http.put(url(world, "/adapters"), json={"adapters": [SQL, TALK]}, headers=TOKEN) as answer:
        said = await answer.json()
    assert said["adapters"] == [
        {**SQL, "state": "Loaded", "message": ""},
        {**TALK, "state": "Failed", "message": "no such repository"},
    ]
    assert engine.asked == {world.pod["metadata"]["name"]: (SQL, TALK)}
    assert (await get(http, world))["adapters"] == said["adapters"]


@pytest.mark.parametrize("headers", [{}, {TOKEN_HEADER: "other"}], ids=["no token", "another token"])
async def test_who_does_not_know_the_token_is_told_nothing(
    world: World, engine: Engine, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    async with http.get(url(world, "/status"), headers=headers) as answer:
        assert (answer.status, await answer.text()) == (401, "")
    async with http.put(url(world, "/adapters"), json={"adapters": [SQL]}, headers=headers) as answer:
        assert answer.status == 401
    assert engine.asked == {}


async def test_an_engine_starts_with_the_adapters_of_its_file(world: World, http: aiohttp.ClientSession) -> None:
    engine = world.script.serve(Engine(), model="m")
    world.create("secrets", "token", stringData={"token": "word"})
    world.create("configmaps", "list", data={"adapters.json": json.dumps({"adapters": [SQL]})})
    world.deploy(
        env=[*ENV, {"name": "FAIRLEAD_ADAPTERS_FILE", "value": "/list/adapters.json"}],
        volumeMounts=[{"name": "list", "mountPath": "/list"}],
        pod={"volumes": [{"name": "list", "configMap": {"name": "list", "optional": True}}]},
    )
    assert (await get(http, world))["adapters"] == [{**SQL, "state": "Loaded", "message": ""}]
    engine.asked.clear()
    world.script.play(Crash(after=5))
    world.advance(11)
    await asyncio.sleep(0)
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(http, world)
    world.script.play(Ready())
    world.settle()
    assert engine.asked == {world.pod["metadata"]["name"]: (SQL,)}


async def test_the_port_goes_and_comes_with_the_container(
    world: World, engine: Engine, http: aiohttp.ClientSession
) -> None:
    world.script.play(Crash(after=5))
    world.advance(11)
    await asyncio.sleep(0)
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(http, world)
    world.script.play(Ready())
    world.settle()
    assert (await get(http, world))["phase"] == "Ready"
