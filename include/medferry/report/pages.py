"""The pages that an operator opens in Airflow: plain HTML without a script, for a desktop and a narrow screen.

`root` is the address below which all of them are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medferry.report.overview import RunDetail, RunSummary
from medferry.report.templates import DISPOSITIONS, TEMPLATES


def _moment(time: str | None) -> str:
    """A time of the manifest as people read it: 2026-11-22 20:00:31 UTC."""
    return f"{time[:10]} {time[11:19]} UTC" if time else ""


TEMPLATES.filters["moment"] = _moment


def runs_page(
    title: str, runs: Sequence[RunSummary], root: str, limit: int, cuts: bool, waiting: Sequence[str] = ()
) -> str:
    """The newest runs of a migration, below the ids of those that wait for their turn."""
    template = TEMPLATES.get_template("runs.html.jinja")
    return template.render(title=title, runs=runs, root=root, limit=limit, cuts=cuts, waiting=waiting)


def run_page(detail: RunDetail, root: str, report: str, others: Sequence[str] = ()) -> str:
    """One run; `report` is the address of its report, `others` are earlier runs of the same DAG run."""
    template = TEMPLATES.get_template("run.html.jinja")
    return template.render(detail=detail, root=root, report=report, others=others, dispositions=DISPOSITIONS)


def message_page(problem: str, remedy: str, places: Mapping[str, str]) -> str:
    """What there is to say where there is nothing to show. `places`: where to go on, by name."""
    return TEMPLATES.get_template("message.html.jinja").render(problem=problem, remedy=remedy, places=places)
