"""The code tables as the verification reads them, by itself: the CSV files, and nothing of what maps by them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class ApprovedTable:
    """A code table as its CSV says: local code, without outer blanks and case, → target (system, code) or None."""

    local: Mapping[str, tuple[str, str] | None]
    displays: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """Target → the names that the table gives it."""
    local_displays: Mapping[str, str] = field(default_factory=dict)

    def target(self, code: str) -> tuple[str, str] | None:
        return self.local.get(code.strip().casefold())

    @cached_property
    def targets(self) -> frozenset[tuple[str, str]]:
        return frozenset(target for target in self.local.values() if target)


def approved_table(path: Path) -> ApprovedTable:
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{name: (cell or "").strip() for name, cell in row.items()} for row in csv.DictReader(file)]
    approved = [row for row in rows if row["status"] == "approved"]
    displays: dict[tuple[str, str], set[str]] = {}
    for row in approved:
        displays.setdefault((row["system"], row["code"]), set()).update({row["display"]} - {""})
    return ApprovedTable(
        {row["local_code"].casefold(): None for row in rows}
        | {row["local_code"].casefold(): (row["system"], row["code"]) for row in approved},
        {target: frozenset(names) for target, names in displays.items()},
        {row["local_code"].casefold(): row["local_display"] for row in rows},
    )
