"""Units that convert into each other exactly by definition (UCUM): to compare with a tolerance, never to write."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple


class _Unit(NamedTuple):
    """base = (value + offset) * numerator / denominator: a ratio, as 5/9 has no end as a decimal."""

    dimension: str
    numerator: Decimal
    denominator: Decimal = Decimal(1)
    offset: Decimal = Decimal(0)


_UNITS: dict[str, _Unit] = {
    "ug": _Unit("mass", Decimal("0.000000001")),
    "mg": _Unit("mass", Decimal("0.000001")),
    "g": _Unit("mass", Decimal("0.001")),
    "kg": _Unit("mass", Decimal(1)),
    "[lb_av]": _Unit("mass", Decimal("0.45359237")),
    "[oz_av]": _Unit("mass", Decimal("0.028349523125")),
    "mm": _Unit("length", Decimal("0.001")),
    "cm": _Unit("length", Decimal("0.01")),
    "m": _Unit("length", Decimal(1)),
    "[in_i]": _Unit("length", Decimal("0.0254")),
    "[ft_i]": _Unit("length", Decimal("0.3048")),
    "Cel": _Unit("temperature", Decimal(1)),
    "[degF]": _Unit("temperature", Decimal(5), Decimal(9), Decimal(-32)),
    "K": _Unit("temperature", Decimal(1), offset=Decimal("-273.15")),
    "mm[Hg]": _Unit("pressure", Decimal("133.322")),
    "kPa": _Unit("pressure", Decimal(1000)),
    "s": _Unit("time", Decimal(1)),
    "min": _Unit("time", Decimal(60)),
    "h": _Unit("time", Decimal(3600)),
}


def converted(value: Decimal, unit: str, into: str) -> Decimal | None:
    """A value of one unit in the other; None where they do not convert, or one of them is not here."""
    own, other = _UNITS.get(unit), _UNITS.get(into)
    if own is None or other is None or own.dimension != other.dimension:
        return None
    scaled = (value + own.offset) * own.numerator * other.denominator
    return scaled / (own.denominator * other.numerator) - other.offset
