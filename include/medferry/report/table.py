"""The reconciliation as a table for a terminal."""

from __future__ import annotations

from rich.table import Table

from medferry.manifest.crosswalk import Effect
from medferry.manifest.source_records import DISPOSITIONS
from medferry.mapping.outcomes import Disposition
from medferry.report.reconciliation import Reconciliation

NUMBERS = ("eligible", *DISPOSITIONS, *Effect)


def reconciliation_table(content: Reconciliation) -> Table:
    """One line per unit and entity, a total below."""
    table = Table(title=f"{content.title}: {content.verdict}", title_justify="left", show_footer=True)
    table.add_column("unit", footer="all")
    table.add_column("entity", footer=str(len({row.entity for row in content.rows})))
    names = (*NUMBERS, Disposition.PENDING) if content.total(Disposition.PENDING) else NUMBERS
    for name in names:
        table.add_column(name, justify="right", footer=f"{content.total(name):,}")
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
