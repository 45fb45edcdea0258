"""The gateway is killed, told to end, and loses its database, each for real: what was acknowledged is there."""

import asyncio
import contextlib
import itertools
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from fairlead_serve.conversations import Store
from tests.postgres import Postgres, binaries, schema
from tests.processes import Command
from tests.serve.gateway.client import Answer, Client
from tests.serve.gateway.upstream import END_OF_CHUNKS, Exchange, Request, Upstream
from tests.serve.gateway.vllm_responses import RESPONSES, events
from tests.serve.gateway.world import CHAT, World, backend, until

CONVERSATIONS = "/v1/conversations"
CODE_CHAT = "/v1/code/chat_stream"
FORM = {"content-type": "application/x-www-form-urlencoded"}
DELTA = b"event: response.output_text.delta\n"
COMPLETED = b"event: response.completed\n"
FIRST = ["first", "re: first"]
# Longer than any request may take.
LATER_SECONDS = 3600
# How long a route may take to say that the database is away, on a machine that is busy.
SOON_SECONDS = 5
PATIENCE_SECONDS = 30
# Calls that were acknowledged, until all writers are in the middle of something.
ENOUGH = 40


class Engine:
    """A script that says each question again, in pieces.

    Questions that begin with `wait` it does not begin to answer, and of the answers to those with `hold` it keeps the
    last piece back, until it is released.
    """

    def __init__(self) -> None:
        self.held = 0
        self.released = asyncio.Event()

    async def __call__(self, exchange: Exchange, request: Request) -> None:
        if request.path == CHAT:
            return await exchange.answer({"choices": [{"message": {"role": "assistant", "content": "ok"}}]})
        question = request.json["input"][-1]["content"][0]["text"]
        if question.startswith("wait"):
            await self._hold(exchange)
        await exchange.begin_stream()
        deltas = 0
        for one in events(request.json, ["re: ", question]):
            deltas += one.startswith(DELTA)
            if deltas == 2 and question.startswith("hold"):
                await self._hold(exchange)
            await exchange.chunks(one)
        return await exchange.send(END_OF_CHUNKS)

    async def _hold(self, exchange: Exchange) -> None:
        self.held += 1
        waits = {asyncio.create_task(self.released.wait()), asyncio.create_task(exchange.gone())}
        await asyncio.wait(waits, return_when="FIRST_COMPLETED")
        for one in waits:
            one.cancel()
        await asyncio.wait(waits)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if binaries() is None:
        pytest.skip("there is no PostgreSQL on this machine; install it")
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'conversations.db'}"
        return
    async with schema(request.getfixturevalue("server").url) as url:
        yield url


@pytest.fixture
async def leaving(server: Postgres) -> str:
    """An empty schema on a server that the test stops."""
    name = f"test_{time.monotonic_ns()}"
    connection = await asyncpg.connect(server.url)
    await connection.execute(f"CREATE SCHEMA {name}")
    await connection.close()
    return f"{server.url}?search_path={name}"


@contextlib.contextmanager
def stopped(server: Postgres) -> Iterator[None]:
    """While the block runs there is no database."""
    server.stop()
    try:
        yield
    finally:
        server.start()


class Gateway:
    """A gateway at `url`, and what a client does there."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._clients: list[Client] = []

    async def connected(self) -> Client:
        """A connection to the gateway until `leave`."""
        client = await Client.connect(self.url)
        self._clients.append(client)
        return client

    async def post(self, path: str, body: Any) -> Answer:
        return await self.ask("POST", path, body)

    async def get(self, path: str) -> Answer:
        return await self.ask("GET", path)

    async def ask(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        client = await Client.connect(self.url)
        try:
            await client.request(method, path, body, headers=headers)
            return await client.answer()
        finally:
            client.leave()

    async def conversation(self) -> str:
        """A new conversation with one turn."""
        new = (await self.post(CONVERSATIONS, {})).json["id"]
        answer = await self.post(RESPONSES, {"input": "first", "conversation": new})
        assert answer.status == 200
        return str(new)

    async def streaming(self, question: str, conversation: str) -> tuple[Client, str]:
        """(a client that has seen the first piece of the answer to `question`, the id of the response)."""
        client = await self.connected()
        await client.request("POST", RESPONSES, {"input": question, "conversation": conversation, "stream": True})
        assert (await client.head()).status == 200
        seen = b""
        while DELTA not in seen:
            seen += await client.piece() or b""
        created = seen.partition(b"\ndata: ")[2].partition(b"\n")[0]
        return client, json.loads(created)["response"]["id"]

    def leave(self) -> None:
        """Cut the connections that are left."""
        for client in self._clients:
            client.leave()

    async def said(self, conversation: str) -> list[str]:
        """The texts of a conversation, the oldest first."""
        page = (await self.get(f"{CONVERSATIONS}/{conversation}/items?order=asc&limit=100")).json
        assert not page["has_more"]
        return [item["content"][0]["text"] for item in page["data"]]

    async def goes_on(self, conversation: str) -> None:
        """Fails where there is no next turn, or the engine is not told all that was said before it."""
        before = await self.said(conversation)
        answer = await self.post(RESPONSES, {"input": "more", "conversation": conversation})
        assert (answer.status, answer.json["status"]) == (200, "completed")
        assert await self.said(conversation) == [*before, "more", "re: more"]


class Process(Gateway):
    """A running `fairlead gateway`."""

    def __init__(self, command: Command, url: str) -> None:
        super().__init__(url)
        self._command = command

    async def kill(self) -> None:
        self._command.signal(signal.SIGKILL)
        await asyncio.to_thread(self._command.wait)

    def terminate(self) -> None:
        self._command.signal(signal.SIGTERM)

    async def ended(self) -> int:
        """The exit code."""
        return await asyncio.to_thread(self._command.wait)


def started(folder: Path, database: str, endpoint: str = "http://127.0.0.1:9") -> Command:
    settings = folder / "gateway.yaml"
    one = {"name": "model", "kind": "engine", "endpoints": [endpoint]}
    settings.write_text(json.dumps({"port": 0, "backends": [one]}))
    variables = {"FAIRLEAD_DATABASE_URL": database, "FAIRLEAD_INTERNAL_TOKEN": "internal"}
    return Command("gateway", "--config", str(settings), environment=variables)


@contextlib.asynccontextmanager
async def running(folder: Path, upstream: Upstream, database: str) -> AsyncIterator[Process]:
    command = started(folder, database, upstream.url)
    try:
        process = Process(command, await asyncio.to_thread(command.wait_ready))
        try:
            yield process
        finally:
            process.leave()
    finally:
        await asyncio.to_thread(command.__exit__, None, None, None)


@contextlib.asynccontextmanager
async def opened(database: str) -> AsyncIterator[Store]:
    store = Store(database)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def successor(world: World, upstream: Upstream, database: str) -> Gateway:
    """The gateway that comes after one that ended, on the same database."""
    gateway = await world.gateway(backend(upstream.url, kind="engine"), database_url=database)
    return Gateway(gateway.url)


def texts(request: Request) -> list[str]:
    """What the engine was told."""
    return [item["content"][0]["text"] for item in request.json["input"]]


# --- killed --------------------------------------------------------------------------------------------


async def test_a_kill_leaves_whole_turns_and_no_half_ones(world: World, tmp_path: Path, database: str) -> None:
    engine = Engine()
    upstream = await world.upstream(engine)
    async with running(tmp_path, upstream, database) as gateway:
        unbegun, half, whole = [await gateway.conversation() for _ in range(3)]
        waiting = {"input": "wait", "conversation": unbegun, "background": True}
        queued = (await gateway.post(RESPONSES, waiting)).json["id"]
        _, cut = await gateway.streaming("hold", half)
        client, completed = await gateway.streaming("now", whole)
        await until(lambda: engine.held == 2)
        while COMPLETED not in (await client.piece() or b""):
            pass
        await gateway.kill()
    after = await successor(world, upstream, database)
    assert await after.said(unbegun) == FIRST
    assert await after.said(half) == FIRST
    assert await after.said(whole) == [*FIRST, "now", "re: now"]
    assert (await after.get(f"{RESPONSES}/{completed}")).json["status"] == "completed"
    async with opened(database) as store:
        assert await store.abandon(time.time()) == 0
        assert await store.abandon(time.time() + LATER_SECONDS) == 2
    for lost in (queued, cut):
        response = (await after.get(f"{RESPONSES}/{lost}")).json
        assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    for conversation in (unbegun, half, whole):
        before = await after.said(conversation)
        await after.goes_on(conversation)
        assert texts(upstream.requests[-1]) == [*before, "more"]


async def test_a_conversation_whose_id_was_told_outlives_a_kill(world: World, tmp_path: Path, database: str) -> None:
    upstream = await world.upstream(Engine())
    async with running(tmp_path, upstream, database) as gateway:
        client = await gateway.connected()
        await client.request("POST", CODE_CHAT, b"prompt=hold", headers=FORM)
        assert (await client.head()).status == 200
        told = (await client.piece() or b"").decode()
        await gateway.kill()
    told_id = told.removeprefix("conversation_id:").removesuffix("\n---\n")
    after = await successor(world, upstream, database)
    follow_up = f"prompt=more&conversation_id={told_id}".encode()
    assert (await after.ask("POST", CODE_CHAT, follow_up, headers=FORM)).body == b"re: more"
    assert texts(upstream.requests[-1]) == ["more"]


@dataclass
class Book:
    """What writers were told is kept: for each conversation the texts of every call, in order."""

    kept: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)
    count: int = 0

    def begin(self, conversation: str, said: tuple[str, ...]) -> None:
        self.kept[conversation] = [said]
        self.count += 1

    def add(self, conversation: str, said: tuple[str, ...]) -> None:
        self.kept[conversation].append(said)
        self.count += 1


async def write(gateway: Gateway, book: Book, name: str) -> None:
    """Write one conversation after the other, until the gateway is gone."""
    for number in itertools.count():
        first = (f"{name} {number} begins", f"{name} {number} goes on")
        items = [{"role": "user", "content": text} for text in first]
        new = (await gateway.post(CONVERSATIONS, {"items": items})).json["id"]
        book.begin(new, first)
        for turn in range(3):
            added = tuple(f"{name} {number}.{turn}.{index}" for index in range(4))
            items = [{"role": "user", "content": text} for text in added]
            assert (await gateway.post(f"{CONVERSATIONS}/{new}/items", {"items": items})).status == 200
            book.add(new, added)
            question = f"{name} {number}.{turn}?"
            assert (await gateway.post(RESPONSES, {"input": question, "conversation": new})).status == 200
            book.add(new, (question, f"re: {question}"))


async def test_what_was_acknowledged_outlives_a_kill(world: World, tmp_path: Path, database: str) -> None:
    upstream = await world.upstream(Engine())
    book = Book()
    async with running(tmp_path, upstream, database) as gateway:
        writers = [asyncio.create_task(write(gateway, book, name)) for name in ("a", "b", "c", "d")]
        await until(lambda: book.count >= ENOUGH)
        await gateway.kill()
        for ended in await asyncio.gather(*writers, return_exceptions=True):
            assert isinstance(ended, ConnectionError | asyncio.IncompleteReadError)
    after = await successor(world, upstream, database)
    there = [one["id"] for one in (await after.get(f"{CONVERSATIONS}?limit=100")).json["data"]]
    assert book.kept.keys() <= set(there)
    assert len(there) <= len(book.kept) + len(writers)
    for conversation in there:
        said = await after.said(conversation)
        kept = [text for call in book.kept.get(conversation, []) for text in call]
        assert said[: len(kept)] == kept
        # One more call may have been kept whose answer never came: whole, as all the others.
        assert len(said) - len(kept) in {0, 2, 4}
        await after.goes_on(conversation)


async def test_a_gateway_told_to_end_finishes_its_answers_first(world: World, tmp_path: Path, database: str) -> None:
    engine = Engine()
    upstream = await world.upstream(engine)
    async with running(tmp_path, upstream, database) as gateway:
        watched, unwatched = await gateway.conversation(), await gateway.conversation()
        client, streamed = await gateway.streaming("hold", watched)
        holding = {"input": "hold too", "conversation": unwatched, "background": True}
        background = (await gateway.post(RESPONSES, holding)).json["id"]
        await until(lambda: engine.held == 2)
        gateway.terminate()
        await refused(gateway)
        engine.released.set()
        assert COMPLETED in await client.rest()
        assert await gateway.ended() == 0
    after = await successor(world, upstream, database)
    assert await after.said(watched) == [*FIRST, "hold", "re: hold"]
    assert await after.said(unwatched) == [*FIRST, "hold too", "re: hold too"]
    for response in (streamed, background):
        assert (await after.get(f"{RESPONSES}/{response}")).json["status"] == "completed"


async def refused(gateway: Gateway) -> None:
    """Wait until the gateway takes no more connections."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await gateway.get("/livez")


# --- without its database ------------------------------------------------------------------------------


async def state(gateway: Gateway) -> Any:
    """What /readyz says of the store."""
    answer = await gateway.get("/readyz")
    assert answer.status == 200
    return answer.json["store"]


async def back(gateway: Gateway) -> None:
    """Wait until the gateway has found its database again."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await state(gateway) != "ok":
            pass


async def check_completions(gateway: Gateway) -> None:
    """Fails where anything is refused that needs no database."""
    question = {"messages": [{"role": "user", "content": "hi"}]}
    assert (await gateway.post(CHAT, question)).json["choices"][0]["message"]["content"] == "ok"
    assert (await gateway.post("/chat", {"message": "hi"})).json == {"response": "re: hi"}
    answer = await gateway.post(RESPONSES, {"input": "hi", "store": False})
    assert (answer.status, answer.json["status"]) == (200, "completed")


async def check_refusal(answer: Answer) -> None:
    assert answer.status == 503
    assert answer.error["code"] == "store_unavailable"
    assert int(answer.header("retry-after") or 0) > 0


async def test_completions_go_on_without_the_database_and_nothing_is_half_written(
    world: World, tmp_path: Path, server: Postgres, leaving: str
) -> None:
    upstream = await world.upstream(Engine())
    item = {"role": "user", "content": "hi"}
    async with running(tmp_path, upstream, leaving) as gateway:
        known = await gateway.conversation()
        response = (await gateway.post(RESPONSES, {"input": "hi"})).json["id"]
        asked = len(upstream.requests)
        with stopped(server):
            for method, path, body in [
                ("POST", CONVERSATIONS, {"items": [item]}),
                ("GET", CONVERSATIONS, None),
                ("GET", f"{CONVERSATIONS}/{known}", None),
                ("POST", f"{CONVERSATIONS}/{known}", {"metadata": {"a": "b"}}),
                ("POST", f"{CONVERSATIONS}/{known}/items", {"items": [item, item]}),
                ("GET", f"{CONVERSATIONS}/{known}/items", None),
                ("DELETE", f"{CONVERSATIONS}/{known}", None),
                ("POST", RESPONSES, {"input": "hi"}),
                ("POST", RESPONSES, {"input": "hi", "conversation": known, "store": False, "stream": True}),
                ("POST", RESPONSES, {"input": "hi", "background": True}),
                ("GET", f"{RESPONSES}/{response}", None),
                ("GET", "/chat/get/messages/", None),
                ("POST", "/chat/new/message/", {"prompt": "hi"}),
            ]:
                async with asyncio.timeout(SOON_SECONDS):
                    await check_refusal(await gateway.ask(method, path, body))
            assert len(upstream.requests) == asked  # no engine answers what cannot be kept
            assert await state(gateway) == "away"
            await check_completions(gateway)
        await back(gateway)
        assert await gateway.said(known) == FIRST
        assert [one["id"] for one in (await gateway.get(CONVERSATIONS)).json["data"]] == [known]
        await gateway.goes_on(known)


async def test_a_stream_that_loses_the_database_ends_with_an_error(
    world: World, tmp_path: Path, server: Postgres, leaving: str
) -> None:
    engine = Engine()
    upstream = await world.upstream(engine)
    async with running(tmp_path, upstream, leaving) as gateway:
        known = await gateway.conversation()
        client, response = await gateway.streaming("hold", known)
        with stopped(server):
            engine.released.set()
            async with asyncio.timeout(SOON_SECONDS):
                *_, failed, error, done, _ = (await client.rest()).split(b"\n\n")
        assert failed.startswith(b"event: response.failed\n")
        assert json.loads(error.removeprefix(b"data: "))["error"]["code"] == "store_unavailable"
        assert done == b"data: [DONE]"
        await back(gateway)
        assert await gateway.said(known) == FIRST
        async with opened(leaving) as store:
            assert await store.abandon(time.time() + LATER_SECONDS) == 1
        assert (await gateway.get(f"{RESPONSES}/{response}")).json["status"] == "failed"
        await gateway.goes_on(known)


async def test_a_gateway_begins_without_its_database_and_finds_it_later(
    world: World, tmp_path: Path, server: Postgres, leaving: str
) -> None:
    upstream = await world.upstream(Engine())
    async with contextlib.AsyncExitStack() as stack:
        with stopped(server):
            gateway = await stack.enter_async_context(running(tmp_path, upstream, leaving))
            await check_completions(gateway)
            assert await state(gateway) == "away"
            await check_refusal(await gateway.post(CONVERSATIONS, {}))
        await back(gateway)
        await gateway.goes_on(await gateway.conversation())


async def test_probes_do_not_wait_for_a_database_that_says_nothing(
    world: World, tmp_path: Path, server: Postgres, leaving: str
) -> None:
    upstream = await world.upstream(Engine())
    async with running(tmp_path, upstream, leaving) as gateway:
        known = await gateway.conversation()
        with server.frozen():
            async with asyncio.timeout(SOON_SECONDS):
                assert await state(gateway) == "away"
            await check_completions(gateway)
        await back(gateway)
        await gateway.goes_on(known)


# --- with settings that cannot work --------------------------------------------------------------------


async def refusal(folder: Path, database: str) -> str:
    """What `fairlead gateway` says of the URL `database` before it ends with exit code 2."""
    with started(folder, database) as command:
        assert await asyncio.to_thread(command.wait) == 2
    (line,) = command.output.splitlines()
    assert line.startswith("fairlead: ")
    return line


async def test_a_place_that_cannot_be_written_ends_the_gateway(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = await refusal(tmp_path, f"sqlite:///{tmp_path}/file/conversations.db")
    assert f"{tmp_path}/file/conversations.db" in line
    assert "databaseUrl" in line


async def test_another_kind_of_database_ends_the_gateway(tmp_path: Path) -> None:
    line = await refusal(tmp_path, "mysql://user:hidden@host/name")
    assert "postgresql://" in line
    assert "hidden" not in line


async def test_a_wrong_password_ends_the_gateway(tmp_path: Path, server: Postgres) -> None:
    line = await refusal(tmp_path, server.url.replace(server.password, "hidden"))
    assert "databaseUrl" in line
    assert "hidden" not in line
