"""Runs and their slices: what was asked for, how far it got."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from medferry.errors import LeaseLost, MedferryError, TransientError
from medferry.manifest import audit
from medferry.manifest.audit import Act
from medferry.manifest.clock import clock, read_clock
from medferry.manifest.database import later
from medferry.manifest.kinds import RunKind
from medferry.manifest.tables import lease, run, slice_
from medferry.source.slices import SliceSpec


class UnknownRun(MedferryError):
    """The manifest has no run (or slice) of that id."""


class RunExists(TransientError):
    """Another process has begun a run of that id."""


class RunStatus(StrEnum):
    """How far a run has got. What is not RUNNING has ended, and may go on."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    """Verified, and it may be relied on."""
    FAILED = "failed"
    ABORTED = "aborted"
    """By an operator."""
    APPLIED = "applied"
    """A cut of the synchronisation: every key is settled. What is true then is verified by subject, not by run."""


class Control(StrEnum):
    """What an operator has told a run at work; its workers obey."""

    NONE = ""
    PAUSE = "pause"
    ABORT = "abort"


class SliceStage(StrEnum):
    """How far a slice has got, in this order."""

    PLANNED = "planned"
    EXTRACTED = "extracted"
    TRANSFORMED = "transformed"
    LOADED = "loaded"  # of a dry run: its references are judged


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as the manifest knows it."""

    id: str
    migration: str
    kind: str
    status: str
    units: list[str]
    entities: list[str]
    options: dict[str, Any]
    fingerprint: str
    started_at: str
    finished_at: str | None
    control: str = Control.NONE
    replays: str = ""


@dataclass(frozen=True, slots=True)
class SliceRow:
    """A slice as the manifest knows it."""

    run_id: str
    id: str
    entity: str
    level: int
    units: list[str]
    low: Any
    high: Any
    keys: list[str] | None
    eligible: int
    stage: str
    bundles: int
    fence: int


IS_CUT = run.c.kind.startswith(f"{RunKind.SYNC}_", autoescape=True)
"""Whether a run is a cut of the synchronisation."""


def find_run(connection: sa.Connection, run_id: str) -> RunRow | None:
    row = connection.execute(sa.select(run).where(run.c.id == run_id)).one_or_none()
    return RunRow(**row._mapping) if row else None


def get_run(connection: sa.Connection, run_id: str) -> RunRow:
    """The run of that id. Raises UnknownRun."""
    if (found := find_run(connection, run_id)) is None:
        remedy = "List the runs with `medferry runs`; if another process made it, both need one MEDFERRY_MANIFEST_URL."
        raise UnknownRun(f"The manifest has no run {run_id}.", remedy)
    return found


_REAL = run.c.options["dry_run"].as_boolean().is_not(True)


def list_runs(connection: sa.Connection, migration: str, limit: int, cuts: bool = True) -> list[RunRow]:
    """The newest runs of a migration, the newest first; at most `limit`. `cuts`: those of the synchronisation too."""
    newest = (run.c.started_at.desc(), run.c.id.desc())
    of = [run.c.migration == migration, *([] if cuts else [sa.not_(IS_CUT)])]
    statement = sa.select(run).where(*of).order_by(*newest).limit(limit)
    return [RunRow(**row._mapping) for row in connection.execute(statement)]


def runs_of_dag_run(connection: sa.Connection, migration: str, dag_run: str) -> list[RunRow]:
    """The runs that a DAG run (<DAG id>.<run id>) has made, the newest first: a period that is begun anew has more."""
    same = run.c.id.startswith(dag_run, autoescape=True)
    statement = sa.select(run).where(run.c.migration == migration, same).order_by(run.c.started_at.desc())
    found = [RunRow(**row._mapping) for row in connection.execute(statement)]
    return [one for one in found if dag_run_of(one.id, dag_run) == ""]


def dag_run_of(run_id: str, name: str) -> str | None:
    """What stands before `name`, the id of a DAG run, in the id of a run that it has made; None: it has not made it.

    What begins anew has a number behind it: <DAG id>.<DAG run's id>.2
    """
    before, found, after = run_id.rpartition(name)
    return before if found and (not after or (after[0] == "." and after[1:].isdigit())) else None


def newest_run(connection: sa.Connection, migration: str) -> RunRow:
    """The migration's newest run that was to write: a dry run, and one of the synchronisation's cuts, of which there is
    one each second or two, are only meant where they are named. Raises UnknownRun."""
    statement = sa.select(run).where(run.c.migration == migration, _REAL, sa.not_(IS_CUT))
    for row in connection.execute(statement.order_by(run.c.started_at.desc(), run.c.id.desc()).limit(1)):
        return RunRow(**row._mapping)
    raise UnknownRun(
        "There is no run yet that was to write.",
        "Start one; name a dry run or a cut by its id: `medferry runs --cuts`.",
    )


def finished_run(connection: sa.Connection, migration: str, run_id: str) -> RunRow | None:
    """The run of that id, if the migration has it and it is over; else None.

    A run of which a worker may still be at work (it has a lease) is not over, whatever its status.
    """
    at_work = sa.select(lease.c.run_id).where(lease.c.expires_at > clock(connection))
    over = (run.c.status != RunStatus.RUNNING, run.c.id.not_in(at_work))
    statement = sa.select(run).where(run.c.migration == migration, run.c.id == run_id, *over)
    row = connection.execute(statement).one_or_none()
    return RunRow(**row._mapping) if row else None


def first_later_run(connection: sa.Connection, of: RunRow) -> str | None:
    """The id of the first run that was started after `of` to write to a unit and an entity of it, if there is one."""
    statement = (
        sa.select(run.c.id, run.c.units, run.c.entities)
        .where(run.c.migration == of.migration, run.c.started_at > of.started_at, _REAL)
        .order_by(run.c.started_at, run.c.id)
    )
    units, entities = set(of.units), set(of.entities)
    for row in connection.execute(statement):
        if not units.isdisjoint(row.units) and not entities.isdisjoint(row.entities):
            return str(row.id)
    return None


def time_of_new_run(connection: sa.Connection, migration: str) -> str:
    """The present, or a millisecond after the start of the migration's newest run: whatever a host's clock says.

    To be asked for in the transaction that has taken the new run's leases and writes it.
    """
    newest = connection.scalar(sa.select(sa.func.max(run.c.started_at)).where(run.c.migration == migration)) or ""
    present = read_clock(connection)
    return present if newest < present else later(newest)


def add_run(connection: sa.Connection, row: RunRow, slices: Iterable[tuple[int, SliceSpec]]) -> None:
    """Record a new run with its slices (level, slice), in one transaction of the caller. Raises RunExists."""
    try:
        connection.execute(sa.insert(run), [{name: getattr(row, name) for name in RunRow.__slots__}])
        audit.append(connection, Act.BEGAN, f"run/{row.id}")
    except sa.exc.IntegrityError:
        raise RunExists(f"Run {row.id} has been begun by another process.", "Start it again: it goes on.") from None
    rows = [
        {
            "run_id": row.id,
            "id": f"{spec.entity}-{number:05d}",
            "entity": spec.entity,
            "level": level,
            "units": list(spec.units),
            "low": spec.low,
            "high": spec.high,
            "keys": None if spec.keys is None else list(spec.keys),
            "eligible": spec.rows,
            "stage": SliceStage.PLANNED,
        }
        for number, (level, spec) in enumerate(slices)
    ]
    if rows:
        connection.execute(sa.insert(slice_), rows)


def finish_run(connection: sa.Connection, run_id: str, status: RunStatus) -> None:
    connection.execute(sa.update(run).where(run.c.id == run_id).values(status=status, finished_at=clock(connection)))


def set_control(connection: sa.Connection, run_id: str, control: Control) -> None:
    connection.execute(sa.update(run).where(run.c.id == run_id).values(control=control))


def reopen_run(connection: sa.Connection, run_id: str) -> None:
    """A finished run goes on (a cleared task, a resumed command); its pause or abort of before is over."""
    control = sa.case((run.c.finished_at.is_(None), run.c.control), else_=Control.NONE)
    values = {"status": RunStatus.RUNNING, "finished_at": None, "control": control}
    connection.execute(sa.update(run).where(run.c.id == run_id).values(values))


def running_of_kind(connection: sa.Connection, migration: str, kind: str) -> list[str]:
    """The ids of a migration's runs of a kind that have not ended: at work, or killed."""
    open_ = (run.c.migration == migration, run.c.kind == kind, run.c.finished_at.is_(None))
    return list(connection.scalars(sa.select(run.c.id).where(*open_)))


def slices_of(connection: sa.Connection, run_id: str) -> list[SliceRow]:
    """The run's slices in load order."""
    statement = sa.select(slice_).where(slice_.c.run_id == run_id).order_by(slice_.c.level, slice_.c.id)
    return [SliceRow(**row._mapping) for row in connection.execute(statement)]


def get_slice(connection: sa.Connection, run_id: str, slice_id: str) -> SliceRow:
    """One slice. Raises UnknownRun."""
    statement = sa.select(slice_).where(slice_.c.run_id == run_id, slice_.c.id == slice_id)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise UnknownRun(f"Run {run_id} has no slice {slice_id}.", "List its slices with `medferry report`.")
    return SliceRow(**row._mapping)


def set_stage(
    connection: sa.Connection, run_id: str, slice_id: str, stage: SliceStage, bundles: int | None = None
) -> None:
    values: dict[str, Any] = {"stage": stage} | ({} if bundles is None else {"bundles": bundles})
    connection.execute(sa.update(slice_).where(slice_.c.run_id == run_id, slice_.c.id == slice_id).values(**values))


def set_extracted(connection: sa.Connection, run_id: str, slice_id: str, eligible: int) -> None:
    """Note how many rows the source held."""
    of_slice = sa.and_(slice_.c.run_id == run_id, slice_.c.id == slice_id)
    connection.execute(sa.update(slice_).where(of_slice).values(eligible=eligible))


def take_slice(connection: sa.Connection, run_id: str, slice_id: str) -> int:
    """Become the slice's only worker: a fencing token larger than any before."""
    mine = sa.and_(slice_.c.run_id == run_id, slice_.c.id == slice_id)
    connection.execute(sa.update(slice_).where(mine).values(fence=slice_.c.fence + 1))
    return int(connection.execute(sa.select(slice_.c.fence).where(mine)).scalar_one())


def check_slice(connection: sa.Connection, mine: SliceRow) -> None:
    """For ``Hold``: raises LeaseLost when another worker took the slice, or got further, since `mine` was read."""
    still = sa.and_(slice_.c.run_id == mine.run_id, slice_.c.id == mine.id)
    unchanged = sa.and_(still, slice_.c.fence == mine.fence, slice_.c.stage == mine.stage)
    # An update, not a select, so that PostgreSQL holds the row until this transaction ends.
    if connection.execute(sa.update(slice_).where(unchanged).values(fence=mine.fence)).rowcount != 1:
        raise LeaseLost(
            f"Another worker took slice {mine.id} of run {mine.run_id}, or got further with it.",
            "Nothing to do: the other worker goes on with it.",
        )


def reached(row: SliceRow, stage: SliceStage) -> bool:
    """True when the slice has got to `stage` or beyond."""
    order = list(SliceStage)
    return order.index(SliceStage(row.stage)) >= order.index(stage)
