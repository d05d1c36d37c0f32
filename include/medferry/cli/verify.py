"""Compare both systems again: `verify`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import typer

from medferry.cli.options import with_options
from medferry.cli.terminal import (
    MigrationOption,
    ReportFolderOption,
    RunArgument,
    console,
    environment_of,
    newest_run,
    report_errors,
)
from medferry.governance.verdict import verdict_of
from medferry.report.checks_table import checks_table
from medferry.report.write import write_report
from medferry.verification.run import verify_run
from medferry.verification.scope import VerifyOptions
from medferry.workflows.finish import settle

verify_app = typer.Typer()


@verify_app.command()
@report_errors
@with_options(VerifyOptions, flags={"force": ("--force", "--anew")})
def verify(
    run_id: RunArgument = None,
    migration: MigrationOption = "clinics",
    *,
    options: VerifyOptions,
    report_folder: ReportFolderOption = Path("build/reports"),
) -> None:
    """Compare a run with the legacy database and Medplum again; writes to neither. The run gets its status by it."""
    environment = environment_of(migration)
    run_id = run_id or newest_run(environment)
    compared: Counter[str] = Counter()
    with console.status("verifying") as status:

        def tell(entity: str, resources: int) -> None:
            compared[entity] += resources
            status.update(f"verifying {entity}: {compared[entity]:,} resources")

        results = verify_run(
            environment, run_id, lambda entity: status.update(f"verifying {entity}"), options, options.force, tell
        )
    console.print(checks_table(results, run_id))
    with environment.manifest.begin() as connection:
        settle(connection, run_id)
        verdict = verdict_of(connection, run_id)
    paths = write_report(environment, run_id, report_folder / run_id)
    console.print(f"{verdict.text()}\nreport: {paths.html}", soft_wrap=True)
    verdict.require(run_id)
