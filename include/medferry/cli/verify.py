"""Compare both systems again: `verify`, a run, or a subject as it is now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from medferry.cli.flags import with_options
from medferry.cli.terminal import (
    MigrationOption,
    ReportFolderOption,
    chosen_run,
    console,
    environment_of,
    report_errors,
)
from medferry.errors import MedferryError
from medferry.governance.verdict import verdict_of
from medferry.manifest.checks import verification_of
from medferry.manifest.coverage import coverage_of
from medferry.manifest.subject import Subject
from medferry.report.checks_table import checks_table
from medferry.report.coverage import coverage_text
from medferry.report.write import write_report
from medferry.runtime.environment import Environment
from medferry.verification.options import VerifyOptions
from medferry.verification.run import EntityProgress, verify_run
from medferry.verification.stored import ResourceProgress
from medferry.workflows.finish import settle
from medferry.workflows.given_key import key_given
from medferry.workflows.verify_in_step import verify_present

verify_app = typer.Typer()

_DRY = ": nothing was written, so nothing of Medplum was compared; the accounting alone was checked"


@verify_app.command()
@report_errors
@with_options(VerifyOptions, flags={"force": ("--force", "--anew")})
def verify(
    run_id: Annotated[str | None, typer.Argument(help="Run, by its id or its DAG run's in Airflow.")] = None,
    migration: MigrationOption = "clinics",
    unit: Annotated[list[str] | None, typer.Option(help="Without a run: only this unit; repeatable.")] = None,
    entity: Annotated[list[str] | None, typer.Option(help="Without a run: only this entity; repeatable.")] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="Without a run: only this source key of one --entity; repeatable.")
    ] = None,
    *,
    options: VerifyOptions,
    report_folder: ReportFolderOption = Path("build/reports"),
) -> None:
    """Compare a run with the legacy database and Medplum again; writes to neither. The run gets its status by it.

    Without a run: everything that has been loaded, or the units, entities and keys that are named, as it is now.
    """
    environment = environment_of(migration)
    if run_id is None:
        keys = [key_given(environment, entity[0], one) for one in key or ()] if entity else key or []
        _verify_subject(environment, _subject(unit or [], entity or [], keys), options)
    elif unit or entity or key:
        raise MedferryError("A run has its own units, entities and keys.", "Name a run, or a subject.")
    else:
        _verify_run(environment, chosen_run(environment, run_id), options, report_folder)


def _subject(units: list[str], entities: list[str], keys: list[str]) -> Subject:
    if keys and len(entities) != 1:
        raise MedferryError("Source keys are of one entity.", "Name it with --entity.")
    return Subject(tuple(units), tuple(entities), {entities[0]: tuple(keys)} if keys else {})


def _verify_run(environment: Environment, run_id: str, options: VerifyOptions, report_folder: Path) -> None:
    with _progress() as (begin, compared):
        results = verify_run(environment, run_id, begin, options, options.force, compared)
    console.print(checks_table(results, run_id))
    with environment.manifest.begin() as connection:
        done = verification_of(connection, run_id)
        console.print(coverage_text(coverage_of(connection, done.id) if done else []), soft_wrap=True)
        settle(connection, run_id)
        verdict = verdict_of(connection, run_id)
    paths = write_report(environment, run_id, report_folder / run_id)
    console.print(f"{verdict.text()}{_DRY if verdict.dry_run else ''}\nreport: {paths.html}", soft_wrap=True)
    verdict.require(run_id)


def _verify_subject(environment: Environment, subject: Subject, options: VerifyOptions) -> None:
    with _progress() as (begin, compared):
        found = verify_present(environment, subject, begin, options, compared)
    console.print(checks_table(found.verdict.results, f"verification {found.id}"))
    with environment.manifest.begin() as connection:
        console.print(coverage_text(coverage_of(connection, found.id)), soft_wrap=True)
    console.print(f"verification {found.id}: {found.verdict.text()}", soft_wrap=True)
    found.verdict.require_passed(f"--verification {found.id}")


@contextmanager
def _progress() -> Iterator[tuple[EntityProgress, ResourceProgress]]:
    """Shows the entity that is verified, and how many of its resources have been compared."""
    counts: Counter[str] = Counter()
    with console.status("verifying") as status:

        def compared(entity: str, resources: int) -> None:
            counts[entity] += resources
            status.update(f"verifying {entity}: {counts[entity]:,} resources")

        yield lambda entity, _: status.update(f"verifying {entity}"), compared
