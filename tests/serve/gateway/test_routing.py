"""Which backend a model's name leads to, for whom."""

from typing import Any

import pytest

from fairlead_serve.errors import ApiError
from fairlead_serve.gateway.auth import Caller
from fairlead_serve.gateway.backends import Backend
from fairlead_serve.gateway.routing import RoutingTable, shorten
from tests.serve.gateway.world import backend


def make(name: str = "model", **options: Any) -> Backend:
    return Backend(backend("http://127.0.0.1:1", name=name, **options), [], 0, ["http://127.0.0.1:1"])


def table(*backends: Backend, default_model: str = "") -> RoutingTable:
    return RoutingTable.fixed([(one, ()) for one in backends], default_model=default_model)


def test_every_name_and_alias_finds_its_backend() -> None:
    one, two = make("one", aliases=("uno",)), make("two")
    routes = table(one, two)
    assert [routes.find(name) for name in ("one", "uno", "two")] == [one, one, two]
    assert [name for name, _ in routes.names()] == ["one", "uno", "two"]


def test_a_name_claimed_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'uno' is claimed by one and two"):
        table(make("one", aliases=("uno",)), make("two", aliases=("uno",)))


def test_a_default_that_is_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match="'three' is none of: one, two"):
        table(make("one"), make("two"), default_model="three")


def test_an_unknown_model_is_404_and_what_there_is_is_named() -> None:
    with pytest.raises(ApiError) as refusal:
        table(make("one"), make("two")).find("x" * 5000)
    error = refusal.value
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert error.message.endswith("there are: one, two")
    assert len(error.message) < 250


@pytest.mark.parametrize("unnamed", [None, ""])
def test_a_request_without_a_model_gets_the_only_one_or_the_default(unnamed: str | None) -> None:
    one, two = make("one"), make("two")
    assert table(one).find(unnamed) is one
    assert table(one, two, default_model="two").find(unnamed) is two
    with pytest.raises(ApiError) as refusal:
        table(one, two).find(unnamed)
    assert (refusal.value.status, refusal.value.code, refusal.value.param) == (400, "model_required", "model")


def test_quotes_are_cut() -> None:
    assert shorten("x" * 100) == "x" * 100
    assert shorten("x" * 101) == "x" * 100 + "…"


def test_a_table_that_is_not_settled_says_so_of_what_it_does_not_know() -> None:
    routes = RoutingTable(unsettled="waiting for the cluster")
    routes.route([make("one")])
    assert routes.find("one").name == "one"
    for unknown in ("two", None):
        with pytest.raises(ApiError) as refusal:
            routes.find(unknown)
        assert (refusal.value.status, refusal.value.code) == (503, "not_ready")


def test_an_adapter_is_a_model_of_its_own_also_for_keys() -> None:
    model = make("base", adapters=({"name": "sql"},))
    routes = table(model)
    assert routes.find("sql") is model
    for allowed, refused in (("base", "sql"), ("sql", "base")):
        caller = Caller("key", "key", (allowed,))
        assert routes.find(allowed, caller) is model
        assert [name for name, _ in routes.names(caller)] == [allowed]
        with pytest.raises(ApiError) as refusal:
            routes.find(refused, caller)
        assert refusal.value.status == 403


def test_the_longest_request_is_that_of_the_models_there_are_now() -> None:
    routes = table(make("one", request_seconds=900), make("two"))
    assert routes.longest_request(600) == 900
    routes.route([make("two")])
    assert routes.longest_request(600) == 600
    routes.route([])
    assert routes.longest_request(600) == 600
