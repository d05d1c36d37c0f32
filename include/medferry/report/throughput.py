"""How many entries were sent to Medplum over time, as an inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from markupsafe import Markup

from medferry.manifest.throughput import Second

_BARS = 120
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 1100, 170, 70, 24, 22


def svg(found: Sequence[Second]) -> Markup:
    """Bars of entries per second over the time of the load, at most 120; empty when nothing was sent."""
    if not found:
        return Markup("")
    start = datetime.fromisoformat(found[0].at)
    places = [int((datetime.fromisoformat(one.at) - start).total_seconds()) for one in found]
    width = max(1, math.ceil((places[-1] + 1) / _BARS))
    number = places[-1] // width + 1
    done, failed = [0.0] * number, [0.0] * number
    for place, one in zip(places, found, strict=True):
        done[place // width] += one.done / width
        failed[place // width] += one.failed / width
    top = max(d + f for d, f in zip(done, failed, strict=True))
    room, step = _HEIGHT - _TOP - _BOTTOM, (_WIDTH - _LEFT) / number
    bars = "".join(
        _bar(_LEFT + at * step, step, floor, height * room / top, colour)
        for at in range(number)
        for floor, height, colour in (
            (0.0, done[at], "#1b7f4b"),
            (done[at] * room / top, failed[at], "#b3261e"),
        )
        if height
    )
    base = _HEIGHT - _BOTTOM
    axis = (
        f'<line x1="{_LEFT}" y1="{base}" x2="{_WIDTH}" y2="{base}" stroke="#56616f"/>'
        f'<line x1="{_LEFT}" y1="{_TOP}" x2="{_WIDTH}" y2="{_TOP}" stroke="#d9dee5"/>'
        f'<text x="{_LEFT - 6}" y="{_TOP + 4}" text-anchor="end">{top:,.0f}/s</text>'
        f'<text x="{_LEFT - 6}" y="{base}" text-anchor="end">0</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{found[0].at.replace("T", " ")} UTC</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 6}" text-anchor="end">{found[-1].at[11:]}</text>'
    )
    return Markup(
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="100%" role="img" aria-label="Entries per second" '
        f'font-family="system-ui,sans-serif" font-size="12" fill="#56616f">{axis}{bars}</svg>'
    )


def _bar(x: float, width: float, floor: float, height: float, colour: str) -> str:
    y = _HEIGHT - _BOTTOM - floor - height
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width - 0.5, 0.5):.1f}" height="{height:.1f}" fill="{colour}"/>'
