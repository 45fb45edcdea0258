"""The names of the Models that are followed, and who has to hear when one of them changes."""

from typing import Any

from fairlead_operator.kinds import Key
from fairlead_operator.names import Names
from fairlead_serve.names import Loss
from tests.operator import samples

A, B, C = (Key("ns", name) for name in "abc")
SHARED = {"uri": "hf://org/model", "name": "chat"}


def live(key: Key, second: int = 0, **spec: Any) -> dict[str, Any]:
    made = samples.model(key.name, **spec)
    made["metadata"] |= {"namespace": key.namespace, "creationTimestamp": f"2026-01-01T00:00:0{second}Z"}
    return made


def test_a_model_that_comes_second_loses_its_name_and_hears_of_it() -> None:
    names = Names()
    assert names.follow(A, live(A, model=SHARED)) == ()
    assert names.follow(B, live(B, 1, model=SHARED)) == [B]
    assert names.losses(B) == [Loss("ns/b", "chat", "ns/a")]
    assert names.losses(A) == ()


def test_an_older_one_that_is_heard_of_later_takes_the_name() -> None:
    names = Names()
    names.follow(B, live(B, 1, model=SHARED))
    assert names.follow(A, live(A, model=SHARED)) == [B]


def test_the_next_one_hears_when_the_one_that_had_the_name_goes_or_takes_another() -> None:
    for then in (None, live(A)):
        names = Names()
        for second, key in enumerate((A, B, C)):
            names.follow(key, live(key, second, model=SHARED))
        assert set(names.follow(A, then)) == {B, C}
        assert names.losses(B) == ()
        assert names.losses(C) == [Loss("ns/c", "chat", "ns/b")]


def test_models_of_one_name_in_two_namespaces_want_the_same() -> None:
    names, other = Names(), Key("other", "a")
    names.follow(A, live(A))
    assert names.follow(other, live(other)) == [other]


def test_names_of_adapters_count_too() -> None:
    names = Names()
    names.follow(A, live(A, lora={"adapters": [{"name": "sql", "uri": "hf://org/sql"}]}))
    assert names.follow(B, live(B, 1, model={**SHARED, "aliases": ["sql"]})) == [B]
    assert [loss.place for loss in names.losses(B)] == ["spec.model.aliases"]


def test_a_model_that_cannot_be_read_wants_the_names_it_had_and_none_when_it_is_new() -> None:
    wrong: dict[str, Any] = {"engine": {"args": {"no_such_argument": 1}}}
    new, edited = Names(), Names()
    new.follow(A, live(A, model=SHARED, **wrong))
    assert new.follow(B, live(B, 1, model=SHARED)) == ()
    edited.follow(A, live(A, model=SHARED))
    edited.follow(A, live(A, **wrong))
    assert edited.follow(B, live(B, 1, model=SHARED)) == [B]


def test_a_model_is_read_once_a_generation() -> None:
    names = Names()
    made = live(A, model=SHARED)
    made["metadata"] |= {"uid": "1", "generation": 1}
    names.follow(A, made)
    names.follow(B, live(B, 1, model=SHARED))
    assert names.follow(A, {**made, "spec": {}, "status": {"phase": "Serving"}}) == ()
    again = {**live(A), "metadata": {**made["metadata"], "uid": "2"}}
    assert names.follow(A, again) == [B]


def test_a_change_of_anything_else_is_nobodys_business() -> None:
    names = Names()
    names.follow(A, live(A, model=SHARED))
    names.follow(B, live(B, 1, model=SHARED))
    assert names.follow(B, {**live(B, 1, model=SHARED, replicas=2), "status": {"phase": "Serving"}}) == ()
    assert names.follow(C, live(C)) == ()
