"""What becomes of backends, connections and metrics when Models come, change and go."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from fairlead_serve.asgi import Message
from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.auth import ANONYMOUS, CALLER
from fairlead_serve.gateway.exchange import Means, Outlet
from fairlead_serve.gateway.inbound import Inbound
from fairlead_serve.gateway.limits import Limits
from fairlead_serve.gateway.probes import Prober
from fairlead_serve.gateway.proxy import Proxy
from fairlead_serve.gateway.roster import Entry, Roster
from fairlead_serve.gateway.routing import RoutingTable
from fairlead_serve.gateway.upstream import Origin, UpstreamClient
from fairlead_serve.metrics import GatewayMetrics
from fairlead_serve.settings import ServedModel, Sizes, Times
from tests.serve.gateway.test_probes import NEVER, no_script
from tests.serve.gateway.world import CHAT, World, until

TOKEN = [(b"x-fairlead-internal-token", b"internal")]
HERE = "http://127.0.0.1:1/engines/a"


class Place:
    """A roster and what it writes to."""

    def __init__(self) -> None:
        self.table = RoutingTable(unsettled="waiting")
        self.client = UpstreamClient(connect_seconds=5, max_idle=4)
        self.prober = Prober(self.client, seconds=NEVER)
        self.metrics = GatewayMetrics(list)
        self.roster = Roster(self.table, self.client, self.prober, self.metrics, engine_headers=TOKEN, created=7)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    one = Place()
    yield one
    await one.prober.stop()
    one.client.close()


def entry(name: str, *fallbacks: str, created: int = 0, max_ongoing: int = 256) -> Entry:
    served = ServedModel(name=name, created=created, max_ongoing=max_ongoing)
    return Entry(f"ns/{name}", served, tuple(f"ns/{one}" for one in fallbacks))


async def test_a_model_that_stays_the_same_is_left_alone(place: Place) -> None:
    assert place.roster.set_models([entry("a")]) == ["ns/a"]
    backend = place.table.find("a")
    assert place.roster.set_models([entry("a"), entry("b")]) == ["ns/b"]
    assert place.table.find("a") is backend


async def test_a_model_that_changes_keeps_its_backend_and_what_is_counted(place: Place) -> None:
    place.roster.set_models([entry("a")])
    place.roster.set_endpoints("ns/a", [HERE])
    backend = place.table.find("a")
    endpoint = backend.balancer.endpoints[0]
    async with backend.admission:
        with endpoint:
            assert place.roster.set_models([entry("a", max_ongoing=1)]) == ["ns/a"]
            assert place.table.find("a") is backend
            assert (backend.admission.ongoing, backend.settings.max_ongoing) == (1, 1)
            assert backend.balancer.endpoints == [endpoint]
            assert endpoint.ongoing == 1


async def test_a_model_s_date_is_its_own_or_that_of_the_start(place: Place) -> None:
    place.roster.set_models([entry("a", created=3), entry("b")])
    assert [backend.created for backend in place.table.backends] == [3, 7]


async def test_fallbacks_are_those_that_are_there(place: Place) -> None:
    place.roster.set_models([entry("a", "b", "c"), entry("b")])
    a, b = place.table.backends
    assert list(a.fallbacks) == [b]
    place.roster.set_models([entry("a", "b", "c"), entry("c")])
    assert [one.name for one in a.fallbacks] == ["c"]


async def test_engines_get_the_internal_token_and_upstreams_their_key(place: Place) -> None:
    engine = entry("a")
    upstream = Entry("ns/a", engine.served.model_copy(update={"kind": "upstream"}), (), "http://u", "geheim")
    assert "geheim" not in repr(upstream)
    for one, headers in (
        (engine, TOKEN),
        (upstream, [(b"authorization", b"Bearer geheim")]),
        (replace(upstream, api_key=""), []),
        (engine, TOKEN),
    ):
        place.roster.set_models([one])
        place.roster.set_endpoints("ns/a", [HERE])
        backend = place.table.find("a")
        assert backend.headers == headers
        assert [endpoint.url for endpoint in backend.balancer.endpoints] == [one.upstream or HERE]


async def test_connections_to_engines_that_left_are_closed_and_they_are_asked_no_more(
    world: World, place: Place
) -> None:
    upstream = await world.upstream(no_script)
    place.roster.set_models([entry("a")])
    place.roster.set_endpoints("ns/a", [f"{upstream.url}/engines/a"])
    await until(lambda: len(upstream.probes) == 2 and place.client.idle == 1)
    place.roster.set_endpoints("ns/a", [])
    await until(lambda: upstream.open == 0)
    assert not place.table.find("a").ready
    assert (await place.client.fetch(Origin.parse(upstream.url), "/health", [], limit=10, seconds=5))[0] == 200


async def test_endpoints_of_who_is_not_on_the_roster_are_nobody_s(place: Place) -> None:
    place.roster.set_endpoints("ns/a", [HERE])
    place.roster.set_models([entry("a")])
    assert place.table.find("a").balancer.endpoints == []


async def test_a_contradiction_leaves_everything_as_it_was_and_is_over_with_what_caused_it(place: Place) -> None:
    place.roster.set_models([entry("a"), entry("b")])
    place.roster.set_endpoints("ns/a", [HERE])
    kept = place.table.backends
    contradiction = Entry("ns/c", ServedModel(name="a"))
    nowhere = Entry("ns/c", ServedModel(name="c", kind="upstream"), upstream="http:")
    for wrong in (contradiction, nowhere):
        with pytest.raises(ValueError, match=r"is claimed by|is not an http"):
            place.roster.set_models([entry("a"), wrong])
        assert place.table.backends == kept
        place.roster.set_endpoints("ns/a", [HERE])
        assert [endpoint.url for endpoint in kept[0].balancer.endpoints] == [HERE]
    assert place.roster.set_models([entry("a"), entry("d")]) == ["ns/d"]
    assert place.table.find("a") is kept[0]
    assert (kept[0].removed, kept[1].removed) == (False, True)


async def test_series_of_names_that_are_no_more_vanish_and_others_stay(place: Place) -> None:
    place.roster.set_models([entry("a"), entry("b")])
    for name in ("a", "b"):
        place.metrics.meter(name).done(200, 0.1)
    place.roster.set_models([entry("b")])
    shown = place.metrics.render().decode()
    assert 'model="a"' not in shown
    assert 'fairlead_requests_total{model="b",status="200"} 1.0' in shown
    place.roster.set_models([entry("a"), entry("b")])
    place.metrics.meter("a").done(200, 0.1)
    assert 'fairlead_requests_total{model="a",status="200"} 1.0' in place.metrics.render().decode()


async def test_a_request_that_was_let_in_before_the_end_of_its_model_brings_no_series_back(place: Place) -> None:
    async def staying() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def unheard(_: Message) -> None:
        raise AssertionError

    proxy = Proxy(place.table, Means(place.client, place.metrics, Times(), Sizes()), Limits("memory://"))
    place.roster.set_models([entry("a")])
    permit = await proxy.permit(ANONYMOUS, "a")
    place.roster.set_models([])
    inbound = Inbound(CHAT, [], b"{}", "a", stream=False)
    with pytest.raises(ApiError, match="the model a was deleted"):
        await proxy.forward({CALLER: ANONYMOUS}, staying, inbound, Outlet(unheard), permit)
    assert 'model="a"' not in place.metrics.render().decode()
