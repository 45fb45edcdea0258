"""Items: added in whole turns, read in order."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_serve.conversations.records import Order
from fairlead_serve.errors import NotStored, StoreError
from tests.serve.conversations.world import OWNER, World, message, messages, names


async def test_items_come_back_in_the_order_of_adding(world: World) -> None:
    await world.first.create_conversation(OWNER, "c", metadata={}, items=messages("a"))
    await world.first.add_items(OWNER, "c", messages("z", "b"))
    await world.first.add_items(OWNER, "c", [])
    await world.first.add_items(OWNER, "c", messages("y"))
    assert await world.first.history(OWNER, "c") == messages("a", "z", "b", "y")
    assert await world.first.get_item(OWNER, "c", "b") == message("b")


_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(name=_TEXT.filter(bool), content=_JSON)
async def test_whatever_json_can_say_comes_back_unchanged(world: World, name: str, content: Any) -> None:
    item = {"id": name, "content": content}
    conversation = f"c-{name}-{json.dumps(content)}"
    await world.first.create_conversation(OWNER, conversation, metadata={name: name}, items=[item])
    assert await world.first.get_item(OWNER, conversation, name) == item
    assert (await world.first.get_conversation(OWNER, conversation)).metadata == {name: name}
    await world.first.delete_conversation(OWNER, conversation)


async def test_an_item_of_megabytes_is_kept(world: World) -> None:
    # 8 MiB is the largest request.
    large = message("large", "語" * (8 * 1024 * 1024 // 3))
    await world.first.create_conversation(OWNER, "c", metadata={}, items=[large])
    assert await world.first.history(OWNER, "c") == [large]


async def test_an_id_is_in_a_conversation_once_and_the_rest_of_its_turn_is_not_kept(world: World) -> None:
    for name in ("c", "d"):
        await world.first.create_conversation(OWNER, name, metadata={}, items=messages("a"))
    with pytest.raises(StoreError, match="taken already"):
        await world.first.add_items(OWNER, "c", messages("b", "a"))
    assert names(await world.first.history(OWNER, "c")) == ["a"]
    await world.first.add_items(OWNER, "c", messages("b"))
    assert names(await world.first.history(OWNER, "c")) == ["a", "b"]


@pytest.mark.parametrize(
    ("order", "expected"), [("asc", ["0", "1", "2", "3", "4", "5", "6"]), ("desc", ["6", "5", "4", "3", "2", "1", "0"])]
)
async def test_pages_of_items_make_up_the_conversation(world: World, order: Order, expected: list[str]) -> None:
    await world.first.create_conversation(OWNER, "c", metadata={}, items=messages(*"0123456"))
    pages = []
    after = None
    while True:
        page = await world.first.list_items(OWNER, "c", after=after, limit=3, order=order)
        pages.append(names(page.data))
        after = pages[-1][-1]
        if not page.has_more:
            break
    assert pages == [expected[:3], expected[3:6], expected[6:]]


async def test_a_page_after_the_last_item_is_empty(world: World) -> None:
    await world.first.create_conversation(OWNER, "c", metadata={}, items=messages("a"))
    page = await world.first.list_items(OWNER, "c", after="a")
    assert (page.data, page.has_more) == ([], False)


async def test_what_is_not_there_is_named(world: World) -> None:
    store = world.first
    await store.create_conversation(OWNER, "c", metadata={})
    await store.create_conversation(OWNER, "d", metadata={}, items=messages("of-d"))
    calls = {
        store.get_item(OWNER, "c", "of-d"): ("item", "of-d"),
        store.delete_item(OWNER, "c", "of-d"): ("item", "of-d"),
        store.list_items(OWNER, "c", after="of-d"): ("item", "of-d"),
        store.get_item(OWNER, "gone", "of-d"): ("conversation", "gone"),
        store.delete_item(OWNER, "gone", "of-d"): ("conversation", "gone"),
        store.list_items(OWNER, "gone", after="of-d"): ("conversation", "gone"),
        store.list_items(OWNER, "gone\0"): ("conversation", "gone\0"),
        store.add_items(OWNER, "gone", messages("a")): ("conversation", "gone"),
        store.history(OWNER, "gone"): ("conversation", "gone"),
    }
    for call, expected in calls.items():
        with pytest.raises(NotStored) as missing:
            await call
        assert (missing.value.kind, missing.value.id) == expected


async def test_a_deleted_item_is_missing_and_the_others_stay_in_order(world: World) -> None:
    await world.first.create_conversation(OWNER, "c", metadata={}, items=messages("a", "b", "c"))
    await world.first.delete_item(OWNER, "c", "c")
    await world.first.delete_item(OWNER, "c", "a")
    await world.first.add_items(OWNER, "c", messages("d"))
    assert names(await world.first.history(OWNER, "c")) == ["b", "d"]
    with pytest.raises(NotStored):
        await world.first.get_item(OWNER, "c", "a")


async def test_turns_added_at_once_by_several_gateways_stay_whole(world: World) -> None:
    await world.first.create_conversation(OWNER, "c", metadata={})
    for _ in range(3):
        await world.store()
    done = asyncio.Event()

    async def look() -> None:
        while not done.is_set():
            _assert_whole_turns(names(await world.first.history(OWNER, "c")))

    async def write(writer: int) -> None:
        for number in range(15):
            name = f"{writer}:{number}"
            await world.stores[writer].add_items(OWNER, "c", messages(*(f"{name}:{part}" for part in range(3))))

    looking = asyncio.create_task(look())
    await asyncio.gather(*map(write, range(4)))
    done.set()
    await looking
    found = names(await world.first.history(OWNER, "c"))
    assert len(found) == 4 * 15 * 3
    _assert_whole_turns(found)
    for writer in range(4):
        own = [name.rpartition(":")[0] for name in found if name.startswith(f"{writer}:")]
        assert own[::3] == [f"{writer}:{number}" for number in range(15)]


def _assert_whole_turns(found: list[str]) -> None:
    turns = [found[start : start + 3] for start in range(0, len(found), 3)]
    assert turns == [[f"{turn[0].rpartition(':')[0]}:{part}" for part in range(3)] for turn in turns]


async def test_a_call_that_is_cancelled_is_carried_out_and_hinders_nobody(world: World) -> None:
    for turns in range(12):
        conversation = f"c{turns}"
        await world.first.create_conversation(OWNER, conversation, metadata={})
        task = asyncio.create_task(world.first.add_items(OWNER, conversation, messages("a", "b", "c")))
        for _ in range(turns + 1):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        await world.first.add_items(OWNER, conversation, messages("d"))
    await world.first.close()  # which waits for what has begun
    await world.first.open()
    for turns in range(12):
        assert sorted(names(await world.first.history(OWNER, f"c{turns}"))) == ["a", "b", "c", "d"]
