"""Amounts of resources in the one form in which the server gives them back (k8s.io/apimachinery/pkg/api/resource)."""

import re
from decimal import ROUND_CEILING, Decimal
from functools import cache

_FORM = re.compile(r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?P<suffix>[numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+|)")
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


@cache
def amount(quantity: str) -> Decimal:
    """The number that a quantity means. Raises ValueError for what is none."""
    match = _FORM.fullmatch(quantity)
    if match is None:
        raise ValueError(f"{quantity!r} is no quantity")
    number, suffix = Decimal(match["number"]), match["suffix"]
    if suffix in _BINARY:
        return number * Decimal(1024 ** _BINARY[suffix])
    if suffix in _DECIMAL:
        return number.scaleb(_DECIMAL[suffix])
    return number.scaleb(int(suffix[1:]))


@cache
def canonical(quantity: str) -> str:
    """The shortest form without a fraction: `1000m` is `1`, `0.5` is `500m`, `1024Mi` is `1Gi`.

    Raises ValueError for what is no quantity.
    """
    value = amount(quantity)
    if quantity.endswith("i") and value == value.to_integral_value():
        return _binary(int(value))
    nano = int(value.scaleb(9).to_integral_value(ROUND_CEILING))
    exponent = -9
    while nano and nano % 1000 == 0 and exponent < 18:
        nano //= 1000
        exponent += 3
    if not nano:
        return "0"
    if "e" in quantity.lower().rstrip("i") and not quantity.endswith("E"):
        return f"{nano}e{exponent}" if exponent else str(nano)
    return f"{nano}{next(suffix for suffix, power in _DECIMAL.items() if power == exponent)}"


def _binary(value: int) -> str:
    power = 0
    while value and value % 1024 == 0 and power < 6:
        value //= 1024
        power += 1
    return f"{value}{next((suffix for suffix, step in _BINARY.items() if step == power), '')}"
