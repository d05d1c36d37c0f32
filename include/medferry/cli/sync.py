"""Both systems in step: `sync <wave>`, `sync status`, `sweep`."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from medferry.cli.terminal import MigrationOption, console, entity_of, environment_of, group_with_default, report_errors
from medferry.errors import MedferryError
from medferry.manifest import sweeps
from medferry.manifest.held_back import HeldBack
from medferry.plan.questions import wave_ids
from medferry.runtime.environment import Environment
from medferry.source.changes.sweep import Swept, Throttle
from medferry.source.shown_keys import shown_name
from medferry.sync.cycle import Cycle
from medferry.sync.in_flight import unread_edits
from medferry.sync.preview import pending_keys
from medferry.sync.reverse_cycle import BackCycle, pending_back
from medferry.sync.status import WaveStatus, status_of
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import synced_wave
from medferry.workflows.sync import Way, checked_wave, planned_way, sync_wave

sync_app = typer.Typer(
    cls=group_with_default("wave"),
    help="Bring what changes in the legacy database to Medplum, and back: `sync WAVE`, `sync status`.",
)
sweep_app = typer.Typer()
WaveArgument = Annotated[str, typer.Argument(help="A wave of the plan; `all` where it has none.")]


@sync_app.command("wave")
@report_errors
def sync(
    wave: WaveArgument,
    migration: MigrationOption = "clinics",
    once: Annotated[bool, typer.Option("--once", help="One cut, also where --tail is given.")] = False,
    tail: Annotated[float, typer.Option(min=0, help="Go on for so many seconds, a cut every second or two.")] = 0.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what the next cycle would do; write nothing.")
    ] = False,
    direction: Annotated[
        Way | None, typer.Option(help="By default forward, and reverse where the plan says so of the wave.")
    ] = None,
) -> None:
    """Take the next cut of the journal and bring its records to Medplum, with what waited.

    Where the plan says `reverse`, what users changed in Medplum is then written back into the legacy database.
    """
    environment = environment_of(migration)
    if dry_run:
        _preview(environment, wave, direction)
    else:
        sync_wave(environment, wave, _tell, 0.0 if once else tail, direction)


def _preview(environment: Environment, wave: str, direction: Way | None) -> None:
    synced = synced_wave(environment, wave)
    way = direction or planned_way(synced)
    if way is not Way.BACK:
        found = pending_keys(synced)
        console.print(f"The next cut of {wave} takes {sum(found.values())} record(s); nothing was written.")
        for entity, number in found.items():
            console.print(f"  {entity}: {number}")
    if way is not Way.FORTH:
        back = pending_back(synced)
        rows = f"{back.written.total()} row(s) would be written into the legacy database"
        new = f"{back.born.total()} inserted for what was created in Medplum"
        console.print(f"{rows}, {new}, {back.removed.total()} removed; nothing was.", soft_wrap=True)
        _tell_back(back)


def _tell_back(done: BackCycle) -> None:
    """Columns and places, never values."""
    for entity, columns in done.columns.items():
        told = ", ".join(f"{column} {number}" for column, number in sorted(columns.items()))
        console.print(f"  {entity}: {done.written[entity]} row(s): {told}", soft_wrap=True)
    for entity, columns in done.inserts.items():
        told = ", ".join(f"{column} {number}" for column, number in sorted(columns.items()))
        console.print(f"  {entity}, new: {told}", soft_wrap=True)
    for held in done.held:
        _tell_held(held)


def _tell(done: Cycle | BackCycle) -> None:
    if isinstance(done, BackCycle):
        if done.written or done.removed or done.held or done.born:
            removed = f", removed: {done.removed.total()}" if done.removed else ""
            born = f", new: {done.born.total()}" if done.born else ""
            console.print(f"Written back: {done.written.total()} row(s){removed}{born}.")
            _tell_back(done)
        return
    for run_id, counts in done.runs.items():
        told = ", ".join(f"{number} {disposition}" for disposition, number in sorted(counts.items()))
        console.print(f"{run_id}: {told}", soft_wrap=True)


@sync_app.command("status")
@report_errors
def sync_status(
    migration: MigrationOption = "clinics",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Tell of each wave how far it is in step, and who writes to the legacy database."""
    environment = environment_of(migration)
    waves = [synced_wave(environment, wave, loaded=False) for wave in wave_ids(environment.migration.plan)]
    found = [status_of(wave) for wave in waves]
    if as_json:
        typer.echo(json.dumps([status.as_json() for status in found], indent=2))
        return
    for wave, status in zip(waves, found, strict=True):
        if not wave.is_begun:
            console.print(f"Wave {wave.id}: not loaded yet.")
            continue
        console.print(_table(status))
        _notes(status)
        _back_notes(status)
        if status.feeds:
            _tell_unread(environment, status.wave)


def _table(status: WaveStatus) -> Table:
    table = Table(title=f"Wave {status.wave}", title_justify="left")
    for name in ("entity", "pending", "oldest s", "waiting", "lag p50 s", "lag p99 s", "swept", "miss rate"):
        table.add_column(name, justify="left" if name in ("entity", "swept") else "right")
    for each in status.entities:
        lags = ("" if lag is None else f"{lag:,.1f}" for lag in (each.lag_p50, each.lag_p99))
        rate = "" if each.miss_rate is None else f"{each.miss_rate:.4%}"
        oldest = f"{each.oldest:,}" if each.pending else ""
        table.add_row(each.entity, f"{each.pending:,}", oldest, f"{each.waiting:,}", *lags, each.swept_at, rate)
    return table


def _notes(status: WaveStatus) -> None:
    if status.fault:
        console.print(f"[bold red]Not in step[/]: {status.fault}", soft_wrap=True)
    for aside in status.set_aside:
        told = f"{aside.entity} cannot be read, {aside.changes:,} change(s) wait since {aside.since}: {aside.problem}"
        console.print(f"Set aside: {told}", soft_wrap=True, markup=False)
    beat, oldest = _seconds(status.heartbeat_seconds), _seconds(status.oldest_transaction_seconds)
    cut = f"{status.cut_at} ({status.state})" if status.state else "never"
    console.print(f"Last cut: {cut}. Heartbeat: {beat}. Oldest open transaction: {oldest}.", soft_wrap=True)
    if status.conflicts:
        console.print(f"[bold]{status.conflicts:,} open conflict(s)[/]: medferry conflicts list", soft_wrap=True)
    for writer in status.writers[:20]:
        who = " from ".join(name for name in (writer.who, writer.application) if name) or "somebody"
        console.print(f"  {who}: {writer.changes:,} changes of {writer.entity}", soft_wrap=True, markup=False)


def _back_notes(status: WaveStatus) -> None:
    for feed in status.feeds:
        told = f"changes read {feed.looked_at or 'never'}, all looked for {feed.swept_at or 'never'}"
        lag = "" if feed.lag_p50 is None else f", lag p50 {feed.lag_p50:,.1f} s, p99 {feed.lag_p99:,.1f} s"
        console.print(f"Back from Medplum, {feed.resource_type}: {told}{lag}.", soft_wrap=True)
    if status.held_back:
        console.print(f"[bold]Held back[/]: {len(status.held_back):,} place(s) the legacy database does not have.")
    for held in status.held_back[:20]:
        _tell_held(held)


def _tell_unread(environment: Environment, wave: str) -> None:
    """What the way back has not read yet, by asking Medplum."""
    try:
        with environment.medplum() as client:
            unread = unread_edits(synced_wave(environment, wave, loaded=False), client)
    except MedferryError as error:
        console.print(f"Pending back: not known. {error}", soft_wrap=True, markup=False)
        return
    told = ", ".join(f"{entity} {len(keys):,}" for entity, keys in sorted(unread.items()))
    console.print(f"Pending back: {told or 'nothing'}.", soft_wrap=True)


def _tell_held(held: HeldBack) -> None:
    where = " at ".join(part for part in (held.slot, held.path) if part)
    parts = (shown_name(held.entity, held.key), where, f"{held.reason}:", held.detail, held.place)
    told = " ".join(part for part in parts if part)
    console.print(f"  {told}", soft_wrap=True, markup=False)


def _seconds(age: int | None) -> str:
    return "none seen" if age is None else f"{age:,} s ago"


@sweep_app.command()
@report_errors
def sweep(
    wave: WaveArgument,
    migration: MigrationOption = "clinics",
    entity: Annotated[list[str] | None, typer.Option(help="Only this entity; repeatable.")] = None,
    rows_per_second: Annotated[float, typer.Option(min=1, help="Rows a second at most.")] = 2_000.0,
    latency: Annotated[
        float, typer.Option(min=0.01, help="Seconds a page of 1,000 rows may take before the sweep gives way.")
    ] = 1.0,
    stop: Annotated[bool, typer.Option("--stop", help="Tell the sweep at work to end after its page.")] = False,
) -> None:
    """Compare all legacy rows of a wave with what was applied, and apply what the journal has missed.

    Complete, it also says from where in the journal `sync` goes on. The legacy system's users come first.
    """
    environment = environment_of(migration)
    if stop:
        with environment.manifest.begin() as connection:
            number = sweeps.stop(connection, environment.migration.name, wave)
        console.print(f"Told {number} sweep(s) to stop.")
        return
    for name in entity or ():
        entity_of(environment.migration, name)
    found = sweep_wave(checked_wave(environment, wave), Throttle(rows_per_second, latency), entity or (), _swept)
    for name, error in found.refused.items():
        console.print(f"{name} was not swept: {error}", soft_wrap=True, markup=False)
    applied = ", ".join(f"{number} {disposition}" for disposition, number in sorted(found.applied.items()))
    console.print(f"Applied: {applied or 'nothing was missed'}.")
    if not found.goes_on:
        console.print(f"`sync` needs a complete sweep of all entities: run `medferry sweep {wave}` to its end.")
    for error in found.refused.values():
        raise error


def _swept(found: Swept) -> None:
    end = "" if found.complete else " (stopped)"
    console.print(f"{found.entity}: {found.rows:,} rows, {len(found.missed):,} missed, {found.miss_rate:.4%}{end}")
