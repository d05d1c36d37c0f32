"""The checks of a run as a table for a terminal: what is not equal line by line, the rest a line for each check.

The worst comes first; what compared nothing has lines of its own and is never shown as equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.markup import escape
from rich.table import Table

from medferry.governance.register import family_of, is_fault
from medferry.manifest.checks import CheckResult, CheckStatus
from medferry.report.shown import shown_check


def checks_table(results: Sequence[CheckResult], run_id: str) -> Table:
    """One line for each result that is not equal, then one for each name of those that are."""
    table = Table(title=f"checks of {run_id}", title_justify="left")
    for name in ("check", "entity", "status", "compared", "different", "unchecked", "examples"):
        number = name in ("compared", "different", "unchecked")
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    order = list(CheckStatus)
    results = [shown_check(one) for one in results]
    for one in sorted(filter(is_fault, results), key=lambda one: -order.index(one.status)):
        examples = escape("; ".join(one.examples[:3]) or one.note)
        numbers = (f"{one.compared:,}", f"{one.different:,}", f"{one.unchecked:,}")
        table.add_row(one.name, one.entity, f"[red]{_words(one.status)}[/]", *numbers, examples)
    for status, colour in (
        (CheckStatus.IN_FLIGHT, "yellow"),
        (CheckStatus.NOTHING, "yellow"),
        (CheckStatus.EQUAL, "green"),
    ):
        table.add_section()
        same = [result for result in results if result.status == status and not is_fault(result)]
        for family, some in groupby(sorted(same, key=_family), key=_family):
            group = list(some)
            entities = group[0].entity if len({one.entity for one in group}) == 1 else f"{len(group)} results"
            compared = f"{sum(one.compared for one in group):,}"
            unjudged = f"{sum(one.unchecked for one in group):,}"
            table.add_row(family, entities, f"[{colour}]{_words(status)}[/]", compared, "0", unjudged, "")
    return table


def _family(result: CheckResult) -> str:
    return family_of(result.name)


def _words(status: CheckStatus) -> str:
    return status.replace("_", " ")
