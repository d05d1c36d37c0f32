"""The kinds of dirt, from `dirt.csv`: where, how they look, and what must become of the row.

Written for the people who write mappings, and read by the generator: `dirt.py` has a function a kind that spoils a
row.
The README shows the same table; a test compares them.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

SUCCESSFUL = "successful"
SKIPPED = "skipped"
QUARANTINED = "quarantined"
REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of dirt of one entity.

    `reason` and `field` are those of the disposition, or, for a successful row, of its finding (None: no finding).
    """

    entity: str
    name: str
    looks: str
    disposition: str
    reason: str | None
    field: str | None
    holds: str


def _read() -> tuple[Kind, ...]:
    with Path(__file__).with_name("dirt.csv").open(encoding="utf-8", newline="") as lines:
        rows = [{column: value or None for column, value in row.items()} for row in csv.DictReader(lines)]
    return tuple(Kind(**row) for row in rows)  # type: ignore[arg-type]


KINDS = _read()

ALWAYS = (
    ("leading zeros in numbers that identify", "mrn, staff_no, member_no, accession_no, postal_code", "kept as text"),
    ("codes without a target", "`none agreed` in CODES.md", "successful, local coding only"),
    ("units by clinic", "lb, in, F at most clinics; kg, cm, C and mmol/L at `prairie`", "the unit recorded"),
    ("patients of two clinics", "two registrations", "unit `shared`; their rows keep their clinic"),
    (
        "orphans in folded tables",
        "a few addresses, phones, identifiers of nobody",
        "listed under `outside`, no disposition",
    ),
)


def as_markdown() -> str:
    """The table of kinds and the list of what is always there, as the README shows them."""
    lines = [
        "| Entity | Kind | How it looks in the row | Disposition | Reason (field) | What the resource holds |",
        "|---|---|---|---|---|---|",
    ]
    for k in KINDS:
        reason = f"{'finding ' if k.disposition == SUCCESSFUL else ''}`{k.reason}`" if k.reason else ""
        field = f" ({k.field})" if k.field else ""
        lines.append(f"| {k.entity} | {k.name} | {k.looks} | {k.disposition} | {reason}{field} | {k.holds} |")
    lines += ["", "| Always | Where | What becomes of it |", "|---|---|---|"]
    return "\n".join(lines + [f"| {what} | {where} | {then} |" for what, where, then in ALWAYS]) + "\n"
