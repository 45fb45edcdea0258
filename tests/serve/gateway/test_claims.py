"""Who has a name that several Models want."""

from typing import Any

from fairlead_serve.gateway.claims import settle
from fairlead_serve.gateway.served import Listing
from fairlead_serve.settings import AdapterSettings, ServedModel


def listing(
    key: str, name: str, *aliases: str, created: int = 0, adapters: tuple[str, ...] = (), **more: Any
) -> Listing:
    wanted = tuple(AdapterSettings(name=one) for one in adapters)
    return Listing(key, ServedModel(name=name, aliases=aliases, created=created, adapters=wanted), **more)


def names(listings: list[Listing]) -> dict[str, list[str]]:
    return {
        one.key: [one.served.name, *one.served.aliases, *(adapter.name for adapter in one.served.adapters)]
        for one in listings
    }


def test_without_contradictions_everybody_gets_everything_and_stays_the_same_object() -> None:
    one, two = listing("ns/one", "one", "uno", adapters=("sql",)), listing("ns/two", "two")
    served, left_out = settle([two, one])
    assert served == [one, two]
    assert served[0] is one
    assert left_out == []


def test_the_older_one_keeps_a_name_whatever_the_order_of_hearing() -> None:
    old, new = listing("ns/z", "chat", created=1), listing("ns/a", "chat", "a", created=2)
    for order in ([old, new], [new, old]):
        served, left_out = settle(order)
        assert names(served) == {"ns/z": ["chat"], "ns/a": ["a"]}
        assert [(one.key, one.reason) for one in left_out] == [("ns/a", "NameTaken")]
        assert left_out[0].message.startswith("the name chat belongs to the older Model ns/z")


def test_of_two_made_in_one_second_the_first_in_order_of_names_is_the_older() -> None:
    served, _ = settle([listing("ns/b", "chat"), listing("ns/a", "chat")])
    assert names(served) == {"ns/a": ["chat"]}


def test_a_model_without_a_name_of_its_own_is_left_out_and_takes_no_name_from_others() -> None:
    first, second = listing("ns/a", "chat"), listing("ns/b", "chat", adapters=("sql",), created=1)
    served, left_out = settle([first, second, listing("ns/c", "sql", created=2)])
    assert names(served) == {"ns/a": ["chat"], "ns/c": ["sql"]}
    assert {one.key for one in left_out} == {"ns/b"}


def test_an_adapter_has_its_name_as_a_model_has() -> None:
    base = listing("ns/a", "base", adapters=("sql",))
    served, _ = settle([base, listing("ns/b", "sql", "other", created=1)])
    assert names(served) == {"ns/a": ["base", "sql"], "ns/b": ["other"]}


def test_an_adapter_whose_name_is_taken_is_left_out_alone() -> None:
    served, _ = settle([listing("ns/a", "sql"), listing("ns/b", "base", adapters=("sql", "poems"), created=1)])
    assert names(served) == {"ns/a": ["sql"], "ns/b": ["base", "poems"]}


def test_fallbacks_that_are_not_there_are_told() -> None:
    _, left_out = settle([listing("ns/a", "a", fallbacks=("ns/b", "ns/c")), listing("ns/c", "c")])
    assert [(one.key, one.reason) for one in left_out] == [("ns/a", "UnknownFallback")]
    assert "ns/b" in left_out[0].message
