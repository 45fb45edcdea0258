"""Quantities, as numbers and back."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils.quantity import parse_quantity

from fairlead_operator.quantities import number, shown


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("0", "0"), (2, "2"), ("2", "2"), ("0.5", "0.5"), (".5", "0.5"), ("5.", "5"), ("-1", "-1"), ("+1", "1"),
        ("500m", "0.5"), ("1500u", "0.0015"), ("7n", "0.000000007"), ("3k", "3000"), ("1M", "1000000"),
        ("1G", "1000000000"), ("1T", "1e12"), ("1P", "1e15"), ("1E", "1e18"), ("1Ki", "1024"), ("1.5Gi", "1610612736"),
        ("1Ei", "1152921504606846976"), ("1e3", "1000"), ("1E3", "1000"), ("12E-1", "1.2"),
    ],
)  # fmt: skip
def test_a_quantity_is_a_number(quantity: str | int, expected: str) -> None:
    assert number(quantity) == Decimal(expected)


@pytest.mark.parametrize("text", ["", "Gi", "1 Gi", "1KiB", "1mi", "1e", "--1", "1.2.3", "0x10", "٣"])
def test_what_is_no_quantity_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        number(text)


@given(st.integers(0, 10**6), st.sampled_from(["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi"]))
def test_the_official_client_reads_the_same(amount: int, suffix: str) -> None:
    assert number(f"{amount}{suffix}") == parse_quantity(f"{amount}{suffix}")


@pytest.mark.parametrize(
    ("amount", "text"),
    [("68719476736", "64Gi"), ("1610612736", "1536Mi"), ("0.50", "0.5"), ("8", "8"), ("100", "100"), ("0", "0")],
)
def test_an_amount_is_shown_in_the_largest_unit_that_fits(amount: str, text: str) -> None:
    assert shown(Decimal(amount)) == text


@given(st.integers(0, 2**62))
def test_what_is_shown_is_the_same_amount(amount: int) -> None:
    assert number(shown(Decimal(amount))) == amount
