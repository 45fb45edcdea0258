"""What holds for every call of the store."""

import inspect
from collections.abc import Awaitable, Callable

import pytest

from fairlead_serve.conversations import Store
from fairlead_serve.errors import NotStored, StoreUnavailable
from tests.serve.conversations.world import (
    LATER,
    OTHER,
    OWNER,
    START,
    Closing,
    World,
    begin,
    body,
    messages,
    names,
    turn,
)

# Each with the owner that it is made for, on the conversation `c` and the response `r` of OWNER.
CALLS: dict[str, Callable[[Store, str], Awaitable[object]]] = {
    "get_conversation": lambda store, owner: store.get_conversation(owner, "c"),
    "list_conversations": lambda store, owner: store.list_conversations(owner, after="c"),
    "update_conversation": lambda store, owner: store.update_conversation(owner, "c", metadata={"by": owner}),
    "delete_conversation": lambda store, owner: store.delete_conversation(owner, "c"),
    "add_items": lambda store, owner: store.add_items(owner, "c", messages("new")),
    "list_items": lambda store, owner: store.list_items(owner, "c"),
    "get_item": lambda store, owner: store.get_item(owner, "c", "asked"),
    "delete_item": lambda store, owner: store.delete_item(owner, "c", "asked"),
    "history": lambda store, owner: store.history(owner, "c"),
    "begin_response": lambda store, owner: store.begin_response(
        owner, body("new", "queued"), input=[], previous="r", deadline=LATER
    ),
    "begin_response in a conversation": lambda store, owner: store.begin_response(
        owner, body("new", "queued"), input=[], conversation="c", deadline=LATER
    ),
    "save_response": lambda store, owner: store.save_response(owner, body("new"), input=[], output=[], previous="r"),
    "save_response in a conversation": lambda store, owner: store.save_response(
        owner, body("new"), input=[], output=messages("new"), conversation="c"
    ),
    "get_response": lambda store, owner: store.get_response(owner, "r"),
    "delete_response": lambda store, owner: store.delete_response(owner, "r"),
    "list_input_items": lambda store, owner: store.list_input_items(owner, "r"),
    "response_history": lambda store, owner: store.response_history(owner, "r"),
}
# What of another's they tell by False.
ANSWERING: dict[str, Callable[[Store, str], Awaitable[bool]]] = {
    "update_response": lambda store, owner: store.update_response(owner, "running", body("running", "failed")),
    "finish_response": lambda store, owner: store.finish_response(owner, "running", body("running"), output=[]),
}
# These make something new, or are for all owners.
OTHERS = {"open", "close", "ping", "create_conversation", "abandon", "sweep"}


def test_every_call_is_looked_at_here() -> None:
    public = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}
    assert public == {name.partition(" ")[0] for name in {*CALLS, *ANSWERING}} | OTHERS


async def inhabit(store: Store) -> None:
    """Make what the calls are about."""
    await store.create_conversation(OWNER, "c", metadata={"by": OWNER})
    await turn(store, "r", "asked", "answered", conversation="c")
    await begin(store, "running", "asked too", conversation="c")


@pytest.fixture
async def inhabited(world: World) -> Store:
    await inhabit(world.first)
    return world.first


@pytest.mark.parametrize("call", CALLS)
async def test_what_is_anothers_is_told_from_nothing_by_nobody(world: World, call: str) -> None:
    store = world.first
    with pytest.raises(NotStored) as missing:
        await CALLS[call](store, OTHER)
    await inhabit(store)
    with pytest.raises(NotStored) as hidden:
        await CALLS[call](store, OTHER)
    assert (hidden.value.kind, hidden.value.id) == (missing.value.kind, missing.value.id)
    assert (await store.get_conversation(OWNER, "c")).metadata == {"by": OWNER}
    assert names(await store.history(OWNER, "c")) == ["asked", "answered"]
    assert (await store.get_response(OWNER, "r")).status == "completed"
    await CALLS[call](store, OWNER)


@pytest.mark.parametrize("call", ANSWERING)
async def test_another_cannot_end_a_response(inhabited: Store, call: str) -> None:
    assert await ANSWERING[call](inhabited, OTHER) is False
    assert (await inhabited.get_response(OWNER, "running")).status == "in_progress"
    assert await ANSWERING[call](inhabited, OWNER) is True


async def test_a_chain_does_not_lead_to_anothers_responses(inhabited: Store) -> None:
    with pytest.raises(NotStored):
        await inhabited.save_response(OTHER, body("mine"), input=messages("x"), output=[], previous="r")
    with pytest.raises(NotStored):
        await inhabited.response_history(OTHER, "mine")


async def test_owners_list_their_own(inhabited: Store) -> None:
    await inhabited.create_conversation(OTHER, "d", metadata={})
    assert [one.id for one in (await inhabited.list_conversations(OWNER)).data] == ["c"]
    assert [one.id for one in (await inhabited.list_conversations(OTHER)).data] == ["d"]


async def test_nothing_is_answered_before_the_store_is_open_or_after_it_is_closed(url: str, closing: Closing) -> None:
    store = closing(Store(url))
    calls = [*CALLS.values(), *ANSWERING.values()]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="not open"):
            await call(store, OWNER)
    await store.open()
    await store.close()
    for call in calls:
        with pytest.raises(StoreUnavailable, match="not open"):
            await call(store, OWNER)


async def test_an_open_store_answers(world: World) -> None:
    await world.first.ping()
    await world.first.close()
    with pytest.raises(StoreUnavailable):
        await world.first.ping()


async def test_a_store_can_be_opened_again(world: World) -> None:
    await world.first.create_conversation(OWNER, "c", metadata={})
    await world.first.open()
    await world.first.close()
    await world.first.close()
    await world.first.open()
    assert (await world.first.get_conversation(OWNER, "c")).created_at == START
