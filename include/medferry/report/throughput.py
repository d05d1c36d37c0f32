"""How many entries were sent to Medplum over time, as an inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

from markupsafe import Markup

from medferry.manifest.throughput import Second
from medferry.report.time_chart import LEFT, WIDTH, TimeChart

_BARS = 120
_CHART = TimeChart(height=170, top=22)


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
    room, step = _CHART.room, (WIDTH - LEFT) / number
    bars = "".join(
        _CHART.bar(LEFT + at * step, step, floor, height * room / top, colour)
        for at in range(number)
        for floor, height, colour in (
            (0.0, done[at], "#1b7f4b"),
            (done[at] * room / top, failed[at], "#b3261e"),
        )
        if height
    )
    highest = f'<line x1="{LEFT}" y1="{_CHART.top}" x2="{WIDTH}" y2="{_CHART.top}" stroke="#d9dee5"/>'
    first, last = found[0].at.replace("T", " "), found[-1].at[11:]
    return _CHART.around(highest + bars, "Entries per second", f"{top:,.0f}/s", first, last)
