"""Who has a name that several Models want."""

from fairlead_serve.names import Claim, Loss, losses

OLD = Claim("ns/old", 1, ("chat",), ("sql",))


def test_who_came_first_keeps_a_name_whatever_the_order_of_hearing() -> None:
    young = Claim("ns/a", 2, ("chat", "a"))
    for order in ([OLD, young], [young, OLD]):
        assert losses(order) == [Loss("ns/a", "chat", "ns/old")]


def test_of_two_made_in_one_second_the_first_by_key_has_the_name() -> None:
    assert losses([Claim("b/chat", 1, ("chat",)), Claim("a/chat", 1, ("chat",))]) == [Loss("b/chat", "chat", "a/chat")]


def test_an_adapter_has_its_name_as_a_model_has() -> None:
    assert losses([OLD, Claim("ns/sql", 2, ("sql",))]) == [Loss("ns/sql", "sql", "ns/old")]
    assert losses([OLD, Claim("ns/a", 2, ("a",), ("chat",))]) == [Loss("ns/a", "chat", "ns/old", "spec.lora.adapters")]


def test_a_model_that_gets_no_name_of_its_own_keeps_none_from_others() -> None:
    nameless = Claim("ns/b", 2, ("chat",), ("poems",))
    assert losses([OLD, nameless, Claim("ns/c", 3, ("poems",))]) == [Loss("ns/b", "chat", "ns/old")]


def test_a_loss_says_who_has_the_name_and_what_to_change() -> None:
    assert Loss("ns/b", "chat", "ns/a").message == (
        "the name chat belongs to the older Model ns/a; give this one another (spec.model.name)"
    )
