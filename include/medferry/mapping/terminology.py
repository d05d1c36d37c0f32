"""Code tables: CSV files that say what a local code means in a standard system.

Header: ``local_code,local_display,system,code,display,status``. Only rows with status ``approved`` map;
``draft`` and ``unmapped`` rows keep the local code alone. Local codes are matched after trimming and casefolding.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medferry.errors import DefinitionError

HEADER = ["local_code", "local_display", "system", "code", "display", "status"]
_STATUSES = {"approved", "draft", "unmapped"}
_FHIR_CODE = re.compile(r"[^\s]+(\s[^\s]+)*")


def normalised(local_code: str) -> str:
    """The form under which local codes are compared."""
    return local_code.strip().casefold()


def is_fhir_code(text: str) -> bool:
    """True when `text` has the lexical form of FHIR's ``code`` type."""
    return bool(_FHIR_CODE.fullmatch(text))


@dataclass(frozen=True, slots=True)
class CodeRow:
    """One reviewed line of a code table."""

    local_code: str
    local_display: str
    system: str
    code: str
    display: str
    status: str

    @property
    def target(self) -> dict[str, str] | None:
        """The standard Coding when this row is approved, else None."""
        if self.status != "approved":
            return None
        coding = {"system": self.system, "code": self.code, "display": self.display}
        return {name: value for name, value in coding.items() if value}


@dataclass(frozen=True, slots=True)
class CodeTable:
    """A code table by name; look-ups take the local code as it stands in the legacy row."""

    name: str
    rows: Mapping[str, CodeRow]

    def find(self, local_code: str) -> CodeRow | None:
        return self.rows.get(normalised(local_code))


def load_code_table(path: Path) -> CodeTable:
    """Read one CSV. Raises DefinitionError naming the line for a bad header, status, or a code said twice."""
    rows: dict[str, CodeRow] = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        if next(reader, None) != HEADER:
            raise DefinitionError(path, 1, "the header is wrong.", f"Write {','.join(HEADER)}.")
        for cells in reader:
            row = _code_row(path, reader.line_num, cells)
            if normalised(row.local_code) in rows:
                raise DefinitionError(
                    path, reader.line_num, f"the local code {row.local_code!r} stands twice.", "Keep one row."
                )
            rows[normalised(row.local_code)] = row
    return CodeTable(path.stem, rows)


def _code_row(path: Path, line: int, cells: list[str]) -> CodeRow:
    if len(cells) != len(HEADER):
        raise DefinitionError(
            path, line, f"{len(cells)} cells instead of {len(HEADER)}.", "Quote cells that hold commas."
        )
    row = CodeRow(*(cell.strip() for cell in cells))
    if row.status not in _STATUSES:
        raise DefinitionError(
            path, line, f"unknown status {row.status!r}.", f"Use one of {', '.join(sorted(_STATUSES))}."
        )
    if row.status == "approved" and not row.code:
        raise DefinitionError(path, line, "an approved row has no code.", "Fill in system and code.")
    return row
