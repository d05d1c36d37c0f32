"""The compared ways as bars, in a plain SVG."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from medferry_bench.table import ways_of

_WIDTH, _LEFT, _BAR, _GAP = 930, 370, 24, 12
_OURS = {"load", "end_to_end", "rerun"}


def svg(figures: dict[str, Any]) -> str:
    """One bar a way, its length the resources per second; what was not measured has none.

    The bar of the rerun, which writes nothing, ends at the longest of the others: it would dwarf all that write.
    """
    ways = [(key, title.replace("`", ""), one.get("resources_per_second", 0.0)) for key, title, one in ways_of(figures)]
    top = max(rate for key, _, rate in ways if key != "rerun") or max(rate for *_, rate in ways) or 1.0
    height = 50 + len(ways) * (_BAR + _GAP)
    bars = "".join(_bar(number, key, title, rate, top) for number, (key, title, rate) in enumerate(ways))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="14"><rect width="{_WIDTH}" height="{height}" fill="white"/>'
        f'<text x="10" y="24" font-size="16">Resources per second</text>{bars}</svg>\n'
    )


def _bar(number: int, key: str, title: str, rate: float, top: float) -> str:
    y = 40 + number * (_BAR + _GAP)
    width = (_WIDTH - _LEFT - 150) * min(rate / top, 1)
    colour = "#0b6e4f" if key in _OURS else "#9aa5b1"
    said = f"{rate:,.0f}{' (bar cut)' if rate > top else ''}" if rate else "not measured"
    return (
        f'<text x="10" y="{y + 17}">{escape(title)}</text>'
        f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>'
        f'<text x="{_LEFT + width + 6:.1f}" y="{y + 17}">{said}</text>'
    )
