"""What belongs to one key does not exist for another, whichever way it is asked for."""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest

from fairlead_serve.gateway.items import new_id
from fairlead_serve.keys import KeyFile
from tests.serve.gateway.client import Answer
from tests.serve.gateway.vllm_responses import RESPONSES, Answering
from tests.serve.gateway.world import Running, World, backend, until

CONVERSATIONS = "/v1/conversations"
CODE_CHAT = "/v1/code/chat_stream"
FORM = {"content-type": "application/x-www-form-urlencoded"}
SECRET = "a secret of alice's"
HI: Any = [{"role": "user", "content": "hi"}]
# Of every answer, and never the same.
_CHANGING = {"date", "x-request-id", "openai-processing-ms", "content-length"}


@dataclass(frozen=True)
class Probe:
    """A request that names what may be another's: `{conversation}`, `{item}` of it, ...; `{own_...}` is the asker's."""

    method: str
    path: str
    body: Any = None

    async def send(self, world: World, running: Running, key: str, ids: Mapping[str, str]) -> Answer:
        def filled(text: str) -> str:
            return re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], text)

        client = await world.client(running)
        headers, body = bearer(key), self.body
        if isinstance(body, dict) and self.path == CODE_CHAT:
            headers |= FORM
            body = urlencode({name: filled(value) for name, value in body.items()}).encode()
        elif body is not None:
            body = filled(json.dumps(body)).encode()
        await client.request(self.method, filled(self.path), body, headers=headers)
        return await client.answer()

    @property
    def route(self) -> tuple[str, str]:
        """(method, path with all its ids as {})."""
        return self.method, re.sub(r"\{\w+\}", "{}", self.path.partition("?")[0])


# In an order in which the owner can send them all.
PROBES = (
    Probe("GET", "/v1/conversations/{conversation}"),
    Probe("GET", "/v1/conversations?after={conversation}"),
    Probe("GET", "/v1/conversations/{conversation}/items"),
    Probe("GET", "/v1/conversations/{conversation}/items?after={item}"),
    Probe("GET", "/v1/conversations/{conversation}/items/{item}"),
    Probe("GET", "/v1/responses/{response}"),
    Probe("GET", "/v1/responses/{response}?stream=true"),
    Probe("GET", "/v1/responses/{response}/input_items"),
    Probe("GET", "/v1/responses/{response}/input_items?after={asked}"),
    Probe("GET", "/v1/responses/{running}"),
    Probe("POST", "/v1/conversations/{conversation}", {"metadata": {}}),
    Probe("POST", "/v1/conversations/{conversation}/items", {"items": HI}),
    Probe("POST", RESPONSES, {"input": "hi", "conversation": "{conversation}"}),
    Probe("POST", RESPONSES, {"input": "hi", "conversation": {"id": "{conversation}"}, "stream": True}),
    Probe("POST", RESPONSES, {"input": "hi", "conversation": "{conversation}", "store": False}),
    Probe("POST", RESPONSES, {"input": "hi", "previous_response_id": "{response}"}),
    Probe("POST", RESPONSES, {"input": "hi", "previous_response_id": "{response}", "background": True}),
    Probe("POST", CODE_CHAT, {"prompt": "hi", "conversation_id": "{uuid}"}),
    Probe("POST", "/v1/responses/{running}/cancel"),
    Probe("DELETE", "/v1/responses/{response}"),
    Probe("DELETE", "/v1/conversations/{conversation}/items/{item}"),
    Probe("DELETE", "/v1/conversations/{conversation}"),
)
# Another's item, looked for among what is the asker's own.
MIXED = (
    Probe("GET", "/v1/conversations/{own_conversation}/items/{item}"),
    Probe("GET", "/v1/conversations/{own_conversation}/items?after={item}"),
    Probe("GET", "/v1/responses/{own_response}/input_items?after={asked}"),
    Probe("DELETE", "/v1/conversations/{own_conversation}/items/{item}"),
)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def made_up() -> dict[str, str]:
    """Ids of which there are none."""
    uuid = uuid4()
    return {
        "conversation": new_id("conv"),
        "item": new_id("msg"),
        "asked": new_id("msg"),
        "response": new_id("resp"),
        "running": new_id("resp"),
        "uuid": str(uuid),
        "hex": uuid.hex,
    }


def without(ids: Mapping[str, str], answer: Answer) -> tuple[int, list[tuple[str, str]], str]:
    """What an answer tells, but for the `ids` that it was asked with."""
    body = answer.body.decode()
    for name in ids.values():
        body = body.replace(name, "an id")
    return answer.status, [header for header in answer.headers if header[0] not in _CHANGING], body


class Tenant:
    """A key, and what it has made."""

    def __init__(self, world: World, running: Running, key: str) -> None:
        self._world = world
        self._running = running
        self.key = key
        self.ids: dict[str, str] = {}

    async def fill(self, text: str, *, hold: asyncio.Event | None = None) -> None:
        """Make one of everything, with `text` in it. `hold`: what the engine's first answer waits for."""
        if hold is not None:
            made = await self.post(RESPONSES, {"input": text, "background": True})
            self.ids["running"] = made["id"]
        metadata = {"title": text}
        conversation = await self.post(CONVERSATIONS, {"metadata": metadata, "items": [{**HI[0], "content": text}]})
        response = await self.post(RESPONSES, {"input": text, "conversation": conversation["id"]})
        answer = await Probe("POST", CODE_CHAT, {"prompt": text}).send(self._world, self._running, self.key, {})
        found = re.match(rb"conversation_id:(\S+)\n---\n", answer.body)
        assert found is not None
        uuid = UUID(found[1].decode())
        items = (await self.get(f"{CONVERSATIONS}/{conversation['id']}/items?order=asc"))["data"]
        asked = (await self.get(f"{RESPONSES}/{response['id']}/input_items"))["data"]
        self.ids |= {
            "conversation": conversation["id"],
            "item": items[0]["id"],
            "response": response["id"],
            "asked": asked[0]["id"],
            "uuid": str(uuid),
            "hex": uuid.hex,
        }

    async def get(self, path: str) -> Any:
        answer = await self._world.get(self._running, path, headers=bearer(self.key))
        assert answer.status == 200, answer
        return answer.json

    async def post(self, path: str, body: Any) -> Any:
        answer = await self._world.post(self._running, body, path=path, headers=bearer(self.key))
        assert answer.status == 200, answer
        return answer.json

    async def everything(self) -> list[Any]:
        """All that this key can read of its own."""
        paths = [
            CONVERSATIONS,
            f"{CONVERSATIONS}/{self.ids['conversation']}/items",
            f"{CONVERSATIONS}/conv_{self.ids['hex']}/items",
            f"{RESPONSES}/{self.ids['response']}",
            f"{RESPONSES}/{self.ids['running']}",
            "/chat/get/messages/",
        ]
        return [await self.get(path) for path in paths]


@dataclass(frozen=True)
class Town:
    """A gateway with the keys of alice, who has made something, and of bob, who has too."""

    running: Running
    file: KeyFile
    alice: Tenant
    bob: Tenant
    script: Answering


@pytest.fixture
async def town(world: World, tmp_path: Path) -> Town:
    file = KeyFile(tmp_path / "keys.yaml")
    keys = [file.create(name)[1] for name in ("alice", "bob")]
    hold = asyncio.Event()
    script = Answering("Hel", "lo", hold=hold)
    upstream = await world.upstream(script)
    running = await world.gateway(backend(upstream.url, kind="engine"), key_file=tmp_path / "keys.yaml")
    alice, bob = (Tenant(world, running, key) for key in keys)
    await alice.fill(SECRET, hold=hold)
    await bob.fill("nothing of a secret")
    return Town(running, file, alice, bob, script)


async def test_every_route_that_takes_an_id_is_probed(world: World, town: Town) -> None:
    document = (await world.get(town.running, "/openapi.json")).json
    routes = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, methods in document["paths"].items()
        for method in methods
        if re.search(r"\{\w+_id\}", path)
    }
    assert routes <= {probe.route for probe in PROBES}


async def test_another_s_is_answered_like_what_there_is_not_and_stays_as_it_is(world: World, town: Town) -> None:
    before = await town.alice.everything()
    own = {f"own_{name}": value for name, value in town.bob.ids.items()}
    for probe in (*PROBES, *MIXED):
        theirs, none = {**town.alice.ids, **own}, {**made_up(), **own}
        answer = await probe.send(world, town.running, town.bob.key, theirs)
        assert answer.status == 404, (probe, answer)
        assert without(theirs, answer) == without(none, await probe.send(world, town.running, town.bob.key, none))
        assert SECRET not in answer.body.decode()
    assert await town.alice.everything() == before
    assert town.script.left == 0  # what runs in the background goes on


async def test_the_owner_may_do_all_that_another_may_not(world: World, town: Town) -> None:
    for probe in PROBES:
        answer = await probe.send(world, town.running, town.alice.key, town.alice.ids)
        assert answer.status == 200, (probe, answer)
    assert town.script.left == 1


async def test_no_list_shows_anything_of_another(world: World, town: Town) -> None:
    listed = await town.bob.get(f"{CONVERSATIONS}?limit=100")
    assert {one["id"] for one in listed["data"]} == {town.bob.ids["conversation"], f"conv_{town.bob.ids['hex']}"}
    assert len((await town.alice.get(f"{CONVERSATIONS}?limit=100"))["data"]) == 2
    messages = (await town.bob.get("/chat/get/messages/"))["messages"]
    assert messages == [
        {"role": "user", "content": "nothing of a secret"},
        {"role": "assistant", "content": "Hello"},
    ]


async def test_the_history_of_another_s_conversation_leads_into_a_conversation_of_one_s_own(town: Town) -> None:
    before = await town.alice.everything()
    history = (await town.alice.get("/chat/get/messages/"))["messages"]
    answer = await town.bob.post("/chat/new/message/", {"prompt": "hi", "history": history})
    assert answer["response"] == "Hello"
    assert await town.alice.everything() == before
    assert len((await town.bob.get(CONVERSATIONS))["data"]) == 3


async def test_a_revoked_key_opens_nothing_and_another_of_its_name_finds_nothing(world: World, town: Town) -> None:
    revoked = town.file.revoke("alice")
    key, secret = town.file.create("alice")
    assert key.id != revoked.id
    async with asyncio.timeout(10):
        while (await world.get(town.running, CONVERSATIONS, headers=bearer(secret))).status != 200:
            pass
    for probe in PROBES:
        answer = await probe.send(world, town.running, town.alice.key, town.alice.ids)
        assert answer.status == 401
        assert "wrong, or has been revoked" in answer.body.decode()
        answer = await probe.send(world, town.running, secret, town.alice.ids)
        assert answer.status == 404
    again = Tenant(world, town.running, secret)
    assert (await again.get(CONVERSATIONS))["data"] == []
    assert (await again.get("/chat/get/messages/"))["messages"] == []


async def test_what_was_made_before_there_were_keys_belongs_to_none(world: World, tmp_path: Path) -> None:
    upstream = await world.upstream(Answering("Hello"))
    engine, url = backend(upstream.url, kind="engine"), f"sqlite:///{tmp_path}/conversations.db"
    running = await world.gateway(engine, database_url=url)
    made = (await world.post(running, {}, path=CONVERSATIONS)).json
    _, secret = KeyFile(tmp_path / "keys.yaml").create("alice")
    running = await world.gateway(engine, database_url=url, key_file=tmp_path / "keys.yaml")
    alice = Tenant(world, running, secret)
    assert (await alice.get(CONVERSATIONS))["data"] == []
    answer = await world.get(running, f"{CONVERSATIONS}/{made['id']}", headers=bearer(secret))
    assert (answer.status, answer.error["code"]) == (404, "conversation_not_found")


async def test_of_one_key_everything_can_be_asked_for_on_another_gateway(world: World, tmp_path: Path) -> None:
    """So that what the tests above find closed is closed by the key and by nothing else."""
    _, secret = KeyFile(tmp_path / "keys.yaml").create("alice")
    upstream = await world.upstream(Answering("Hello"))
    shared: Any = {"database_url": f"sqlite:///{tmp_path}/conversations.db", "key_file": tmp_path / "keys.yaml"}
    first, second = [await world.gateway(backend(upstream.url, kind="engine"), **shared) for _ in range(2)]
    made = await Tenant(world, first, secret).post(RESPONSES, {"input": "hi"})
    found = Tenant(world, second, secret)
    await until(lambda: second.backend.ready)
    assert await found.get(f"{RESPONSES}/{made['id']}") == made
