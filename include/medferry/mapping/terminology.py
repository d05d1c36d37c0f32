"""Code tables: CSV files that say what a local code means in a standard system.

Header: ``local_code,local_display,system,code,display,status``, by commas or semicolons. Only rows with status
``approved`` map; ``draft`` and ``unmapped`` rows keep the local code alone. Local codes are matched after trimming, and
by case only in a table where case matters: one that the plan names, or that has two codes which differ by case alone.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from medferry.errors import DefinitionError

HEADER = ["local_code", "local_display", "system", "code", "display", "status"]
_ROUNDED = re.compile(r"\d([.,]\d+)?[eE]\+\d{2,}")
_FHIR_CODE = re.compile(r"[^\s]+(\s[^\s]+)*")


class CodeStatus(StrEnum):
    """Of a line of a code table; only what is approved is written."""

    APPROVED = "approved"
    DRAFT = "draft"
    UNMAPPED = "unmapped"


def normalised(local_code: str, exact: bool = False) -> str:
    """The form under which local codes are compared; `exact` keeps their case."""
    code = local_code.strip()
    return code if exact else code.casefold()


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
        if self.status != CodeStatus.APPROVED:
            return None
        coding = {"system": self.system, "code": self.code, "display": self.display}
        return {name: value for name, value in coding.items() if value}


@dataclass(frozen=True, slots=True)
class CodeTable:
    """A code table by name; look-ups take the local code as it stands in the legacy row."""

    name: str
    rows: Mapping[str, CodeRow]
    exact: bool = False
    """Whether case matters."""

    def find(self, local_code: str) -> CodeRow | None:
        return self.rows.get(normalised(local_code, self.exact))


def load_code_table(path: Path, exact: bool = False) -> CodeTable:
    """Read one CSV; `exact` where the plan says that case matters.

    Raises DefinitionError naming the line for a bad header, status, a code that a spreadsheet damaged or that appears
    twice.
    """
    lines = list(code_rows(path))
    exact = exact or _differ_by_case(row.local_code for _, row in lines)
    rows: dict[str, CodeRow] = {}
    for line, row in lines:
        name = normalised(row.local_code, exact)
        if name in rows:
            raise DefinitionError(path, line, f"the local code {row.local_code!r} appears twice.", "Keep one row.")
        rows[name] = row
    return CodeTable(path.stem, rows, exact)


def _differ_by_case(codes: Iterable[str]) -> bool:
    different = {normalised(code, exact=True) for code in codes}
    return len({code.casefold() for code in different}) < len(different)


def code_rows(path: Path) -> Iterator[tuple[int, CodeRow]]:
    """The lines of a code table with their numbers; blank ones are passed over. Raises DefinitionError."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            header = file.readline().rstrip("\r\n")
            separator = next((sign for sign in ",;" if header.split(sign) == HEADER), None)
            if separator is None:
                raise DefinitionError(path, 1, "the header is wrong.", f"Write {','.join(HEADER)}.")
            reader = csv.reader(file, delimiter=separator, strict=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num + 1, _code_row(path, reader.line_num + 1, cells, separator)
        except UnicodeDecodeError:
            raise DefinitionError(path, None, "it is not UTF-8.", "Save it as CSV UTF-8.") from None
        except csv.Error as error:
            raise DefinitionError(path, reader.line_num + 1, f"this is not CSV ({error}).", "Correct it.") from None


def _code_row(path: Path, line: int, cells: list[str], separator: str) -> CodeRow:
    if len(cells) != len(HEADER):
        problem = f"{len(cells)} cells instead of {len(HEADER)}."
        raise DefinitionError(path, line, problem, f"Quote cells that hold a {separator!r}.")
    row = CodeRow(*(cell.strip() for cell in cells))
    if not row.local_code:
        raise DefinitionError(path, line, "there is no local code: no row could reach it.", "Fill it in, or remove it.")
    if row.status not in list(CodeStatus):
        raise DefinitionError(
            path, line, f"unknown status {row.status!r}.", f"Use one of {', '.join(sorted(CodeStatus))}."
        )
    if damaged := next((code for code in (row.local_code, row.code) if _ROUNDED.fullmatch(code)), None):
        raise DefinitionError(
            path,
            line,
            f"a spreadsheet has rounded the code {damaged}: its digits are lost.",
            "Enter the code again, in a column that is formatted as text.",
        )
    if row.status == CodeStatus.APPROVED and not row.code:
        raise DefinitionError(path, line, "an approved row has no code.", "Fill in system and code.")
    return row
