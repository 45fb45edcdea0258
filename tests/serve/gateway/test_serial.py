"""Several clients at one conversation: whatever they do at once, it comes out as if they had waited for each other."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from tests.postgres import Postgres, binaries
from tests.serve.gateway.client import Answer, Client
from tests.serve.gateway.upstream import END_OF_CHUNKS, Exchange, Request
from tests.serve.gateway.vllm_responses import RESPONSES, events
from tests.serve.gateway.world import Running, World, backend, until

CONVERSATIONS = "/v1/conversations"
BEGINNING = ("a", "b", "c")
DELTA = b"event: response.output_text.delta\n"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('database') / 'conversations.db'}"
    elif binaries() is None:
        pytest.skip("there is no PostgreSQL on this machine; install it")
    else:
        with Postgres() as server:
            yield server.url


class Echo:
    """A script that says the question again, in pieces. To who means to leave it says only the first."""

    def __init__(self) -> None:
        self.histories: dict[str, list[str]] = {}

    async def __call__(self, exchange: Exchange, request: Request) -> None:
        texts = [item["content"][0]["text"] for item in request.json["input"]]
        question = texts[-1]
        self.histories[question] = texts
        await exchange.begin_stream()
        deltas = 0
        for one in events(request.json, ["re: ", question]):
            deltas += one.startswith(DELTA)
            if deltas == 2 and question.startswith("leave"):
                await exchange.gone()
                return
            await exchange.chunks(one)
        await exchange.send(END_OF_CHUNKS)


Kind = Literal["add", "turn", "stream", "background", "leave", "describe", "delete item", "delete"]
TURNS: tuple[Kind, ...] = ("turn", "stream", "background")


@dataclass(frozen=True)
class Call:
    """One call of a client. `size`: how many items are added; `item`: which of the first ones is deleted."""

    kind: Kind
    size: int = 1
    item: int = 0
    store: bool = True


@dataclass
class Done:
    """What came of a call: when it was made and answered, in ticks of one clock, and what it was to say."""

    call: Call
    status: int
    began: float
    ended: float
    said: tuple[str, ...] = ()
    response: Any = None


@dataclass
class Talk:
    """One conversation that all clients of an example have, and all that came of it."""

    gateway: Running
    id: str
    beginning: list[str]
    clock: Iterator[int] = field(default_factory=itertools.count)
    done: list[Done] = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"{CONVERSATIONS}/{self.id}"

    def worked(self, *kinds: Kind) -> list[Done]:
        return [one for one in self.done if one.call.kind in kinds and one.status == 200]


class Participant:
    """One client: its calls come one after the other."""

    def __init__(self, talk: Talk, name: str) -> None:
        self._talk = talk
        self._name = name
        self._client: Client | None = None

    async def make(self, calls: Sequence[Call]) -> None:
        try:
            for number, call in enumerate(calls):
                began = next(self._talk.clock)
                done = await self._make(call, f"{self._name}.{number}")
                done.began = began
                # What became of who left is known when all is quiet.
                done.ended = float("inf") if call.kind == "leave" else next(self._talk.clock)
                self._talk.done.append(done)
        finally:
            if self._client is not None:
                self._client.leave()

    async def _make(self, call: Call, name: str) -> Done:
        path = self._talk.path
        match call.kind:
            case "add":
                texts = tuple(f"{name}.{index}" for index in range(call.size))
                items = [{"role": "user", "content": text} for text in texts]
                return _done(call, await self._ask("POST", f"{path}/items", {"items": items}), texts)
            case "describe":
                return _done(call, await self._ask("POST", path, {"metadata": {"by": name}}), (name,))
            case "delete item":
                return _done(call, await self._ask("DELETE", f"{path}/items/{self._talk.beginning[call.item]}"))
            case "delete":
                return _done(call, await self._ask("DELETE", path))
            case "leave":
                return await self._leave(call, f"leave {name}")
            case "background":
                return await self._background(call, name)
        return await self._turn(call, name)

    async def _turn(self, call: Call, question: str) -> Done:
        streaming = call.kind == "stream"
        answer = await self._ask("POST", RESPONSES, self._question(call, question, stream=streaming))
        done = _done(call, answer, (question, f"re: {question}"))
        if done.status == 200:
            done.response = _last_event(answer.body)["response"] if streaming else answer.json
        return done

    async def _background(self, call: Call, question: str) -> Done:
        """Ask, and look at the answer until its end."""
        body = {"input": question, "conversation": self._talk.id, "background": True}
        answer = await self._ask("POST", RESPONSES, body)
        done = _done(call, answer, (question, f"re: {question}"))
        if done.status == 200:
            seen = await self._ask("GET", f"{RESPONSES}/{answer.json['id']}?stream=true")
            assert seen.status in {200, 404}
            done.response = _last_event(seen.body)["response"] if seen.status == 200 else answer.json
        return done

    async def _leave(self, call: Call, question: str) -> Done:
        client = await self._connected()
        await client.request("POST", RESPONSES, self._question(call, question, stream=True))
        head = await client.head()
        if head.status != 200:
            await client.rest()
        else:
            while DELTA not in (await client.piece() or b""):
                pass
            client.leave()
            self._client = None
        return Done(call, head.status, 0, 0, (question, "re: "))

    def _question(self, call: Call, question: str, *, stream: bool) -> Any:
        return {"input": question, "conversation": self._talk.id, "stream": stream, "store": call.store}

    async def _ask(self, method: str, path: str, body: Any = None) -> Answer:
        client = await self._connected()
        await client.request(method, path, body)
        return await client.answer()

    async def _connected(self) -> Client:
        if self._client is None:
            self._client = await Client.connect(self._talk.gateway.url)
        return self._client


def _done(call: Call, answer: Answer, said: tuple[str, ...] = ()) -> Done:
    assert answer.status in {200, 404}
    return Done(call, answer.status, 0, 0, said)


def _last_event(body: bytes) -> Any:
    *_, last, _ = body.split(b"\n\n")
    return json.loads(last.partition(b"\ndata: ")[2])


@contextlib.asynccontextmanager
async def connected(gateway: Running) -> AsyncIterator[Client]:
    client = await Client.connect(gateway.url)
    try:
        yield client
    finally:
        client.leave()


async def begin(gateway: Running, client: Client) -> Talk:
    items = [{"role": "user", "content": text} for text in BEGINNING]
    conversation = (await client.post(CONVERSATIONS, {"items": items})).json["id"]
    page = (await client.get(f"{CONVERSATIONS}/{conversation}/items?order=asc")).json
    return Talk(gateway, conversation, [item["id"] for item in page["data"]])


async def stored(client: Client, talk: Talk) -> list[Any]:
    """All items, from several pages."""
    items: list[Any] = []
    more = ""
    while True:
        page = (await client.get(f"{talk.path}/items?order=asc&limit=5{more}")).json
        items += page["data"]
        if not page["has_more"]:
            return items
        more = f"&after={page['last_id']}"


def check_items(talk: Talk, items: Sequence[Any]) -> list[Done]:
    """Each call's items are there once, together and in order; the calls in the order in which they were kept."""
    deleted = {done.call.item for done in talk.worked("delete item")}
    texts = [item["content"][0]["text"] for item in items]
    beginning = [text for index, text in enumerate(BEGINNING) if index not in deleted]
    assert texts[: len(beginning)] == beginning
    rest = texts[len(beginning) :]
    calls = sorted(talk.worked("add", "leave", *TURNS), key=lambda done: rest.index(done.said[0]))
    assert rest == [text for done in calls for text in done.said]
    for earlier, later in itertools.combinations(calls, 2):
        assert earlier.began < later.ended
    left = {text for done in talk.worked("leave") for text in done.said}
    for item in items:
        cut = item["role"] == "assistant" and item["content"][0]["text"] in left
        assert item["status"] == ("incomplete" if cut else "completed")
    return calls


def check_histories(talk: Talk, calls: Sequence[Done], histories: dict[str, list[str]]) -> None:
    """What the engine was told each time is a beginning of the conversation that ends with a whole call."""
    whole = [tuple(text for done in calls[:count] for text in done.said) for count in range(len(calls) + 1)]
    for done in talk.worked("leave", *TURNS):
        *told, question = histories[done.said[0]]
        assert question == done.said[0]
        assert tuple(text for text in told if text not in BEGINNING) in whole


def check_metadata(talk: Talk, metadata: dict[str, str]) -> None:
    """It is that of an update after which no other one began."""
    updates = talk.worked("describe")
    if not updates:
        assert metadata == {}
        return
    (last,) = [one for one in updates if metadata == {"by": one.said[0]}]
    assert not [one for one in updates if one.began > last.ended]


def check_deleted(talk: Talk) -> None:
    """Deleted once, and nothing worked after it."""
    (deletion,) = talk.worked("delete")
    assert all(done.status == 404 for done in talk.done if done.began > deletion.ended)


async def check(client: Client, talk: Talk, echo: Echo) -> None:
    """Fails where the calls, made one after the other, could not have left what there is."""
    found = await client.get(talk.path)
    assert found.status == (404 if talk.worked("delete") else 200)
    kept = [done for done in talk.worked(*TURNS) if done.call.store or done.call.kind == "background"]
    if found.status == 404:
        check_deleted(talk)
        for done in kept:
            assert (await client.get(f"{RESPONSES}/{done.response['id']}")).status == 404
        return
    check_histories(talk, check_items(talk, await stored(client, talk)), echo.histories)
    check_metadata(talk, found.json["metadata"])
    assert all(done.status == 200 for done in talk.done if done.call.kind != "delete item")
    for index in range(len(BEGINNING)):
        deletions = [done for done in talk.done if done.call.kind == "delete item" and done.call.item == index]
        assert [done.status for done in deletions].count(200) == min(len(deletions), 1)
    for done in kept:
        response = (await client.get(f"{RESPONSES}/{done.response['id']}")).json
        assert response == done.response
        assert response["status"] == "completed"


KINDS: tuple[Kind, ...] = ("add", *TURNS, "leave", "describe", "delete item")
CALLS = st.builds(
    Call,
    kind=st.sampled_from(KINDS),
    size=st.integers(1, 5),
    item=st.integers(0, len(BEGINNING) - 1),
    store=st.booleans(),
)
DELETING = (
    (Call("describe"), Call("delete"), Call("add"), Call("turn")),
    (Call("turn"), Call("delete"), Call("stream"), Call("background")),
)
CLIENTS = st.lists(st.lists(CALLS, min_size=1, max_size=5), min_size=2, max_size=5)


@pytest.fixture
async def echoing(world: World, database: str) -> tuple[Running, Echo]:
    echo = Echo()
    upstream = await world.upstream(echo)
    return await world.gateway(backend(upstream.url, kind="engine"), database_url=database), echo


@given(plans=CLIENTS, deleting=st.sampled_from([False, False, True]))
@settings(
    max_examples=50,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    # One gateway for all examples: each has a conversation of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_what_clients_do_at_once_is_kept_as_if_done_in_turn(
    echoing: tuple[Running, Echo], plans: list[Sequence[Call]], deleting: bool
) -> None:
    gateway, echo = echoing
    async with connected(gateway) as client:
        talk = await begin(gateway, client)
        if deleting:
            plans = [*plans, *DELETING]
        note(f"the calls of each client: {plans}")
        async with asyncio.TaskGroup() as group:
            for number, calls in enumerate(plans):
                group.create_task(Participant(talk, str(number)).make(calls))
        # Those whose clients left are still at work.
        await until(lambda: not gateway.server._server.server_state.tasks)
        await check(client, talk, echo)
