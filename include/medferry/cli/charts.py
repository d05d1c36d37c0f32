"""Charts for clinicians to review: `charts draw`, `charts record`."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medferry.charts.links import patient_entity
from medferry.charts.pages import INDEX
from medferry.charts.sample import Wanted
from medferry.charts.write import write_charts
from medferry.cli.terminal import (
    FREE_TEXT,
    MigrationOption,
    RunArgument,
    chosen_run,
    console,
    environment_of,
    group_with_default,
    report_errors,
)
from medferry.governance.verdict import verdict_of
from medferry.manifest.charts import ReviewOutcome, charts_of
from medferry.source.shown_keys import shown_key
from medferry.workflows.decide import review
from medferry.workflows.given_key import key_given

charts_app = typer.Typer(
    cls=group_with_default("draw"),
    help="Whole charts for clinicians to review. They hold patient data. `draw` is the default.",
)


@charts_app.command("draw")
@report_errors
def draw_charts(
    run_id: RunArgument = None,
    migration: MigrationOption = "clinics",
    patients: Annotated[int, typer.Option(min=0, max=1000, help="Charts drawn at random.")] = 5,
    risk: Annotated[int, typer.Option(min=0, max=1000, help="Charts in which errors hide or harm most.")] = 5,
    key: Annotated[list[str] | None, typer.Option("--key", "-k", help="This patient's source key; repeatable.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random charts: the same seed draws the same.")] = 0,
    folder: Annotated[
        Path, typer.Option(help="Where the pages go, in a folder of the run's; only its owner may read them.")
    ] = Path("build/charts"),
) -> None:
    """Write a page for each chosen patient: legacy rows and Medplum side by side, read again. PATIENT DATA."""
    environment = environment_of(migration)
    run_id = chosen_run(environment, run_id)
    patient = patient_entity(environment.migration.specs)
    wanted = Wanted(tuple(key_given(environment, patient, one) for one in key or ()), patients, risk, seed)
    place = folder / re.sub(r"[^A-Za-z0-9._-]", "_", run_id)
    with console.status("drawing charts"):
        charts = write_charts(environment, run_id, wanted, place)
    table = Table("chart", "key", "why", "items", "with differences")
    for number, chart in enumerate(charts, start=1):
        differing = sum(item.differs for item in chart.items)
        shown = escape(shown_key(patient, chart.key))
        table.add_row(str(number), shown, chart.why, str(len(chart.items)), str(differing))
    console.print(table)
    console.print(f"patient data: {place / INDEX}", soft_wrap=True)


@charts_app.command("record")
@report_errors
def record_chart(
    run_id: str,
    key: Annotated[str, typer.Argument(help="The patient's source key.")],
    reviewer: Annotated[str, typer.Option(help="Who looked.")],
    outcome: Annotated[
        ReviewOutcome, typer.Option(help="What it came to. While the newest review differs, the run fails.")
    ],
    finding: Annotated[str, typer.Option(help=f"What was found; needed when it differs. {FREE_TEXT}")] = "",
    migration: MigrationOption = "clinics",
) -> None:
    """Record the review of a chart that was drawn; earlier ones are kept."""
    environment = environment_of(migration)
    key = key_given(environment, patient_entity(environment.migration.specs), key)
    review(environment, run_id, key, reviewer, outcome, finding)
    with environment.manifest.begin() as connection:
        counts = Counter(chart.outcome or "not yet reviewed" for chart in charts_of(connection, run_id))
        verdict = verdict_of(connection, run_id)
    said = ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))
    console.print(f"charts of {run_id}: {said}; {verdict.text()}", soft_wrap=True)
