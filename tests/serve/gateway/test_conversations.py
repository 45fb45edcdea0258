"""`/v1/conversations`: what was said, as OpenAI's own client makes, reads and deletes it."""

import json
from typing import Any

import openai
import pytest
from openai.types.conversations import Conversation, ConversationItem
from openai.types.responses import ResponseReasoningItem
from pydantic import TypeAdapter

from tests.serve.gateway.client import Answer
from tests.serve.gateway.official import sdk
from tests.serve.gateway.vllm_responses import Answering
from tests.serve.gateway.world import Running, World, backend

PATH = "/v1/conversations"
ITEM: TypeAdapter[Any] = TypeAdapter(ConversationItem)
# Every kind that a client may add, as short as it may be.
KINDS: list[Any] = [
    {"role": "user", "content": "hi"},
    {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "be brief"}]},
    {"role": "developer", "content": "in verse"},
    {"role": "assistant", "content": "hello"},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto"}]},
    {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "sunny"},
    {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "sunny"}]},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
    {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "Hm."}]},
]
# (what is sent to begin a conversation, the place that is wrong)
REFUSED: list[tuple[Any, str | None]] = [
    ([], None),
    ("text", None),
    ({"metadata": "text"}, "metadata"),
    ({"metadata": {"a": 1}}, "metadata"),
    ({"metadata": {"a": None}}, "metadata"),
    ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
    ({"metadata": {"k" * 65: "x"}}, "metadata"),
    ({"metadata": {"k": "x" * 513}}, "metadata"),
    ({"items": {}}, "items"),
    ({"items": "hi"}, "items"),
    ({"items": [{"role": "user", "content": "hi"}] * 21}, "items"),
    ({"items": [{"role": "user", "content": "hi"}, {"content": "hi"}]}, "items[1].type"),
    ({"items": [{"role": "user", "content": 3}]}, "items[0].content"),
    ({"items": [{"role": "user", "content": ["hi"]}]}, "items[0].content[0]"),
]


async def serving(world: World, **settings: Any) -> Running:
    """A gateway over one engine that says Hello."""
    upstream = await world.upstream(Answering("Hello"))
    return await world.gateway(backend(upstream.url, kind="engine"), **settings)


def text_of(item: Any) -> str:
    """The text of a message of one part."""
    return str(item.content[0].text)


def refused(answer: Answer, status: int, param: str | None) -> None:
    assert (answer.status, answer.error["param"]) == (status, param), answer.body


async def test_a_conversation_is_made_read_changed_and_deleted(world: World) -> None:
    running = await serving(world)
    async with sdk(running) as client:
        made = await client.conversations.create(metadata={"title": "Grüße"})
        assert made.id.startswith("conv_")
        assert made.metadata == {"title": "Grüße"}
        assert await client.conversations.retrieve(made.id) == made
        changed = await client.conversations.update(made.id, metadata={"other": "世界"})
        assert changed == made.model_copy(update={"metadata": {"other": "世界"}})
        assert await client.conversations.retrieve(made.id) == changed
        assert (await client.conversations.update(made.id, metadata=None)).metadata == {}
        deleted = await client.conversations.delete(made.id)
        assert (deleted.id, deleted.deleted, deleted.object) == (made.id, True, "conversation.deleted")
        for call in (client.conversations.retrieve, client.conversations.delete, client.conversations.items.list):
            with pytest.raises(openai.NotFoundError) as raised:
                await call(made.id)
            assert raised.value.code == "conversation_not_found"
        with pytest.raises(openai.NotFoundError):
            await client.conversations.update(made.id, metadata={})


@pytest.mark.parametrize("body", [None, b"", b" ", {}, {"metadata": None, "items": None}])
async def test_a_conversation_begins_with_nothing_said(world: World, body: Any) -> None:
    running = await serving(world)
    answer = await world.post(running, body, path=PATH)
    assert answer.status == 200
    made = Conversation.model_validate(answer.json)
    assert made.metadata == {}
    listed = (await world.get(running, f"{PATH}/{made.id}/items")).json
    assert listed == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


async def test_items_of_every_kind_are_kept_whole_under_an_id_each(world: World) -> None:
    running = await serving(world)
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        added = await client.conversations.items.create(conversation.id, items=KINDS)
        assert (added.first_id, added.last_id, added.has_more) == (added.data[0].id, added.data[-1].id, False)
        listed = [item async for item in client.conversations.items.list(conversation.id, order="asc")]
        assert listed == added.data
        assert len({item.id for item in listed}) == len(KINDS)
        for item in listed:
            assert item.id is not None
            raw = await client.conversations.items.with_raw_response.retrieve(item.id, conversation_id=conversation.id)
            assert ITEM.validate_python(raw.http_response.json()) == item
        assert [item.type for item in listed] == [one.get("type", "message") for one in KINDS]
        assert text_of(listed[0]) == "hi"
        last = listed[-1]
        assert isinstance(last, ResponseReasoningItem)
        assert last.summary == []


async def test_ids_of_clients_are_not_taken_over(world: World) -> None:
    running = await serving(world)
    async with sdk(running) as client:
        conversation = await client.conversations.create()
        item: Any = {"type": "message", "id": "msg_mine", "role": "user", "content": "hi"}
        for _ in range(2):
            added = await client.conversations.items.create(conversation.id, items=[item])
            assert added.data[0].id != "msg_mine"


async def test_items_are_listed_in_pages_of_either_order(world: World) -> None:
    running = await serving(world)
    async with sdk(running) as client:
        items = client.conversations.items
        said: Any = [{"role": "user", "content": str(number)} for number in range(5)]
        conversation = await client.conversations.create(items=said)
        forward = [item async for item in items.list(conversation.id, order="asc", limit=2)]
        assert [text_of(item) for item in forward] == ["0", "1", "2", "3", "4"]
        assert [item async for item in items.list(conversation.id, limit=2)] == forward[::-1]
        middle = forward[2].id or ""
        page = await items.list(conversation.id, order="asc", after=middle, limit=1)
        assert (page.data, page.has_more, page.last_id) == ([forward[3]], True, forward[3].id)
        page = await items.list(conversation.id, after=middle)
        assert (page.data, page.has_more) == (forward[1::-1], False)
        with pytest.raises(openai.NotFoundError) as raised:
            await items.list(conversation.id, after="msg_other")
        assert "msg_other" in raised.value.message
    for query in ("limit=0", "limit=101", "limit=x", "order=up"):
        answer = await world.get(running, f"{PATH}/{conversation.id}/items?{query}")
        refused(answer, 400, query.partition("=")[0])


async def test_an_item_is_deleted_and_the_others_stay_in_their_order(world: World) -> None:
    running = await serving(world)
    async with sdk(running) as client:
        items = client.conversations.items
        conversation = await client.conversations.create(items=[{"role": "user", "content": text} for text in "abc"])
        first, second, third = [item async for item in items.list(conversation.id, order="asc")]
        left = await items.delete(second.id or "", conversation_id=conversation.id)
        assert left == conversation
        assert [item async for item in items.list(conversation.id, order="asc")] == [first, third]
        for call in (items.retrieve, items.delete):
            with pytest.raises(openai.NotFoundError) as raised:
                await call(second.id or "", conversation_id=conversation.id)
            assert raised.value.code == "item_not_found"
        # What is added goes behind what is there.
        await items.create(conversation.id, items=[{"role": "user", "content": "d"}])
        assert [text_of(item) async for item in items.list(conversation.id, order="asc")] == ["a", "c", "d"]


async def test_an_item_of_one_conversation_is_none_of_another(world: World) -> None:
    running = await serving(world)
    async with sdk(running) as client:
        one = await client.conversations.create(items=[{"role": "user", "content": "hi"}])
        other = await client.conversations.create()
        item = await anext(aiter(client.conversations.items.list(one.id)))
        for call in (client.conversations.items.retrieve, client.conversations.items.delete):
            with pytest.raises(openai.NotFoundError):
                await call(item.id or "", conversation_id=other.id)
        with pytest.raises(openai.NotFoundError):
            await client.conversations.items.list(other.id, after=item.id or "")
        assert [one async for one in client.conversations.items.list(one.id)] == [item]


async def test_conversations_are_listed_by_their_last_use(world: World) -> None:
    running = await serving(world)
    client = await world.client(running)

    async def listed(query: str = "") -> Any:
        answer = (await client.get(f"{PATH}{query}")).json
        assert answer["object"] == "list"
        for one in answer["data"]:
            Conversation.model_validate(one)
        return answer

    async def make() -> str:
        return str((await client.post(PATH, {})).json["id"])

    def ids(page: Any) -> list[str]:
        return [one["id"] for one in page["data"]]

    assert await listed() == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    a, b, c, d = [await make() for _ in range(4)]
    assert ids(await listed()) == [d, c, b, a]
    # A change, an addition, a turn and a deletion are uses; looking is none.
    await client.post(f"{PATH}/{a}", {"metadata": {"a": "b"}})
    await client.post(f"{PATH}/{b}/items", {"items": [{"role": "user", "content": "hi"}]})
    await client.post("/v1/responses", {"input": "hi", "conversation": c, "store": False})
    await client.get(f"{PATH}/{d}")
    await client.get(f"{PATH}/{d}/items")
    assert ids(await listed()) == [c, b, a, d]
    item = (await client.get(f"{PATH}/{b}/items")).json["data"][0]["id"]
    await client.request("DELETE", f"{PATH}/{b}/items/{item}")
    await client.answer()
    page = await listed("?limit=2")
    assert (ids(page), page["has_more"], page["first_id"], page["last_id"]) == ([b, c], True, b, c)
    page = await listed(f"?limit=2&after={c}")
    assert (ids(page), page["has_more"]) == ([a, d], False)
    assert ids(await listed("?order=asc")) == [d, a, c, b]
    refused(await client.get(f"{PATH}?after=conv_other"), 404, None)


async def test_what_cannot_be_kept_is_refused_with_its_place(world: World) -> None:
    running = await serving(world)
    client = await world.client(running)
    for body, param in REFUSED:
        refused(await client.post(PATH, body), 400, param)
    made = (await client.post(PATH, {"metadata": {"a": "b"}, "items": [{"role": "user", "content": "hi"}]})).json
    path = f"{PATH}/{made['id']}"
    for body, param in REFUSED:
        if param == "metadata":
            refused(await client.post(path, body), 400, param)
        elif param is not None:
            refused(await client.post(f"{path}/items", body), 400, param)
    for body, missing in (({}, "metadata"), (b"", "metadata"), ({"items": []}, "metadata")):
        refused(await client.post(path, body), 400, missing)
    for body in ({}, b"", {"items": None}):
        refused(await client.post(f"{path}/items", body), 400, "items")
    for where in (PATH, path, f"{path}/items"):
        answer = await client.post(where, b'{"metadata": ')
        assert (answer.status, answer.error["code"]) == (400, "invalid_json")
    # None of it has left a trace.
    assert (await client.get(path)).json == made
    assert len((await client.get(f"{path}/items")).json["data"]) == 1
    assert len((await client.get(PATH)).json["data"]) == 1


async def test_what_is_too_large_is_413_and_not_kept(world: World) -> None:
    running = await serving(world, sizes={"body_bytes": 1000})
    client = await world.client(running)
    path = f"{PATH}/{(await client.post(PATH, {})).json['id']}"
    large = {"items": [{"role": "user", "content": "x" * 1000}], "metadata": {}}
    for where in (PATH, path, f"{path}/items", "/v1/responses"):
        answer = await client.post(where, large)
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
    assert (await client.get(f"{path}/items")).json["data"] == []


async def test_metadata_of_the_largest_size_is_kept(world: World) -> None:
    running = await serving(world)
    metadata = {f"{number:064}": "ü" * 512 for number in range(16)}
    answer = await world.post(running, json.dumps({"metadata": metadata}).encode(), path=PATH)
    assert answer.json["metadata"] == metadata


async def test_a_turn_adds_to_what_was_added_by_hand(world: World) -> None:
    running = await serving(world)
    async with sdk(running) as client:
        conversation = await client.conversations.create(items=[{"role": "user", "content": "one"}])
        made = await client.responses.create(input="two", conversation=conversation.id)
        await client.conversations.items.create(conversation.id, items=[{"role": "user", "content": "three"}])
        items = [item async for item in client.conversations.items.list(conversation.id, order="asc")]
        assert [text_of(item) for item in items] == ["one", "two", "Hello", "three"]
        assert items[2].id == made.output[0].id
