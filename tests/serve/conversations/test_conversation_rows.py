"""Conversations: begun, found, listed by last use, deleted."""

import pytest

from fairlead_serve.conversations import Conversation
from fairlead_serve.errors import NotStored, StoreError
from tests.serve.conversations.world import OTHER, OWNER, START, World, begin, body, messages, names, turn


async def test_a_conversation_is_found_as_it_was_begun(world: World) -> None:
    metadata = {"topic": "Ünïcödé 你好 \0 \\", "": ""}
    created = await world.first.create_conversation(OWNER, "c", metadata=metadata, items=messages("a", "b"))
    assert created == Conversation("c", int(START), int(START), metadata)
    assert await (await world.store()).get_conversation(OWNER, "c") == created
    assert names(await world.first.history(OWNER, "c")) == ["a", "b"]


async def test_an_id_is_taken_once_and_the_second_changes_nothing(world: World) -> None:
    await world.first.create_conversation(OWNER, "c", metadata={"by": "first"}, items=messages("a"))
    for owner in (OWNER, OTHER):
        with pytest.raises(StoreError, match="taken already"):
            await world.first.create_conversation(owner, "c", metadata={"by": owner}, items=messages("b"))
    assert (await world.first.get_conversation(OWNER, "c")).metadata == {"by": "first"}
    assert names(await world.first.history(OWNER, "c")) == ["a"]


async def test_metadata_is_replaced_whole(world: World) -> None:
    await world.first.create_conversation(OWNER, "c", metadata={"a": "1", "b": "2"})
    world.clock.now += 5
    updated = await world.first.update_conversation(OWNER, "c", metadata={"b": "3"})
    assert updated == Conversation("c", int(START), int(START) + 5, {"b": "3"})
    assert await world.first.get_conversation(OWNER, "c") == updated


async def test_conversations_are_listed_by_last_use_and_every_use_counts(world: World) -> None:
    store = world.first
    for name in "abcdef":
        await store.create_conversation(OWNER, name, metadata={}, items=messages("old"))
        world.clock.now += 0.001
    uses = {
        "c": store.add_items(OWNER, "c", messages("new")),
        "a": store.update_conversation(OWNER, "a", metadata={}),
        "e": store.delete_item(OWNER, "e", "old"),
        "d": begin(store, "r", "asked", conversation="d"),
        "b": store.save_response(OWNER, body("s"), input=messages("i"), output=messages("o"), conversation="b"),
    }
    for use in uses.values():
        await use
        world.clock.now += 0.001
    page = await store.list_conversations(OWNER)
    assert [one.id for one in page.data] == ["b", "d", "e", "a", "c", "f"]
    page = await store.list_conversations(OWNER, order="asc")
    assert [one.id for one in page.data] == ["f", "c", "a", "e", "d", "b"]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_of_conversations_make_up_the_whole_list(world: World, order: str) -> None:
    for number in range(7):
        await world.first.create_conversation(OWNER, f"c{number}", metadata={})
        # Some are used at the same moment: their ids decide.
        world.clock.now += number % 2
    ascending = order == "asc"
    whole = [one.id for one in (await world.first.list_conversations(OWNER, order="asc" if ascending else "desc")).data]
    assert whole == sorted(whole, reverse=not ascending)
    seen: list[str] = []
    after = None
    while True:
        page = await world.first.list_conversations(OWNER, after=after, limit=3, order="asc" if ascending else "desc")
        seen += [one.id for one in page.data]
        if not page.has_more:
            break
        assert len(page.data) == 3
        after = seen[-1]
    assert seen == whole


async def test_a_list_that_ends_with_its_page_has_no_more(world: World) -> None:
    assert await world.first.list_conversations(OWNER) == await world.first.list_conversations(OTHER)
    for name in "ab":
        await world.first.create_conversation(OWNER, name, metadata={})
    assert (await world.first.list_conversations(OWNER, limit=1)).has_more
    assert not (await world.first.list_conversations(OWNER, limit=2)).has_more


async def test_a_list_after_a_conversation_that_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(NotStored) as missing:
        await world.first.list_conversations(OWNER, after="gone")
    assert (missing.value.kind, missing.value.id) == ("conversation", "gone")


async def test_a_deleted_conversation_takes_its_items_and_its_responses_with_it(world: World) -> None:
    store = world.first
    for name in ("c", "d"):
        await store.create_conversation(OWNER, name, metadata={})
        await turn(store, f"r-{name}", "asked", "answered", conversation=name)
    await begin(store, "running", "asked", conversation="c")
    await store.delete_conversation(OWNER, "c")
    for call in (store.get_conversation(OWNER, "c"), store.history(OWNER, "c"), store.delete_conversation(OWNER, "c")):
        with pytest.raises(NotStored) as missing:
            await call
        assert missing.value.kind == "conversation"
    for name in ("r-c", "running"):
        with pytest.raises(NotStored):
            await store.get_response(OWNER, name)
    assert names(await store.history(OWNER, "d")) == ["asked", "answered"]
    assert (await store.get_response(OWNER, "r-d")).status == "completed"
    # The items are gone too: nothing of them comes back under the same id.
    await store.create_conversation(OWNER, "c", metadata={})
    assert await store.history(OWNER, "c") == []
