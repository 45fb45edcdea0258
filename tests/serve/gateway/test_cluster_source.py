"""A gateway that follows the Models of a cluster: a real API server's words, real engines' bytes."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.cluster_source import ClusterSource
from fairlead_serve.gateway.roster import Roster
from tests.kube.server import KubeServer
from tests.serve.gateway.client import Answer
from tests.serve.gateway.cluster import NAMESPACE, TINY, Cluster, install_models
from tests.serve.gateway.upstream import DONE, END_OF_CHUNKS, Exchange, Request, event, vllm_error
from tests.serve.gateway.world import CHAT, Running, World, until

# Far longer than anything takes here but waiting for what never comes.
_SOON = 1.0


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with KubeServer() as server:
        install_models(server)
        yield Cluster(server)


@pytest.fixture
def world(cluster: Cluster, world: World) -> World:
    """What ends before the cluster does."""
    return world


@pytest.fixture
async def running(world: World, cluster: Cluster) -> Running:
    """A gateway that has seen an empty cluster."""
    return await world.gateway(make_source=cluster.source())


async def answering(exchange: Exchange, request: Request) -> None:
    await exchange.answer({"id": "1", "model": request.json.get("model"), "choices": []})


async def ask(world: World, running: Running, model: str = "qwen", **headers: str) -> Answer:
    return await world.post(running, {"model": model, "messages": []}, headers=headers)


async def status_of(world: World, running: Running, model: str) -> int:
    return (await ask(world, running, model)).status


async def served(world: World, running: Running) -> list[str]:
    return [card["id"] for card in (await world.get(running, "/v1/models")).json["data"]]


def knows(running: Running, *names: str) -> bool:
    """Whether these models, and no others, can be asked for."""
    return {name for name, _ in running.gateway.table.names()} == set(names)


def is_ready(running: Running, endpoints: int = 1) -> bool:
    """Whether the Model qwen is served by that many engines."""
    found = [backend for backend in running.gateway.table.backends if backend.key == "models/qwen"]
    return bool(found) and len(found[0].balancer.endpoints) == endpoints


# --- models come and go ---------------------------------------------------------------------------------


async def test_a_model_that_is_applied_is_served_and_one_that_is_deleted_is_unknown(
    world: World, cluster: Cluster, running: Running
) -> None:
    assert (await ask(world, running)).status == 404
    engine = await world.upstream(answering)
    cluster.make_model("qwen")
    cluster.start_engine("qwen", engine)
    await until(lambda: is_ready(running))
    answer = await ask(world, running)
    assert (answer.status, answer.json["model"]) == (200, "qwen")
    assert engine.requests[0].path == "/engines/qwen/v1/chat/completions"
    assert engine.requests[0].headers["x-fairlead-internal-token"] == "internal"
    assert await served(world, running) == ["qwen"]
    cluster.delete_model("qwen")
    await until(lambda: knows(running))
    answer = await ask(world, running)
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert await served(world, running) == []


async def test_what_there_was_before_the_gateway_is_served_from_its_first_request(
    world: World, cluster: Cluster
) -> None:
    engine = await world.upstream(answering)
    cluster.make_model("qwen", {**TINY, "model": {**TINY["model"], "name": "Qwen/Qwen3", "aliases": ["small"]}})
    cluster.start_engine("qwen", engine)
    running = await world.gateway(make_source=cluster.source())
    assert await status_of(world, running, "Qwen/Qwen3") == 200
    assert await status_of(world, running, "small") == 200
    cards = (await world.get(running, "/v1/models")).json["data"]
    assert [(card["id"], card["root"]) for card in cards] == [("Qwen/Qwen3", "Qwen/Qwen3"), ("small", "Qwen/Qwen3")]
    assert abs(cards[0]["created"] - time.time()) < 60


async def test_an_empty_cluster_is_ready(world: World, running: Running) -> None:
    ready = await world.get(running, "/readyz")
    assert (ready.status, ready.json["models"]) == (200, {})
    assert (await world.get(running, "/v1/models")).json["data"] == []


async def test_models_of_other_namespaces_are_served_when_asked_for(world: World, cluster: Cluster) -> None:
    other = Cluster(cluster.server, "other")
    cluster.make_model("qwen")
    other.make_model("llama")
    one = await world.gateway(make_source=cluster.source())
    both = await world.gateway(make_source=cluster.source("models", "other"))
    every = await world.gateway(make_source=cluster.source(""))
    assert await served(world, one) == ["qwen"]
    assert sorted(await served(world, both)) == sorted(await served(world, every)) == ["llama", "qwen"]
    engine = await world.upstream(answering)
    other.start_engine("llama", engine)
    for running in (both, every):
        assert await status_of(world, running, "llama") == 200


async def test_a_new_name_goes_for_the_next_request_and_what_runs_goes_on(
    world: World, cluster: Cluster, running: Running
) -> None:
    go_on = asyncio.Event()
    engine = await world.upstream(held(go_on))
    cluster.make_model("qwen")
    cluster.start_engine("qwen", engine)
    await until(lambda: is_ready(running))
    backend = running.backend
    stream = await world.client(running)
    await stream.request("POST", "/v1/chat/completions", {"model": "qwen", "stream": True, "messages": []})
    await stream.head()
    cluster.change_model("qwen", model={"name": "coder"})
    await until(lambda: knows(running, "coder"))
    assert running.backend is backend
    assert backend.admission.ongoing == 1
    assert await status_of(world, running, "qwen") == 404
    go_on.set()
    assert (await stream.rest()).endswith(DONE)
    assert backend.admission.ongoing == 0


async def test_a_field_of_a_newer_release_stops_no_change(cluster: Cluster, running: Running) -> None:
    cluster.make_model("qwen", {**TINY, "future": "x"})
    await until(lambda: knows(running, "qwen"))
    cluster.change_model("qwen", model={"aliases": ["small"]})
    await until(lambda: knows(running, "qwen", "small"))


async def test_a_model_of_a_newer_release_stays_as_it_was(
    world: World, cluster: Cluster, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    strange = {"device": "cpu", "args": {"of_the_next_vllm": 1}}
    cluster.make_model("qwen", {**TINY, "model": {**TINY["model"], "aliases": ["small"]}})
    cluster.make_model("strange", {**TINY, "engine": strange})
    await until(lambda: knows(running, "qwen", "small"))
    cluster.change_model("qwen", engine=strange, model={"aliases": ["tiny"]})
    await until(lambda: "served as it was before" in caplog.text)
    assert knows(running, "qwen", "small")
    left_out = (await world.get(running, "/readyz")).json["cluster"]["left_out"]
    assert left_out == {"Invalid": 2}  # whose they are is not for everybody
    assert (
        "the Model models/strange: it cannot be read by this release, so it is not served: spec.engine.args.of"
        in caplog.text
    )
    metrics = (await world.get(running, "/metrics")).body.decode()
    assert 'fairlead_model_left_out{reason="Invalid",resource="models/strange"} 1.0' in metrics
    cluster.change_model("qwen", engine={"args": None})
    await until(lambda: knows(running, "qwen", "tiny"))
    assert caplog.text.count("the Model models/strange: it cannot be read") == 1


# --- names and fallbacks --------------------------------------------------------------------------------


async def test_the_older_model_keeps_a_name_and_the_other_one_gets_it_when_it_is_free(
    world: World, cluster: Cluster, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.make_model("a", {**TINY, "model": {**TINY["model"], "name": "chat"}})
    cluster.make_model("b", {**TINY, "model": {**TINY["model"], "name": "chat", "aliases": ["bee"]}})
    await until(lambda: knows(running, "chat", "bee"))
    assert running.gateway.table.find("chat").key == "models/a"
    assert running.gateway.table.find("bee").key == "models/b"
    left_out = (await world.get(running, "/readyz")).json["cluster"]["left_out"]
    assert left_out == {"NameTaken": 1}
    assert caplog.text.count("the Model models/b: the name chat belongs to the older Model models/a") == 1
    cluster.delete_model("a")
    await until(lambda: running.gateway.table.find("bee").name == "chat")
    assert (await world.get(running, "/readyz")).json["cluster"]["left_out"] == {}


async def test_a_fallback_counts_from_when_it_exists(world: World, cluster: Cluster, running: Running) -> None:
    cluster.make_model("qwen", {**TINY, "fallback": ["llama"]})
    await until(lambda: knows(running, "qwen"))
    left_out = (await world.get(running, "/readyz")).json["cluster"]["left_out"]
    assert left_out == {"UnknownFallback": 1}
    engine = await world.upstream(answering)
    cluster.make_model("llama")
    cluster.start_engine("llama", engine)
    await until(lambda: knows(running, "llama", "qwen") and running.gateway.table.find("llama").ready)
    answer = await ask(world, running, "qwen")
    assert (answer.status, answer.header("x-fairlead-served-by")) == (200, "llama")
    load = await world.get(running, "/internal/load", headers={"x-fairlead-internal-token": "internal"})
    asked = {one["resource"]: one["last_request"] is not None for one in load.json["models"]}
    assert asked["models/qwen"]  # else nobody would know that an engine of it is wanted
    assert asked["models/llama"]


async def test_who_cannot_wait_for_a_model_waits_for_its_fallback(
    world: World, cluster: Cluster, running: Running
) -> None:
    cluster.make_model("qwen", {**TINY, "suspend": True, "fallback": ["gemma", "llama"]})
    cluster.make_model("gemma", {**TINY, "replicas": 0})
    cluster.make_model("llama")
    await until(lambda: knows(running, "gemma", "llama", "qwen"))
    llama = running.gateway.table.find("llama")
    waiting = asyncio.create_task(ask(world, running))
    await until(lambda: llama.cold == 1)
    assert llama.last_request
    engine = await world.upstream(answering)
    cluster.start_engine("llama", engine)
    answer = await waiting
    assert (answer.status, answer.header("x-fairlead-served-by")) == (200, "llama")
    cluster.delete_model("llama")
    await until(lambda: knows(running, "gemma", "qwen"))
    assert "it is suspended" in (await ask(world, running)).error["message"]


async def test_a_fallback_that_was_deleted_meanwhile_is_passed_over(
    world: World, cluster: Cluster, running: Running
) -> None:
    fail = asyncio.Event()

    async def failing(exchange: Exchange, _: Request) -> None:
        await fail.wait()
        await exchange.answer(vllm_error("out of memory", 500), status=500)

    for name, script in (("gemma", answering), ("llama", answering), ("qwen", failing)):
        cluster.make_model(name, {**TINY, "fallback": ["gemma", "llama"] if name == "qwen" else []})
        cluster.start_engine(name, await world.upstream(script))
    await until(lambda: [one.ready for one in running.gateway.table.backends] == [True] * 3)
    asking = asyncio.create_task(ask(world, running))
    await until(lambda: running.gateway.table.find("qwen").admission.ongoing == 1)
    cluster.delete_model("gemma")
    await until(lambda: knows(running, "llama", "qwen"))
    fail.set()
    answer = await asking
    assert (answer.status, answer.header("x-fairlead-served-by")) == (200, "llama")
    assert '"gemma"' not in (await world.get(running, "/metrics")).body.decode()


async def test_a_fallback_that_is_deleted_in_its_turn_says_nothing_of_itself(
    world: World, cluster: Cluster, running: Running
) -> None:
    go_on = asyncio.Event()
    cluster.make_model("qwen", {**TINY, "fallback": ["llama"]})
    cluster.make_model("llama", {**TINY, "limits": {"maxOngoing": 1}})
    cluster.start_engine("llama", await world.upstream(held(go_on)))
    await until(lambda: knows(running, "llama", "qwen") and running.gateway.table.find("llama").ready)
    llama = running.gateway.table.find("llama")
    stream = await world.client(running)
    await stream.request("POST", "/v1/chat/completions", {"model": "llama", "stream": True, "messages": []})
    await stream.head()
    asking = asyncio.create_task(ask(world, running))
    await until(lambda: llama.admission.queued == 1)
    cluster.delete_model("llama")
    await until(lambda: knows(running, "qwen"))
    go_on.set()
    answer = await asking
    assert (answer.status, answer.error["code"]) == (503, "engine_unavailable")
    assert "llama" not in answer.error["message"]


# --- adapters -------------------------------------------------------------------------------------------

LORA = {"lora": {"adapters": [{"name": "sql", "uri": "hf://org/sql"}, {"name": "poems", "uri": "hf://org/poems"}]}}


class Knowing:
    """An engine that answers to these names, which may change."""

    def __init__(self, *names: str) -> None:
        self.names = {*names}

    async def __call__(self, exchange: Exchange, request: Request) -> None:
        name = request.json["model"]
        if name in self.names:
            await answering(exchange, request)
            return
        missing = vllm_error(f"The model `{name}` does not exist.", 404, kind="NotFoundError", param="model")
        await exchange.answer(missing, status=404)


async def test_every_adapter_is_a_model_of_its_own_also_where_no_engine_has_it_yet(
    world: World, cluster: Cluster, running: Running
) -> None:
    cluster.make_model("qwen", {**TINY, **LORA})
    await until(lambda: knows(running, "qwen", "sql", "poems"))
    card = (await world.get(running, "/v1/models/sql")).json
    assert (card["id"], card["parent"], card["root"]) == ("sql", "qwen", "hf://org/sql")
    assert "parent" not in (await world.get(running, "/v1/models/qwen")).json
    waiting = asyncio.create_task(ask(world, running, "sql"))
    await until(lambda: running.backend.cold == 1)
    engine = await world.upstream(answering)
    cluster.start_engine("qwen", engine)
    assert (await waiting).json["model"] == "sql"
    cluster.say_of_model("qwen", adapters=[{"name": "sql", "state": "Failed"}])
    assert (await ask(world, running, "sql")).json["model"] == "sql"
    cluster.change_model("qwen", lora=None)
    await until(lambda: knows(running, "qwen"))


async def test_an_adapter_that_a_new_engine_does_not_have_yet_is_asked_for_elsewhere(
    world: World, cluster: Cluster, running: Running
) -> None:
    old, new = await world.upstream(answering), await world.upstream(Knowing("qwen"))
    cluster.make_model("qwen", {**TINY, **LORA, "routing": {"strategy": "LeastLoad"}})
    cluster.start_engine("qwen", old)
    cluster.start_engine("qwen", new)
    await until(lambda: is_ready(running, 2))
    for _ in range(4):
        assert (await ask(world, running, "sql")).status == 200
    assert new.requests
    assert all(endpoint.ready for endpoint in running.backend.balancer.endpoints)  # it is well


async def test_an_adapter_that_the_only_engine_is_loading_is_waited_for(
    world: World, cluster: Cluster, running: Running
) -> None:
    script = Knowing("qwen")
    engine = await world.upstream(script)
    cluster.make_model("qwen", {**TINY, **LORA})
    cluster.start_engine("qwen", engine)
    await until(lambda: is_ready(running))
    waiting = asyncio.create_task(ask(world, running, "sql"))
    await until(lambda: len(engine.requests) == 3)
    script.names.add("sql")
    assert (await waiting).status == 200
    metrics = (await world.get(running, "/metrics")).body.decode()
    assert 'fairlead_retries_total{model="qwen",reason="not_loaded"}' in metrics


@pytest.mark.parametrize("others", [0, 1])
async def test_an_adapter_that_nobody_loads_is_not_waited_for_to_the_end_of_time(
    world: World, cluster: Cluster, running: Running, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    monkeypatch.setattr("fairlead_serve.gateway.exchange._ADAPTER_SECONDS", 0.2)
    engine = await world.upstream(Knowing("qwen"))
    cluster.make_model("qwen", {**TINY, **LORA})
    cluster.start_engine("qwen", engine)
    for _ in range(others):
        down = await world.upstream(answering)
        down.healthy = False
        cluster.start_engine("qwen", down)
    await until(lambda: is_ready(running, 1 + others))
    await until(lambda: sum(one.ready for one in running.backend.balancer.endpoints) == 1)
    answer = await ask(world, running, "sql")
    assert (answer.status, answer.error["code"], answer.header("retry-after")) == (503, "engine_unavailable", "5")
    assert "the adapter sql is not loaded; the status of its Model says why" in answer.error["message"]
    assert len(engine.requests) > 1
    assert (await ask(world, running, "qwen")).status == 200


# --- another name ---------------------------------------------------------------------------------------


async def test_engines_that_were_started_under_another_name_are_asked_by_that_of_the_resource(
    world: World, cluster: Cluster, running: Running
) -> None:
    engine = await world.upstream(Knowing("old", "qwen"))
    cluster.make_model("qwen", {**TINY, "model": {**TINY["model"], "name": "old"}})
    cluster.start_engine("qwen", engine)
    await until(lambda: is_ready(running))
    assert await status_of(world, running, "old") == 200
    cluster.change_model("qwen", model={"name": "new", "aliases": ["newer"]})
    await until(lambda: knows(running, "new", "newer"))
    for name in ("new", "newer"):
        assert await status_of(world, running, name) == 200
    assert [request.json["model"] for request in engine.requests] == ["old", "new", "qwen", "newer", "qwen"]


async def test_an_engine_that_does_not_know_the_resource_either_has_the_last_word(
    world: World, cluster: Cluster, running: Running
) -> None:
    engine = await world.upstream(Knowing())
    cluster.make_model("qwen", {**TINY, "model": {**TINY["model"], "name": "new"}})
    cluster.start_engine("qwen", engine)
    await until(lambda: is_ready(running))
    answer = await ask(world, running, "new")
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert [request.json["model"] for request in engine.requests] == ["new", "qwen"]


# --- engines come and go --------------------------------------------------------------------------------


def held(go_on: asyncio.Event) -> Any:
    """A script that sends one delta, waits, and ends."""

    async def script(exchange: Exchange, request: Request) -> None:
        if not request.json.get("stream"):
            await answering(exchange, request)
            return
        await exchange.begin_stream()
        await exchange.chunks(event("a"))
        await go_on.wait()
        await exchange.chunks(event("b"), DONE)
        await exchange.send(END_OF_CHUNKS)

    return script


async def test_a_new_pod_takes_requests_within_a_second(world: World, cluster: Cluster, running: Running) -> None:
    first, second = await world.upstream(answering), await world.upstream(answering)
    cluster.make_model("qwen", {**TINY, "routing": {"strategy": "LeastLoad"}})
    cluster.start_engine("qwen", first)
    cluster.start_engine("qwen", second, ready=False)
    await until(lambda: is_ready(running))
    began = time.monotonic()
    cluster.change_engine("qwen", second, ready=True)
    while not second.requests:
        assert (await ask(world, running)).status == 200
        assert time.monotonic() - began < _SOON
    assert first.requests


async def test_a_new_pod_is_asked_for_nothing_before_its_first_request(
    world: World, cluster: Cluster, running: Running
) -> None:
    engine = await world.upstream(answering)
    engine.healthy = False  # what its pod says goes, until it is asked itself
    cluster.make_model("qwen")
    await until(lambda: knows(running, "qwen"))
    waiting = asyncio.create_task(ask(world, running))
    await until(lambda: running.backend.cold == 1)
    cluster.start_engine("qwen", engine)
    assert (await waiting).status == 200


@pytest.mark.parametrize("how", ["terminating", "gone"])
async def test_a_leaving_pod_gets_no_request_and_its_streams_go_on(
    world: World, cluster: Cluster, running: Running, how: str
) -> None:
    go_on = asyncio.Event()
    leaving, staying = await world.upstream(held(go_on)), await world.upstream(answering)
    cluster.make_model("qwen")
    cluster.start_engine("qwen", leaving)
    await until(lambda: is_ready(running))
    stream = await world.client(running)
    await stream.request("POST", "/v1/chat/completions", {"model": "qwen", "stream": True, "messages": []})
    await stream.head()
    assert (await ask(world, running)).status == 200
    cluster.start_engine("qwen", staying)
    await until(lambda: is_ready(running, 2))
    if how == "gone":
        cluster.stop_engine("qwen", leaving)
    else:
        cluster.change_engine("qwen", leaving, ready=False, serving=True, terminating=True)
    await until(lambda: is_ready(running, 1))
    seen = len(leaving.requests)
    for _ in range(5):
        assert (await ask(world, running)).status == 200
    assert (len(leaving.requests), len(staying.requests)) == (seen, 5)
    # The connections that nobody uses are closed, and the prober's with them; the stream has the last one.
    await until(lambda: leaving.open == 1)
    go_on.set()
    assert (await stream.rest()).endswith(DONE)
    await until(lambda: leaving.open == 0)


async def test_a_pod_that_fails_before_the_cluster_notices_is_passed_over(
    world: World, cluster: Cluster, running: Running
) -> None:
    dead, alive = await world.upstream(answering), await world.upstream(answering)
    cluster.make_model("qwen")
    cluster.start_engine("qwen", dead)
    cluster.start_engine("qwen", alive)
    await until(lambda: is_ready(running, 2))
    await dead.stop()
    for number in range(6):
        answer = await world.post(running, {"model": "qwen", "messages": [{"role": "user", "content": f"{number}"}]})
        assert answer.status == 200
    assert len(alive.requests) == 6


async def test_no_request_fails_while_one_engine_after_the_other_is_replaced(
    world: World, cluster: Cluster, running: Running
) -> None:
    engines = [await world.upstream(answering) for _ in range(4)]
    cluster.make_model("qwen", {**TINY, "routing": {"strategy": "LeastLoad"}})
    cluster.start_engine("qwen", engines[0])
    await until(lambda: is_ready(running))
    statuses: set[int] = set()
    over = asyncio.Event()

    async def keep_asking() -> None:
        client = await world.client(running)
        while not over.is_set():
            statuses.add((await client.post(CHAT, {"model": "qwen", "messages": []})).status)

    clients = [asyncio.create_task(keep_asking()) for _ in range(8)]
    for old, new in itertools.pairwise(engines):
        cluster.start_engine("qwen", new)
        await until(lambda: bool(new.requests))  # noqa: B023 - it is over before the next round
        cluster.change_engine("qwen", old, ready=False, serving=True, terminating=True)
        await until(lambda: is_ready(running))
        await until(lambda: old.open == 0)  # noqa: B023
        await old.stop()
        cluster.stop_engine("qwen", old)
    over.set()
    await asyncio.gather(*clients)
    assert statuses == {200}


# --- scaled to zero, suspended --------------------------------------------------------------------------

COLD = {**TINY, "scaling": {"minReplicas": 0, "maxReplicas": 1, "coldStart": {"maxQueued": 1, "timeoutSeconds": 60}}}


async def test_a_model_at_zero_is_listed_and_its_requests_wait_for_an_engine(
    world: World, cluster: Cluster, running: Running
) -> None:
    cluster.make_model("qwen", COLD)
    await until(lambda: knows(running, "qwen"))
    assert await served(world, running) == ["qwen"]
    assert (await world.get(running, "/readyz")).status == 200
    waiting = asyncio.create_task(ask(world, running))
    await until(lambda: running.backend.cold == 1)
    load = await world.get(running, "/internal/load", headers={"x-fairlead-internal-token": "internal"})
    (one,) = load.json["models"]
    assert (one["name"], one["resource"], one["ongoing"], one["queued"]) == ("qwen", "models/qwen", 0, 1)
    assert one["last_request"] is not None
    assert (await ask(world, running)).error["code"] == "engine_unavailable"  # one too many
    engine = await world.upstream(answering)
    cluster.start_engine("qwen", engine)
    assert (await waiting).status == 200


async def test_who_waits_for_a_model_that_is_deleted_is_told(world: World, cluster: Cluster, running: Running) -> None:
    cluster.make_model("qwen", COLD)
    await until(lambda: knows(running, "qwen"))
    waiting = asyncio.create_task(ask(world, running))
    await until(lambda: running.backend.cold == 1)
    cluster.delete_model("qwen")
    answer = await waiting
    assert (answer.status, answer.error["message"]) == (404, "the model qwen was deleted")
    assert 'model="qwen"' not in (await world.get(running, "/metrics")).body.decode()


@pytest.mark.parametrize("change", [{"suspend": True}, {"replicas": 0}])
async def test_a_model_that_is_not_to_run_refuses_at_once_also_who_waits(
    world: World, cluster: Cluster, running: Running, change: dict[str, Any]
) -> None:
    cluster.make_model("qwen")
    await until(lambda: knows(running, "qwen"))
    waiting = asyncio.create_task(ask(world, running))
    await until(lambda: running.backend.cold == 1)
    cluster.change_model("qwen", **change)
    for answer in (await waiting, await ask(world, running)):
        assert (answer.status, answer.error["code"]) == (503, "engine_unavailable")
        assert f"spec.{next(iter(change))}" in answer.error["message"]
        assert answer.header("retry-after") == "5"
    assert await served(world, running) == ["qwen"]
    engine = await world.upstream(answering)
    cluster.start_engine("qwen", engine)
    cluster.change_model("qwen", suspend=False, replicas=1)
    await until(lambda: running.backend.ready)
    assert (await ask(world, running)).status == 200


async def test_wider_bounds_let_in_who_waits(world: World, cluster: Cluster, running: Running) -> None:
    go_on = asyncio.Event()
    engine = await world.upstream(held(go_on))
    cluster.make_model("qwen", {**TINY, "limits": {"maxOngoing": 1}, "routing": {"strategy": "LeastLoad"}})
    cluster.start_engine("qwen", engine)
    await until(lambda: is_ready(running))
    stream = await world.client(running)
    await stream.request("POST", "/v1/chat/completions", {"model": "qwen", "stream": True, "messages": []})
    await stream.head()
    waiting = asyncio.create_task(ask(world, running))
    await until(lambda: running.backend.admission.queued == 1)
    cluster.change_model("qwen", limits={"maxOngoing": 2})
    assert (await waiting).status == 200
    go_on.set()


# --- upstreams ------------------------------------------------------------------------------------------


async def test_an_upstream_gets_its_key_from_a_secret_and_a_new_one_without_a_restart(
    world: World, cluster: Cluster, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fairlead_serve.gateway.upstream_keys._SECONDS", 0.02)
    monkeypatch.setattr("fairlead_serve.gateway.upstream_keys._MISSING_SECONDS", 0.02)
    other = await world.upstream(answering)
    upstream = {"url": f"{other.url}/v1", "model": "their-name", "apiKeySecretRef": {"name": "hosted", "key": "token"}}
    cluster.make_model("gpt", {"upstream": upstream})
    await until(lambda: knows(running, "gpt"))
    await until(lambda: not running.backend.ready and "Secret" in refusal_of(running))
    answer = await ask(world, running, "gpt")
    assert (answer.status, answer.error["code"]) == (503, "engine_unavailable")
    assert "there is no Secret models/hosted" in answer.error["message"]
    assert await served(world, running) == ["gpt"]
    for key in ("first", "second"):
        cluster.write_secret("hosted", token=f"{key}\n")
        sent = [(b"authorization", f"Bearer {key}".encode())]
        await until(lambda: running.backend.headers == sent)  # noqa: B023 - it is over before the next round
        assert (await ask(world, running, "gpt")).json["model"] == "their-name"
        assert other.requests[-1].headers["authorization"] == f"Bearer {key}"
    assert "x-fairlead-internal-token" not in other.requests[-1].headers
    cluster.server.away()
    assert (await ask(world, running, "gpt")).status == 200


@pytest.mark.parametrize(
    ("data", "sentence"),
    [({"other": "x"}, "has no key token"), ({"token": "a\nb"}, "nothing that an API key can be")],
)
async def test_a_secret_without_a_key_is_named(
    world: World, cluster: Cluster, running: Running, data: dict[str, str], sentence: str
) -> None:
    cluster.write_secret("hosted", **data)
    upstream = {"url": "http://127.0.0.1:9/v1", "apiKeySecretRef": {"name": "hosted", "key": "token"}}
    cluster.make_model("gpt", {"upstream": upstream})
    await until(lambda: knows(running, "gpt") and sentence in refusal_of(running))


async def test_an_upstream_on_a_host_called_v1_is_served_and_stops_nobody(
    world: World, cluster: Cluster, running: Running
) -> None:
    cluster.make_model("gpt", {"upstream": {"url": "http://v1"}})
    cluster.make_model("qwen")
    await until(lambda: knows(running, "gpt", "qwen"))
    assert [one.url for one in running.gateway.table.find("gpt").balancer.endpoints] == ["http://v1"]
    assert (await world.get(running, "/livez")).status == 200


async def test_a_secret_that_may_not_be_read_is_named(
    world: World, cluster: Cluster, running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.write_secret("hosted", token="geheim")
    cluster.server.fault(code=403, resource="secrets")
    upstream = {"url": "http://127.0.0.1:9/v1", "apiKeySecretRef": {"name": "hosted", "key": "token"}}
    cluster.make_model("gpt", {"upstream": upstream})
    await until(lambda: knows(running, "gpt") and "may not read the Secret models/hosted" in refusal_of(running))
    assert "may not read the Secret models/hosted" in caplog.text
    assert "geheim" not in caplog.text


def refusal_of(running: Running) -> str:
    """What a request would be told; empty where it would be served."""
    try:
        running.backend.raise_refusal()
    except ApiError as error:
        return error.message
    return ""


async def test_a_model_that_turns_to_an_upstream_never_shows_it_the_internal_token(
    world: World, cluster: Cluster, running: Running
) -> None:
    other = await world.upstream(answering)
    hang_up, arrived = asyncio.Event(), asyncio.Event()

    async def dying(exchange: Exchange, _: Request) -> None:
        arrived.set()
        await hang_up.wait()
        exchange.reset()

    engine = await world.upstream(dying)
    cluster.make_model("qwen")
    cluster.start_engine("qwen", engine)
    await until(lambda: is_ready(running))
    asking = asyncio.create_task(ask(world, running))
    await arrived.wait()
    cluster.change_model("qwen", engine=None, model=None, upstream={"url": f"{other.url}/v1"})
    await until(lambda: not running.backend.is_engine)
    hang_up.set()
    assert (await asking).status == 200
    assert "x-fairlead-internal-token" not in other.requests[0].headers


# --- the API server is away -----------------------------------------------------------------------------


async def test_routes_stay_while_the_api_server_is_away_and_catch_up_when_it_is_back(
    world: World, cluster: Cluster, running: Running
) -> None:
    first, second = await world.upstream(answering), await world.upstream(answering)
    cluster.make_model("qwen")
    cluster.start_engine("qwen", first)
    await until(lambda: is_ready(running))
    cluster.server.away()
    silent = (await world.get(running, "/readyz")).json["cluster"]["silence_seconds"]
    for _ in range(20):
        assert (await ask(world, running)).status == 200
    await first.stop()
    refused = asyncio.create_task(ask(world, running))
    await first.listen()  # an engine that fails meanwhile is found again by its probes
    assert (await refused).status == 200
    assert (await world.get(running, "/readyz")).json["cluster"]["silence_seconds"] >= silent
    cluster.server.back()
    cluster.start_engine("qwen", second)
    cluster.make_model("llama")
    await until(lambda: is_ready(running, 2) and knows(running, "llama", "qwen"))


async def test_a_gateway_that_starts_before_the_api_server_waits_for_it(
    world: World, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    engine = await world.upstream(answering)
    cluster.make_model("qwen")
    cluster.start_engine("qwen", engine)
    cluster.server.away()
    running = await world.gateway(make_source=cluster.source(), wait=False)
    for path in ("/readyz", "/v1/models", "/v1/models/qwen"):
        answer = await world.get(running, path)
        assert (answer.status, answer.error["code"]) == (503, "not_ready")
        assert answer.error["message"] == "the gateway is waiting for the cluster"
    assert await status_of(world, running, "qwen") == 503
    assert (await world.get(running, "/livez")).status == 200
    cluster.server.back()
    await running.gateway.wait_ready()
    await until(lambda: is_ready(running))
    assert (await world.get(running, "/readyz")).status == 200
    assert await status_of(world, running, "qwen") == 200


async def test_what_happened_while_the_api_server_was_away_is_not_missed(
    world: World, cluster: Cluster, running: Running
) -> None:
    engine = await world.upstream(answering)
    cluster.make_model("qwen")
    cluster.make_model("llama")
    cluster.start_engine("qwen", engine)
    await until(lambda: is_ready(running) and knows(running, "llama", "qwen"))
    cluster.server.away()
    cluster.server.remove("models", "fairlead.dev", NAMESPACE, "llama")
    cluster.server.remove("endpointslices", "discovery.k8s.io", NAMESPACE, f"qwen-{engine.port}")
    # No watch can tell of it any more.
    cluster.server.compact()
    cluster.server.back()
    await until(lambda: is_ready(running, 0) and knows(running, "qwen"))


async def test_a_gateway_that_follows_nothing_any_more_asks_to_be_restarted(world: World, running: Running) -> None:
    source = running.gateway.source
    assert isinstance(source, ClusterSource)
    await asyncio.to_thread(source._informers[0].stop)
    answer = await world.get(running, "/livez")
    assert (answer.status, answer.error["code"]) == (503, "not_alive")


def fail(*_: object) -> None:
    message = "a fault of its own"
    raise RuntimeError(message)


@pytest.mark.parametrize("when", ["at the first list", "later"])
async def test_a_fault_of_its_own_is_told_and_asks_for_a_restart(
    world: World, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, when: str
) -> None:
    if when == "at the first list":
        monkeypatch.setattr(Roster, "set_models", fail)
        cluster.make_model("qwen")
    running = await world.gateway(make_source=cluster.source(), wait=when == "later")
    source = running.gateway.source
    assert isinstance(source, ClusterSource)
    if when == "later":
        assert source.alive
        monkeypatch.setattr(Roster, "set_models", fail)
        cluster.make_model("qwen")
    await until(lambda: not source.alive)
    answer = await world.get(running, "/livez")
    assert (answer.status, answer.error["code"]) == (503, "not_alive")
    assert "followed no longer" in caplog.text
    assert "a fault of its own" in caplog.text


async def test_nothing_is_applied_after_the_end(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = running.gateway.source
    assert isinstance(source, ClusterSource)
    applied: list[None] = []
    monkeypatch.setattr(source, "_apply", lambda: applied.append(None))
    monkeypatch.setattr("fairlead_serve.gateway.cluster_source._GATHER_SECONDS", 3600)
    source._reread_models()
    await until(source._changed.is_set)
    await source.stop()
    assert source._following is not None
    assert source._following.cancelled()
    assert applied == []
    assert "followed no longer" not in caplog.text


async def test_the_default_model_may_come_later(world: World, cluster: Cluster) -> None:
    running = await world.gateway(make_source=cluster.source(), default_model="qwen")
    engine = await world.upstream(answering)
    cluster.make_model("llama")
    await until(lambda: knows(running, "llama"))
    answer = await world.post(running, {"messages": []})
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    cluster.make_model("qwen")
    cluster.start_engine("qwen", engine)
    await until(lambda: knows(running, "llama", "qwen"))
    assert (await world.post(running, {"messages": []})).status == 200


async def test_ten_thousand_updates_of_statuses_change_nothing_and_cost_the_event_loop_nothing(
    cluster: Cluster, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.make_model("qwen")
    await until(lambda: knows(running, "qwen"))
    source = running.gateway.source
    assert isinstance(source, ClusterSource)
    woken: list[None] = []
    monkeypatch.setattr(source, "_wake", lambda: woken.append(None))
    old = source._informers[0].get("models", "qwen")
    assert old is not None
    for number in range(10_000):
        new = {**old, "status": {"phase": "Serving", "replicas": number}}
        source._on_model(old, new)
        old = new
    assert woken == []
    source._on_model(old, {**old, "spec": {**old["spec"], "suspend": True}})
    assert len(woken) == 1
