"""The reconciliation as a table for a terminal."""

from __future__ import annotations

from collections import Counter

from rich.table import Table

from medferry.governance.verdict import Word
from medferry.manifest.crosswalk import Effect
from medferry.manifest.source_records import DISPOSITIONS
from medferry.mapping.outcomes import Disposition, Reason
from medferry.report.reconciliation import Reconciliation

NUMBERS = ("eligible", *DISPOSITIONS, *Effect)


def unexplained(content: Reconciliation) -> list[str]:
    """Lines about records that became nothing without a word of their mapping: it may have forgotten them."""
    eligible: Counter[str] = Counter()
    for row in content.rows:
        eligible[row.entity] += row.eligible
    return [
        f"{reason.count:,} of {eligible[reason.entity]:,} records of {reason.entity} became nothing, and their mapping "
        f"gave no reason ({reason.reason}). Where that is meant, let it say so: raise ctx.skip(…)."
        for reason in content.reasons
        if reason.reason == Reason.NO_RESOURCE
    ]


def reconciliation_table(content: Reconciliation) -> Table:
    """One line per unit and entity, a total below."""
    dry = " (of a dry run)" if content.dry_run and content.verdict != Word.DRY_RUN else ""
    table = Table(title=f"{content.title}: {content.verdict}{dry}", title_justify="left", show_footer=True)
    table.add_column("unit", footer="all")
    table.add_column("entity", footer=str(len({row.entity for row in content.rows})))
    names = (*NUMBERS, Disposition.PENDING) if content.total(Disposition.PENDING) else NUMBERS
    for name in names:
        head = content.undecided if name == Disposition.PENDING else name
        table.add_column(head, justify="right", footer=f"{content.total(name):,}")
    unit = None
    for row in content.rows:
        if unit not in (None, row.unit):
            table.add_section()
        table.add_row(
            row.unit if row.unit != unit else "",
            row.entity,
            *(f"{getattr(row, name):,}" for name in names),
        )
        unit = row.unit
    return table
