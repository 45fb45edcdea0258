"""Places at a backend, and the queue for them."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.admission import Admission
from tests.serve.gateway.world import until


class Visitor:
    """Takes a place and keeps it until told to leave."""

    def __init__(self, admission: Admission, served: list[int], number: int) -> None:
        self._leave = asyncio.Event()
        self.task = asyncio.create_task(self._visit(admission, served, number))

    async def _visit(self, admission: Admission, served: list[int], number: int) -> None:
        async with admission:
            served.append(number)
            await self._leave.wait()

    async def leave(self) -> None:
        self._leave.set()
        await asyncio.wait({self.task})

    async def cancel(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


async def test_places_are_given_in_the_order_of_asking() -> None:
    admission = Admission("m", max_ongoing=2, max_queued=10)
    served: list[int] = []
    visitors = [Visitor(admission, served, number) for number in range(6)]
    await until(lambda: admission.queued == 4)
    assert served == [0, 1]
    for visitor in visitors:
        await visitor.leave()
    assert served == list(range(6))
    assert (admission.ongoing, admission.queued) == (0, 0)


async def test_one_too_many_is_told_to_come_back() -> None:
    admission = Admission("m", max_ongoing=1, max_queued=1)
    served: list[int] = []
    first, second = (Visitor(admission, served, number) for number in range(2))
    await until(lambda: admission.queued == 1)
    with pytest.raises(ApiError) as refusal:
        async with admission:
            pass
    assert (refusal.value.status, refusal.value.code) == (429, "engine_overloaded")
    assert refusal.value.headers["retry-after"] == "1"
    assert "m" in refusal.value.message
    await first.leave()
    await second.leave()
    assert admission.ongoing == 0


async def test_who_leaves_the_queue_is_passed_over() -> None:
    admission = Admission("m", max_ongoing=1, max_queued=10)
    served: list[int] = []
    first, second, third = (Visitor(admission, served, number) for number in range(3))
    await until(lambda: admission.queued == 2)
    await second.cancel()
    assert admission.queued == 1
    await first.leave()
    await until(lambda: served == [0, 2])
    await third.leave()
    assert (admission.ongoing, admission.queued) == (0, 0)


async def test_a_place_offered_to_one_who_is_just_leaving_goes_to_the_next() -> None:
    admission = Admission("m", max_ongoing=1, max_queued=10)
    served: list[int] = []
    await admission.__aenter__()
    second, third = (Visitor(admission, served, number) for number in (1, 2))
    await until(lambda: admission.queued == 2)
    # In one turn of the loop, either order: neither task runs in between.
    await admission.__aexit__(None, None, None)
    second.task.cancel()
    await asyncio.wait({second.task})
    assert second.task.cancelled()
    await until(lambda: served == [2])
    await third.leave()
    assert (admission.ongoing, admission.queued) == (0, 0)


async def test_one_who_has_just_left_is_not_offered_a_place() -> None:
    admission = Admission("m", max_ongoing=1, max_queued=10)
    served: list[int] = []
    await admission.__aenter__()
    second = Visitor(admission, served, 1)
    await until(lambda: admission.queued == 1)
    second.task.cancel()
    await admission.__aexit__(None, None, None)
    await asyncio.wait({second.task})
    assert second.task.cancelled()
    assert (admission.ongoing, admission.queued) == (0, 0)


_STEPS = st.sampled_from(["come", "leave", "cancel", "turn"])


@given(st.integers(1, 3), st.lists(st.tuples(st.integers(0, 7), _STEPS)))
async def test_no_sequence_of_comings_and_goings_loses_a_place(places: int, steps: list[tuple[int, str]]) -> None:
    admission = Admission("m", max_ongoing=places, max_queued=4)
    served: list[int] = []
    visitors: dict[int, Visitor] = {}
    for number, step in steps:
        if step == "come":
            if number not in visitors:
                visitors[number] = Visitor(admission, served, number)
        elif step == "turn":
            await asyncio.sleep(0)
        elif number in visitors:
            visitors[number]._leave.set() if step == "leave" else visitors[number].task.cancel()
        assert admission.ongoing <= places
    for visitor in visitors.values():
        visitor._leave.set()
    for result in await asyncio.gather(*(visitor.task for visitor in visitors.values()), return_exceptions=True):
        assert result is None or isinstance(result, ApiError | asyncio.CancelledError)
    assert (admission.ongoing, admission.queued) == (0, 0)


async def test_wider_bounds_let_in_who_waits_and_narrower_ones_put_nobody_out() -> None:
    admission = Admission("m", max_ongoing=1, max_queued=10)
    served: list[int] = []
    visitors = [Visitor(admission, served, number) for number in range(5)]
    await until(lambda: admission.queued == 4)
    admission.resize("m", max_ongoing=3, max_queued=10)
    await until(lambda: served == [0, 1, 2])
    assert (admission.ongoing, admission.queued) == (3, 2)
    admission.resize("m", max_ongoing=1, max_queued=0)
    assert (admission.ongoing, admission.queued) == (3, 2)
    await visitors[0].leave()
    await visitors[1].leave()
    assert (served, admission.ongoing) == ([0, 1, 2], 1)  # one too many still was, until now
    await visitors[2].leave()
    await until(lambda: served == [0, 1, 2, 3])
    assert admission.ongoing == 1
    await visitors[3].leave()
    await until(lambda: served == [0, 1, 2, 3, 4])
    with pytest.raises(ApiError, match="at its limit of 1 requests at once and 0 waiting"):
        async with admission:
            pass
    await visitors[4].leave()
    assert (admission.ongoing, admission.queued) == (0, 0)
