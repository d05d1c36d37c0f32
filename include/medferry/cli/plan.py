"""Look at a plan: `plan check`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain

import typer
from rich.markup import escape
from rich.table import Table

from medferry.cli.terminal import MigrationOption, console, environment_of, report_errors
from medferry.definition.doubts import doubts_of
from medferry.definition.foreign_keys import check_references
from medferry.definition.grants import reader_grants_told
from medferry.definition.inverses import faults_in_legacy
from medferry.definition.migration import Migration
from medferry.definition.watched_tables import check_captured, check_gated
from medferry.errors import DefinitionError, gathered
from medferry.governance.strategy import require_small_or_accepted
from medferry.plan.model import Strategy
from medferry.plan.questions import open_questions, wave_ids
from medferry.runtime.environment import Environment
from medferry.runtime.known_keys import check_planned_keys
from medferry.runtime.protection import protection_of
from medferry.source.changes.engines import journal_of
from medferry.source.changes.expressions import check_expressions
from medferry.source.changes.rules import CaptureMethod
from medferry.source.columns import check_columns
from medferry.source.count import count_by_unit
from medferry.source.database import snapshot
from medferry.source.gate.engines import gate_of
from medferry.verification.written import try_checks

plan_app = typer.Typer(no_args_is_help=True, help="Look at a migration's plan.")


@plan_app.command("check")
@report_errors
def plan_check(migration: MigrationOption = "clinics") -> None:
    """Check plan, entities, mappings, checks and code tables; with a source configured, its units and keys too."""
    environment = environment_of(migration)
    loaded = environment.migration
    if loaded.capture is None and loaded.plan.strategy is Strategy.PARALLEL:
        remedy = "Write capture.yaml: docs/runbooks/capture.md."
        raise DefinitionError(loaded.folder, None, "both systems are to be kept in step, with no capture.", remedy)
    table = Table(title=f"{loaded.plan.title} ({loaded.name}, {loaded.plan.strategy})", title_justify="left")
    for name in ("level", "entity", "produces", "refers to", "mapping", "way back", "owner", "rows"):
        table.add_column(name, justify="right" if name == "rows" else "left")
    counts, doubts = _looked_at(environment)
    for level, entities in enumerate(loaded.levels):
        for name in entities:
            spec = loaded.specs[name]
            produced, referred = ", ".join(spec.produces.values()), ", ".join(spec.references)
            version = f"{spec.version} {spec.status}"
            back = ", ".join(table.name for table in loaded.inverses[name].tables) if name in loaded.inverses else ""
            table.add_row(
                str(level),
                name,
                produced,
                referred,
                version,
                back,
                spec.owner,
                f"{counts[name]:,}" if name in counts else "",
            )
    console.print(table)
    for wave in loaded.plan.waves:
        console.print(f"wave [bold]{wave.id}[/] {wave.title}: {', '.join(loaded.plan.units_of_wave(wave.id))}")
    for unit in loaded.plan.units_in_no_wave:
        console.print(f"[yellow]unit {unit} is in no wave: by waves it never moves[/]")
    for name in sorted(loaded.plan.entity_leftovers.keys() - loaded.entities.keys()):
        console.print(f"[yellow]entity_leftovers names {name}: the migration has no such entity (any more)[/]")
    _show_open(loaded)
    for told in (*doubts_of(loaded), *doubts):
        console.print(f"[yellow]{escape(told)}[/]", soft_wrap=True)
    if loaded.capture:
        by_method = {method: loaded.capture.by_method(method) for method in CaptureMethod}
        told = "; ".join(f"by {method}: {', '.join(names)}" for method, names in by_method.items() if names)
        console.print(f"changes are found {told}")
    _show_grants(environment)
    protection = protection_of(environment.settings)
    colour = "green" if environment.settings.keys else "yellow"
    console.print(f"rows and Bundles are staged [{colour}]{protection}[/]", soft_wrap=True)
    if not counts:
        console.print("The source was not looked at: set MEDFERRY_SOURCE_URL to check its units and keys as well.")
    require_small_or_accepted(loaded.plan, sum(counts.values()) if counts else None)


def _show_grants(environment: Environment) -> None:
    """What the account that reads the legacy database needs, where one is named."""
    if not environment.settings.source_url:
        return
    if granted := reader_grants_told(environment.migration, environment.source.dialect.name):
        console.print("the account that reads the legacy database needs this, and nothing that writes:")
        for line in granted:
            console.print(f"  {escape(line)};", soft_wrap=True, highlight=False)


def _show_open(migration: Migration) -> None:
    """The planning questions that are open, each told once."""
    found_in = [open_questions(migration.plan, wave, migration.entities) for wave in wave_ids(migration.plan)]
    for found in dict.fromkeys(chain.from_iterable(found_in)):
        told = f"open, and no cutover before it is answered: {found.question}: {found.problem}. {found.remedy}"
        console.print(f"[yellow]{escape(told)}[/]", soft_wrap=True)


def _looked_at(environment: Environment) -> tuple[dict[str, int], list[str]]:
    """The rows of each entity, and what is to be told of their references; none without a legacy database."""
    if not environment.settings.source_url:
        return {}, []
    entities, counts, doubts = [*environment.migration.entities], dict[str, int](), list[str]()

    def count(name: str) -> None:
        counts[name] = _count(environment, name)

    def hold_references() -> None:
        with snapshot(environment.source) as connection:
            doubts.extend(check_references(connection, environment.migration, entities))

    def hold_capture() -> None:
        if rules := environment.migration.capture:
            journal = journal_of(environment.source, rules.watched())
            with snapshot(environment.source) as connection:
                for error in journal.unlogged(connection, journal.gone(connection)).values():
                    raise error
                check_captured(connection, environment.migration, journal)
                check_expressions(connection, journal.expressions(connection))

    def hold_gate() -> None:
        if environment.migration.gate:
            with snapshot(environment.source) as connection:
                gate = gate_of(environment.source, [], environment.migration.gate.gated())
                check_gated(connection, environment.migration, gate)
                check_expressions(connection, gate.expressions(connection))

    attempts: list[Callable[[], None]] = [partial(count, name) for name in entities]
    gathered([*attempts, hold_references, hold_capture, hold_gate])
    check_planned_keys(environment)
    return counts, doubts


def _count(environment: Environment, name: str) -> int:
    """The rows of an entity that the legacy database can give as its files ask for them.

    In a snapshot of its own: what is refused of another entity ends a transaction. Raises MedferryError.
    """
    migration = environment.migration
    entity = migration.entities[name]
    with snapshot(environment.source) as connection:
        check_columns(connection, entity)
        if inverse := migration.inverses.get(name):
            for problem, remedy in faults_in_legacy(connection, entity, inverse):
                path = migration.folder / "mappings" / f"{name}.py"
                raise DefinitionError(path, None, f"its inverse: {problem}", remedy)
        if checks := migration.checks.entities.get(name):
            try_checks(connection, migration.folder / "checks" / f"{name}.yaml", checks)
        return sum(count_by_unit(connection, entity, migration.plan.unit_ids).values())
