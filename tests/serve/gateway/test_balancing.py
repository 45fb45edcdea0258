"""Which endpoint takes the next request."""

from hypothesis import given
from hypothesis import strategies as st

from fairlead_serve.gateway.balancing import Endpoint, LeastLoad, PrefixHash


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


def hashing(*names: str, ready: bool = True) -> PrefixHash:
    endpoints = [Endpoint.at(f"http://{name}:1") for name in names]
    for endpoint in endpoints:
        endpoint.ready = ready
    return PrefixHash(endpoints)


def chosen(balancer: PrefixHash, session: bytes) -> Endpoint:
    endpoint = balancer.pick(session=session)
    assert endpoint is not None
    return endpoint


SESSIONS = [b"%d" % number for number in range(300)]


def test_a_session_stays_at_its_endpoint_and_sessions_spread() -> None:
    balancer = hashing("a", "b", "c")
    first = [chosen(balancer, session) for session in SESSIONS]
    assert [chosen(balancer, session) for session in SESSIONS] == first
    counts = [first.count(endpoint) for endpoint in balancer.endpoints]
    assert min(counts) > 60


def test_only_the_sessions_of_an_endpoint_that_goes_move() -> None:
    balancer = hashing("a", "b", "c")
    before = {session: chosen(balancer, session) for session in SESSIONS}
    gone = balancer.endpoints[0]
    gone.ready = False
    moved = [session for session in SESSIONS if chosen(balancer, session) is not before[session]]
    assert set(moved) == {session for session, endpoint in before.items() if endpoint is gone}


def test_an_overloaded_endpoint_gives_its_sessions_away_and_gets_them_back() -> None:
    balancer = hashing("a", "b", "c")
    home = chosen(balancer, b"popular")
    home.ongoing = 10
    assert chosen(balancer, b"popular") is not home
    home.ongoing = 0
    assert chosen(balancer, b"popular") is home


def test_no_endpoint_gets_more_than_its_bound_when_all_ask_for_one() -> None:
    balancer = hashing("a", "b", "c", "d")
    for _ in range(100):
        chosen(balancer, b"popular").ongoing += 1
    assert max(endpoint.ongoing for endpoint in balancer.endpoints) <= 32
    assert min(endpoint.ongoing for endpoint in balancer.endpoints) >= 5


def test_requests_without_a_session_go_where_the_load_is_least() -> None:
    balancer = hashing("a", "b")
    balancer.endpoints[0].ongoing = 1
    assert balancer.pick() is balancer.endpoints[1]


def test_a_tried_endpoint_is_avoided_by_its_session_too() -> None:
    balancer = hashing("a", "b")
    home = chosen(balancer, b"s")
    other = balancer.pick(session=b"s", tried={home.url})
    assert other is not None
    assert other is not home


def test_without_a_ready_endpoint_there_is_none_for_a_session() -> None:
    assert hashing("a", "b", ready=False).pick(session=b"s") is None
