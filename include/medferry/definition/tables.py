"""The code tables as the verification reads them, by itself: the CSV files, and nothing of what maps by them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True)
class ApprovedTable:
    """A code table as its CSV says: local code, without outer blanks, → target (system, code) or None."""

    local: Mapping[str, tuple[str, str] | None]
    displays: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    """Target → the names that the table gives it."""
    local_displays: Mapping[str, str] = field(default_factory=dict)
    exact: bool = False
    """Whether case matters; where it does not, the local codes here are in lower case."""

    def name(self, code: str) -> str:
        """A local code as it stands here."""
        return code.strip() if self.exact else code.strip().casefold()

    def target(self, code: str) -> tuple[str, str] | None:
        return self.local.get(self.name(code))

    @cached_property
    def targets(self) -> frozenset[tuple[str, str]]:
        return frozenset(target for target in self.local.values() if target)


def approved_table(path: Path, exact: bool) -> ApprovedTable:
    """Of a file that the mapping's own reader has judged; `exact` where case matters."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        separator = ";" if file.readline().startswith("local_code;") else ","
        file.seek(0)
        read = csv.DictReader(file, delimiter=separator)
        rows = [{name: (cell or "").strip() for name, cell in row.items()} for row in read]
    rows = [row for row in rows if any(row.values())]
    approved = [row for row in rows if row["status"] == "approved"]
    displays: dict[tuple[str, str], set[str]] = {}
    for row in approved:
        displays.setdefault((row["system"], row["code"]), set()).update({row["display"]} - {""})
    name = ApprovedTable({}, exact=exact).name
    return ApprovedTable(
        {name(row["local_code"]): None for row in rows}
        | {name(row["local_code"]): (row["system"], row["code"]) for row in approved},
        {target: frozenset(names) for target, names in displays.items()},
        {name(row["local_code"]): row["local_display"] for row in rows},
        exact,
    )
