"""Units that convert into each other exactly by definition (UCUM): to compare with a tolerance, never to write."""

from __future__ import annotations

from decimal import Decimal

_FACTORS: dict[str, tuple[str, Decimal, Decimal]] = {
    # unit → (dimension, factor, offset): base = (value + offset) * factor
    "g": ("mass", Decimal("0.001"), Decimal(0)),
    "kg": ("mass", Decimal(1), Decimal(0)),
    "[lb_av]": ("mass", Decimal("0.45359237"), Decimal(0)),
    "[oz_av]": ("mass", Decimal("0.028349523125"), Decimal(0)),
    "m": ("length", Decimal(1), Decimal(0)),
    "cm": ("length", Decimal("0.01"), Decimal(0)),
    "[in_i]": ("length", Decimal("0.0254"), Decimal(0)),
    "[ft_i]": ("length", Decimal("0.3048"), Decimal(0)),
    "Cel": ("temperature", Decimal(1), Decimal(0)),
    "[degF]": ("temperature", Decimal(5) / Decimal(9), Decimal(-32)),
    "K": ("temperature", Decimal(1), Decimal("-273.15")),
    "mm[Hg]": ("pressure", Decimal("133.322"), Decimal(0)),
    "kPa": ("pressure", Decimal(1000), Decimal(0)),
    "s": ("time", Decimal(1), Decimal(0)),
    "min": ("time", Decimal(60), Decimal(0)),
    "h": ("time", Decimal(3600), Decimal(0)),
}


def in_base_unit(value: Decimal, unit: str) -> tuple[Decimal, str] | None:
    """The value in its dimension's base unit, with the dimension; None for a unit that is not here."""
    if unit not in _FACTORS:
        return None
    dimension, factor, offset = _FACTORS[unit]
    return (value + offset) * factor, dimension
