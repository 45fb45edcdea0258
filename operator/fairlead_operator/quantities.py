"""Kubernetes quantities, such as `500m` and `64Gi`, as numbers and back."""

import re
from decimal import Decimal

# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_FORM = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([eE][+-]?[0-9]+)|([KMGTPE]i|[numkMGTPE]))?")
_BINARY = {f"{letter}i": Decimal(1024**power) for power, letter in enumerate("KMGTPE", start=1)}
_FACTORS = {
    **_BINARY,
    **{
        letter: Decimal(10) ** power
        for power, letter in zip((-9, -6, -3, 3, 6, 9, 12, 15, 18), "numkMGTPE", strict=True)
    },
}


def number(quantity: str | int) -> Decimal:
    """What a quantity is, in its own unit: cores, bytes, pieces. Raises ValueError."""
    parts = _FORM.fullmatch(str(quantity))
    if parts is None:
        raise ValueError(f"{quantity} is no quantity; expected a number with a suffix such as m, Gi or G")
    digits, exponent, suffix = parts.groups()
    return Decimal(digits + (exponent or "")) * _FACTORS.get(suffix or "", Decimal(1))


def shown(amount: Decimal) -> str:
    """An amount for people, in the largest binary unit in which it is whole: `64Gi`, `2`, `0.5`."""
    for suffix in reversed(_BINARY):
        if amount and amount % _BINARY[suffix] == 0:
            return f"{amount / _BINARY[suffix]:f}" + suffix
    return f"{amount.normalize():f}"
