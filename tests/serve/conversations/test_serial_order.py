"""Whatever several gateways ask of the store at once, it is as if they had asked one after the other."""

import asyncio
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairlead_serve.conversations import Conversation, Store, StoredResponse
from fairlead_serve.errors import NotStored, StoreError
from tests.serve.conversations.model import Model
from tests.serve.conversations.world import LATER, OWNER, World, body, message

_GATEWAYS = 3
_MOST_CALLS = 4
_CONVERSATIONS = ("c0", "c1")
_RESPONSES = ("r0", "r1", "r2")


@dataclass(frozen=True)
class Call:
    """A method of the store and of the model, and what it is called with."""

    method: str
    arguments: tuple[Any, ...]
    options: dict[str, Any]


def _call(
    method: str, *arguments: st.SearchStrategy[Any], **options: st.SearchStrategy[Any]
) -> st.SearchStrategy[Call]:
    return st.builds(Call, st.just(method), st.tuples(*arguments), st.fixed_dictionaries(options))


_conversation = st.sampled_from(_CONVERSATIONS)
_response = st.sampled_from(_RESPONSES)
_item = st.sampled_from([message(f"i{number}") for number in range(6)])
_turn = st.lists(_item, max_size=2, unique_by=lambda item: item["id"])
_metadata = st.dictionaries(st.just("by"), st.sampled_from("abc"))
_running = st.builds(body, _response, st.just("in_progress"), by=st.integers(0, 9))
_final = st.builds(body, _response, st.sampled_from(["completed", "cancelled"]), by=st.integers(0, 9))
_place = {"conversation": st.none() | _conversation, "previous": st.none() | _response}
_CALLS = st.one_of(
    _call("create_conversation", _conversation, metadata=_metadata, items=_turn),
    _call("get_conversation", _conversation),
    _call("update_conversation", _conversation, metadata=_metadata),
    _call("delete_conversation", _conversation),
    _call("add_items", _conversation, _turn),
    _call("get_item", _conversation, st.just("i0")),
    _call("delete_item", _conversation, st.just("i0")),
    _call("history", _conversation),
    _call("begin_response", _running, input=_turn, deadline=st.just(LATER), **_place),
    _call("save_response", _final, input=_turn, output=_turn, **_place),
    _call("update_response", _response, _running | _final),
    _call("finish_response", _response, _final, output=_turn),
    _call("get_response", _response),
    _call("delete_response", _response),
    _call("response_history", _response),
)
# What is there before; else most calls find nothing to disagree about.
_BEGUN = [
    *(Call("create_conversation", (name,), {"metadata": {}, "items": [message("i0")]}) for name in _CONVERSATIONS),
    Call(
        "begin_response",
        (body("r0", "in_progress"),),
        {"input": [message("i1")], "conversation": "c0", "previous": None, "deadline": LATER},
    ),
]
_SEEN_AT_THE_END = [
    *(Call(method, (name,), {}) for method in ("get_conversation", "history") for name in _CONVERSATIONS),
    *(Call(method, (name,), {}) for method in ("get_response", "response_history") for name in _RESPONSES),
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    before=st.lists(_CALLS, max_size=4),
    plans=st.lists(st.lists(_CALLS, max_size=_MOST_CALLS), min_size=_GATEWAYS, max_size=_GATEWAYS),
)
async def test_calls_at_once_are_like_calls_in_some_order(
    world: World, before: list[Call], plans: list[list[Call]]
) -> None:
    before, *plans = _without_second_births([[*_BEGUN, *before], *plans])
    while len(world.stores) < _GATEWAYS:
        await world.store()
    await _clear(world.first)
    model = Model()
    assert await _ask(world.first, before) == [_expect(model, call) for call in before]
    answers = await asyncio.gather(*(_ask(store, plan) for store, plan in zip(world.stores, plans, strict=True)))
    end = await _ask(world.first, _SEEN_AT_THE_END)
    histories = [list(zip(plan, seen, strict=True)) for plan, seen in zip(plans, answers, strict=True)]
    assert _Search(histories, end).succeeds(model), f"no order explains {histories} and {end}"


def _without_second_births(plans: Sequence[Sequence[Call]]) -> list[list[Call]]:
    """`plans` with no response begun twice: ids are random, so that happens to nobody."""
    born: set[str] = set()
    kept: list[list[Call]] = []
    for plan in plans:
        kept.append([])
        for call in plan:
            if call.method in {"begin_response", "save_response"}:
                name = call.arguments[0]["id"]
                if name in born:
                    continue
                born.add(name)
            kept[-1].append(call)
    return kept


async def _clear(store: Store) -> None:
    await store.abandon(2 * LATER)
    while await store.sweep(2 * LATER):
        pass


async def _ask(store: Store, calls: Sequence[Call]) -> list[Any]:
    """What the store answers to `calls`, one after the other."""
    answers: list[Any] = []
    for call in calls:
        try:
            answer = await getattr(store, call.method)(OWNER, *call.arguments, **call.options)
        except StoreError as error:
            answer = _told(error)
        if isinstance(answer, Conversation):
            answer = None if call.method == "create_conversation" else answer.metadata
        answers.append(answer.body if isinstance(answer, StoredResponse) else answer)
    return answers


def _expect(model: Model, call: Call) -> Any:
    """What the model answers."""
    try:
        return getattr(model, call.method)(*call.arguments, **call.options)
    except StoreError as error:
        return _told(error)


def _told(error: StoreError) -> tuple[str, ...]:
    return ("not stored", error.kind, error.id) if isinstance(error, NotStored) else (type(error).__name__,)


class _Search:
    """For an order of the calls of `histories`, each with its answer, in which a model gives the same answers."""

    def __init__(self, histories: Sequence[Sequence[tuple[Call, Any]]], end: Sequence[Any]) -> None:
        self._histories = histories
        self._end = end
        self._tried: set[str] = set()

    def succeeds(self, model: Model, at: tuple[int, ...] = (0,) * _GATEWAYS) -> bool:
        """Whether there is one for what is left from `at` on, in each history."""
        state = f"{at} {model}"
        if state in self._tried:
            return False
        self._tried.add(state)
        left = [number for number, history in enumerate(self._histories) if at[number] < len(history)]
        if not left:
            return [_expect(model, call) for call in _SEEN_AT_THE_END] == self._end
        return any(self._continues(model, at, number) for number in left)

    def _continues(self, model: Model, at: tuple[int, ...], number: int) -> bool:
        call, answer = self._histories[number][at[number]]
        next_model = copy.deepcopy(model)
        if _expect(next_model, call) != answer:
            return False
        return self.succeeds(next_model, (*at[:number], at[number] + 1, *at[number + 1 :]))
