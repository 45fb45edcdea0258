"""Which endpoint takes the next request."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead_serve.gateway.balancing import Endpoint, LeastLoad


def endpoints(*ready: bool) -> list[Endpoint]:
    made = [Endpoint.at(f"http://127.0.0.1:{9000 + number}") for number in range(len(ready))]
    for endpoint, is_ready in zip(made, ready, strict=True):
        endpoint.ready = is_ready
    return made


def test_nothing_is_picked_where_nothing_is_ready() -> None:
    assert LeastLoad(endpoints(False, False)).pick() is None
    assert LeastLoad([]).pick() is None


def test_equals_take_turns() -> None:
    three = endpoints(True, True, True)
    balancer = LeastLoad(three)
    assert [balancer.pick() for _ in range(6)] == three * 2


def test_the_least_loaded_is_picked() -> None:
    three = endpoints(True, True, True)
    three[0].ongoing, three[1].ongoing, three[2].ongoing = 3, 1, 2
    assert LeastLoad(three).pick() is three[1]


def test_an_endpoint_that_is_not_ready_is_not_picked_however_idle() -> None:
    two = endpoints(False, True)
    two[1].ongoing = 100
    assert LeastLoad(two).pick() is two[1]


def test_one_that_was_tried_is_picked_only_when_there_is_no_other() -> None:
    two = endpoints(True, True)
    two[1].ongoing = 100
    balancer = LeastLoad(two)
    assert balancer.pick(tried={two[0].url}) is two[1]
    two[1].ready = False
    assert balancer.pick(tried={two[0].url}) is two[0]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=6))
def test_what_is_picked_is_ready_and_none_has_less_to_do(state: list[tuple[bool, int]]) -> None:
    made = endpoints(*(ready for ready, _ in state))
    for endpoint, (_, ongoing) in zip(made, state, strict=True):
        endpoint.ongoing = ongoing
    picked = LeastLoad(made).pick()
    ready = [endpoint for endpoint in made if endpoint.ready]
    assert (picked is None) is not bool(ready)
    if picked is not None:
        assert picked.ready
        assert picked.ongoing == min(endpoint.ongoing for endpoint in ready)
