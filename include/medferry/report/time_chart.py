"""The frame of an inline SVG over time: its base line, what its height stands for, when it begins and ends."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

WIDTH, LEFT = 1100, 70
_BELOW = 24


@dataclass(frozen=True, slots=True)
class TimeChart:
    """In user units of the SVG; `top` is where the highest value ends."""

    height: int
    top: int

    @property
    def base(self) -> int:
        """Where zero is."""
        return self.height - _BELOW

    @property
    def room(self) -> int:
        """What the highest value is high."""
        return self.base - self.top

    def around(self, inside: str, label: str, most: str, first: str, last: str) -> Markup:
        """The chart of what is drawn `inside`; `most` is the highest value, `first` and `last` are times."""
        return Markup(
            f'<svg viewBox="0 0 {WIDTH} {self.height}" width="100%" role="img" aria-label="{label}" '
            f'font-family="system-ui,sans-serif" font-size="12" fill="#56616f">'
            f'<line x1="{LEFT}" y1="{self.base}" x2="{WIDTH}" y2="{self.base}" stroke="#56616f"/>'
            f'<text x="{LEFT - 6}" y="{self.top + 4}" text-anchor="end">{most}</text>'
            f'<text x="{LEFT - 6}" y="{self.base}" text-anchor="end">0</text>'
            f'<text x="{LEFT}" y="{self.height - 6}">{first} UTC</text>'
            f'<text x="{WIDTH}" y="{self.height - 6}" text-anchor="end">{last}</text>{inside}</svg>'
        )

    def bar(self, x: float, width: float, floor: float, height: float, colour: str) -> str:
        """A bar that begins `floor` above zero."""
        y = self.base - floor - height
        width = max(width - 0.5, 0.5)
        return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
