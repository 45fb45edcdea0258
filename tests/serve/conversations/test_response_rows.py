"""Responses: begun, ended once, found again."""

import asyncio
from typing import Any

import pytest

from fairlead_serve.conversations import StoredResponse
from fairlead_serve.conversations.records import Order
from fairlead_serve.errors import NotStored, StoreError
from tests.serve.conversations.world import (
    LATER,
    OWNER,
    START,
    World,
    begin,
    body,
    finish,
    message,
    messages,
    names,
    turn,
)


async def test_a_response_is_found_as_it_was_last_written(world: World) -> None:
    store = world.first
    await store.create_conversation(OWNER, "c", metadata={})
    await store.begin_response(OWNER, body("r", "queued"), input=messages("a"), conversation="c", deadline=LATER)
    found = await store.get_response(OWNER, "r")
    assert found == StoredResponse("r", body("r", "queued"), "c", None)
    assert found.status == "queued"
    running = body("r", "in_progress", model="m", text="Ünï \0")
    assert await store.update_response(OWNER, "r", running)
    assert (await store.get_response(OWNER, "r")).body == running
    final = body("r", output=messages("b"))
    assert await store.finish_response(OWNER, "r", final, output=messages("b"))
    assert (await (await world.store()).get_response(OWNER, "r")).body == final


async def test_a_turn_reaches_its_conversation_at_its_end(world: World) -> None:
    store = world.first
    await store.create_conversation(OWNER, "c", metadata={}, items=messages("before"))
    await begin(store, "r", "asked", "more", conversation="c")
    assert names(await store.history(OWNER, "c")) == ["before"]
    assert await finish(store, "r", "called", "answered")
    assert names(await store.history(OWNER, "c")) == ["before", "asked", "more", "called", "answered"]


async def test_a_turn_that_is_saved_at_once_is_in_its_conversation(world: World) -> None:
    store = world.first
    await store.create_conversation(OWNER, "c", metadata={})
    await store.save_response(OWNER, body("r"), input=messages("a"), output=messages("b"), conversation="c")
    assert names(await store.history(OWNER, "c")) == ["a", "b"]
    assert (await store.get_response(OWNER, "r")).status == "completed"
    assert not await finish(store, "r", "late")


async def test_a_response_ends_once(world: World) -> None:
    store = world.first
    await store.create_conversation(OWNER, "c", metadata={})
    await begin(store, "r", "asked", conversation="c")
    assert await store.finish_response(OWNER, "r", body("r", "cancelled"), output=[])
    used = await store.get_conversation(OWNER, "c")
    world.clock.now += 100
    assert not await finish(store, "r", "late")
    assert not await store.update_response(OWNER, "r", body("r", "in_progress"))
    assert (await store.get_response(OWNER, "r")).status == "cancelled"
    assert names(await store.history(OWNER, "c")) == ["asked"]
    assert await store.get_conversation(OWNER, "c") == used


@pytest.mark.parametrize("conversation", [None, "c"])
async def test_of_those_who_end_a_response_at_once_one_does(world: World, conversation: str | None) -> None:
    await world.first.create_conversation(OWNER, "c", metadata={})
    for _ in range(3):
        await world.store()
    for number in range(5):
        name = f"r{number}"
        await begin(world.first, name, f"{name}:asked", conversation=conversation)
        ended = await asyncio.gather(
            *(finish(store, name, f"{name}:{writer}") for writer, store in enumerate(world.stores))
        )
        assert sorted(ended) == [False, False, False, True]
        history = names(await world.first.response_history(OWNER, name))
        assert history == [f"{name}:asked", f"{name}:{ended.index(True)}"]
        if conversation:
            assert names(await world.first.history(OWNER, "c"))[-2:] == history
    assert len(await world.first.history(OWNER, "c")) == (10 if conversation else 0)


async def test_a_final_update_ends_a_response_and_leaves_its_conversation(world: World) -> None:
    store = world.first
    await store.create_conversation(OWNER, "c", metadata={})
    await begin(store, "r", "asked", conversation="c")
    assert await store.update_response(OWNER, "r", body("r", "failed"))
    assert not await finish(store, "r", "late")
    assert await store.history(OWNER, "c") == []


async def test_a_response_whose_conversation_was_deleted_is_gone(world: World) -> None:
    store = world.first
    await store.create_conversation(OWNER, "c", metadata={})
    await begin(store, "r", "asked", conversation="c")
    await store.delete_conversation(OWNER, "c")
    assert not await finish(store, "r", "answered")
    assert not await store.update_response(OWNER, "r", body("r", "in_progress"))


async def test_a_deleted_response_leaves_its_turn_in_the_conversation(world: World) -> None:
    store = world.first
    await store.create_conversation(OWNER, "c", metadata={})
    await turn(store, "r", "asked", "answered", conversation="c")
    await store.delete_response(OWNER, "r")
    with pytest.raises(NotStored) as missing:
        await store.get_response(OWNER, "r")
    assert (missing.value.kind, missing.value.id) == ("response", "r")
    with pytest.raises(NotStored):
        await store.delete_response(OWNER, "r")
    assert names(await store.history(OWNER, "c")) == ["asked", "answered"]


async def test_a_response_in_what_is_not_there_is_not_begun(world: World) -> None:
    store = world.first
    wheres: list[tuple[dict[str, Any], str]] = [
        ({"conversation": "gone"}, "conversation"),
        ({"previous": "gone"}, "response"),
    ]
    for where, kind in wheres:
        with pytest.raises(NotStored) as missing:
            await begin(store, "r", "a", **where)
        assert (missing.value.kind, missing.value.id) == (kind, "gone")
        with pytest.raises(NotStored):
            await store.save_response(OWNER, body("r"), input=messages("a"), output=[], **where)
    with pytest.raises(NotStored):
        await store.get_response(OWNER, "r")


async def test_an_id_of_a_response_is_taken_once(world: World) -> None:
    await world.first.create_conversation(OWNER, "c", metadata={})
    await begin(world.first, "r", "first")
    with pytest.raises(StoreError, match="taken already"):
        await world.first.save_response(
            OWNER, body("r"), input=messages("second"), output=messages("answer"), conversation="c"
        )
    assert names(await world.first.response_history(OWNER, "r")) == ["first"]
    assert await world.first.history(OWNER, "c") == []


# --- what was asked ------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "expected"), [("asc", [*"01234"]), ("desc", [*"43210"])])
async def test_pages_of_what_was_asked_make_up_the_whole(world: World, order: Order, expected: list[str]) -> None:
    await begin(world.first, "r", *"01234")
    pages = []
    after = None
    while True:
        page = await world.first.list_input_items(OWNER, "r", after=after, limit=2, order=order)
        pages.append(names(page.data))
        after = pages[-1][-1]
        if not page.has_more:
            break
    assert pages == [expected[:2], expected[2:4], expected[4:]]


async def test_what_was_asked_is_not_found_after_what_is_not_in_it(world: World) -> None:
    await turn(world.first, "r", "asked", "answered")
    for response, after, expected in (("r", "answered", ("item", "answered")), ("gone", "asked", ("response", "gone"))):
        with pytest.raises(NotStored) as missing:
            await world.first.list_input_items(OWNER, response, after=after)
        assert (missing.value.kind, missing.value.id) == expected


# --- chains --------------------------------------------------------------------------------------


async def test_the_history_of_a_response_is_its_whole_chain(world: World) -> None:
    store = world.first
    await turn(store, "r0", "q0", "a0")
    for number in range(1, 60):
        await turn(store, f"r{number}", f"q{number}", f"a{number}", previous=f"r{number - 1}")
    # A branch is no part of it.
    await turn(store, "branch", "other", "way", previous="r3")
    await begin(store, "open", "last", previous="r59")
    expected = [name for number in range(60) for name in (f"q{number}", f"a{number}")]
    assert names(await store.response_history(OWNER, "r59")) == expected
    assert names(await store.response_history(OWNER, "open")) == [*expected, "last"]
    assert names(await store.response_history(OWNER, "branch")) == [*expected[:8], "other", "way"]
    assert (await store.get_response(OWNER, "branch")).previous == "r3"


async def test_a_chain_begins_after_its_last_missing_link(world: World) -> None:
    store = world.first
    await turn(store, "a", "1", "2")
    await turn(store, "b", "3", "4", previous="a")
    await turn(store, "c", "5", "6", previous="b")
    await store.delete_response(OWNER, "b")
    assert names(await store.response_history(OWNER, "c")) == ["5", "6"]
    with pytest.raises(NotStored) as missing:
        await store.response_history(OWNER, "b")
    assert (missing.value.kind, missing.value.id) == ("response", "b")


# --- abandoned -----------------------------------------------------------------------------------


async def test_an_unfinished_response_past_its_deadline_fails(world: World) -> None:
    store = world.first
    await store.create_conversation(OWNER, "c", metadata={})
    await begin(store, "late", "asked", conversation="c", deadline=START + 10)
    await begin(store, "early", "asked", conversation="c", deadline=START + 20)
    await turn(store, "done", "question", "answer", deadline=START + 10)
    assert await store.abandon(START + 10) == 0
    assert await store.abandon(START + 11) == 1
    assert await store.abandon(START + 11) == 0
    error = {"code": "server_error", "message": "the gateway ended while answering"}
    assert (await store.get_response(OWNER, "late")).body == {**body("late", "failed"), "error": error}
    assert (await store.get_response(OWNER, "early")).status == "in_progress"
    assert (await store.get_response(OWNER, "done")).status == "completed"
    assert await store.history(OWNER, "c") == []
    assert not await finish(store, "late", "too late")
    assert await finish(store, "early", "in time")


async def test_many_are_abandoned_in_one_call_and_each_is_counted_once(world: World) -> None:
    await world.store()
    await asyncio.gather(*(begin(world.first, f"r{number}", "asked", deadline=START) for number in range(230)))
    counts = await asyncio.gather(*(store.abandon(START + 1) for store in world.stores))
    assert sum(counts) == 230
    found = await asyncio.gather(*(world.first.get_response(OWNER, f"r{number}") for number in range(230)))
    assert {one.status for one in found} == {"failed"}


# --- swept ---------------------------------------------------------------------------------------


async def test_what_nobody_has_used_is_swept_in_batches(world: World) -> None:
    store = world.first
    for number in range(5):
        await store.create_conversation(OWNER, f"c{number}", metadata={})
        await turn(store, f"rc{number}", "q", "a", conversation=f"c{number}")
        await turn(store, f"r{number}", "q", "a")
    world.clock.now += 10
    await store.add_items(OWNER, "c1", messages("use"))
    await turn(store, "new", "q", "a", previous="r1")
    counts = []
    while swept := await store.sweep(START + 5, batch=3):
        counts.append(swept)
    # Four conversations, each with its response; the response of the fifth; four of five single ones.
    assert counts == [3, 3, 3]
    assert [one.id for one in (await store.list_conversations(OWNER)).data] == ["c1"]
    assert names(await store.history(OWNER, "c1")) == ["q", "a", "use"]
    assert names(await store.response_history(OWNER, "new")) == ["q", "a", "q", "a"]
    for name in ("r0", "rc0", "rc1"):
        with pytest.raises(NotStored):
            await store.get_response(OWNER, name)


async def test_a_chain_is_kept_for_as_long_as_its_end_is_used(world: World) -> None:
    store = world.first
    await turn(store, "r0", "q0", "a0")
    for number in range(1, 4):
        world.clock.now += 10
        await turn(store, f"r{number}", f"q{number}", f"a{number}", previous=f"r{number - 1}")
    assert await store.sweep(START + 25) == 0
    assert len(await store.response_history(OWNER, "r3")) == 8
    while await store.sweep(START + 31):
        pass
    with pytest.raises(NotStored):
        await store.get_response(OWNER, "r0")


async def test_an_unfinished_response_is_not_swept(world: World) -> None:
    await begin(world.first, "r", "asked")
    assert await world.first.sweep(START + 5) == 0
    assert await finish(world.first, "r", "answered")
    assert await world.first.sweep(START + 5) == 1


async def test_gateways_that_sweep_at_once_share_the_work(world: World) -> None:
    for _ in range(2):
        await world.store()
    for number in range(30):
        await world.first.create_conversation(OWNER, f"c{number}", metadata={}, items=[message("a")])

    async def sweep(number: int) -> int:
        total = 0
        while swept := await world.stores[number].sweep(START + 5, batch=4):
            total += swept
        return total

    assert sum(await asyncio.gather(*map(sweep, range(3)))) == 30
