"""Kubernetes quantities (`500m`, `1.5Gi`, `2e3`) as exact numbers. Pure; knows no resource."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

_SUFFIXES = {
    "": Fraction(1),
    **{suffix: Fraction(1, 1000**power) for power, suffix in enumerate("mun", 1)},
    **{suffix: Fraction(1000**power) for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Fraction(1024**power) for power, suffix in enumerate("KMGTPE", 1)},
}
# Longer digits and exponents than anything that can be meant are no quantity at all: arithmetic stays cheap.
_QUANTITY = re.compile(
    r"(?P<number>[0-9]{1,18}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})"
    r"(?:(?P<suffix>[munkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]{1,2}))?"
)


@dataclass(frozen=True, order=True)
class Quantity:
    """A quantity; compared by its value, whichever way it is written."""

    value: Fraction
    text: str = field(compare=False)

    def __str__(self) -> str:
        return self.text


def parse_quantity(text: str) -> Quantity:
    """Reads what Kubernetes reads, but for signs: nothing here is ever less than nothing.

    Raises:
        ValueError: it is no quantity.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError("not a quantity")
    number = Fraction(match["number"].rstrip("."))
    if match["exponent"]:
        return Quantity(number * Fraction(10) ** int(match["exponent"]), text)
    return Quantity(number * _SUFFIXES[match["suffix"] or ""], text)
