"""The checks of a run as a table for a terminal: what is not equal line by line, the rest a line for each check."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.markup import escape
from rich.table import Table

from medferry.governance.register import family_of
from medferry.manifest.checks import EQUAL, CheckResult


def checks_table(results: Sequence[CheckResult], run_id: str) -> Table:
    """One line for each result that is not equal, then one for each name of those that are."""
    table = Table(title=f"checks of {run_id}", title_justify="left")
    for name in ("check", "entity", "status", "compared", "different", "unchecked", "examples"):
        number = name in ("compared", "different", "unchecked")
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for one in (result for result in results if result.status != EQUAL):
        examples = escape("; ".join(one.examples[:3]) or one.note)
        numbers = (f"{one.compared:,}", f"{one.different:,}", f"{one.unchecked:,}")
        table.add_row(one.name, one.entity, f"[red]{one.status}[/]", *numbers, examples)
    table.add_section()
    equal = sorted((result for result in results if result.status == EQUAL), key=lambda one: family_of(one.name))
    for family, some in groupby(equal, key=lambda one: family_of(one.name)):
        group = list(some)
        entities = group[0].entity if len({one.entity for one in group}) == 1 else f"{len(group)} results"
        table.add_row(family, entities, "[green]equal[/]", f"{sum(one.compared for one in group):,}", "0", "0", "")
    return table
