"""What was removed of patient data: by whom, why, how much; and the runs that a staged folder is of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from medferry.manifest import audit
from medferry.manifest.audit import Act
from medferry.manifest.clock import clock, read_clock
from medferry.manifest.runs import RunRow
from medferry.manifest.tables import run
from medferry.manifest.tables_of_place import purge


class PurgeReason(StrEnum):
    """Why nothing needs a folder's files any more."""

    PROVEN = "the run is proven"
    SUPERSEDED = "a later run has begun in its scope"
    REHEARSED = "it was a dry run"
    NO_RUN = "no run of the manifest has staged it"
    ABANDONED = "a person gave the run up"
    CHARTS = "charts, drawn long enough ago"
    CONFLICTS = "conflicts that are over"
    NO_CONFLICT = "no conflict of the manifest has it: a kill came before"
    RETIRED = "its wave is taken down"


@dataclass(frozen=True, slots=True)
class PurgeRow:
    """One folder's removal; `done_at` is None where it came to no end, and the next purge takes the rest."""

    folder: str
    reason: str
    files: int
    bytes: int
    person: str
    begun_at: str
    done_at: str | None


def begin_purge(
    connection: sa.Connection, migration: str, folder: str, reason: PurgeReason, sizes: tuple[int, int], person: str
) -> int:
    """Write down what is about to be removed (`sizes`: files, bytes); returns the line's number."""
    files, size = sizes
    values = {"migration": migration, "folder": folder, "reason": reason, "files": files, "bytes": size}
    statement = sa.insert(purge).values(**values, person=person, begun_at=clock(connection)).returning(purge.c.id)
    number = int(connection.execute(statement).scalar_one())
    audit.append(connection, Act.PURGED, f"purge/{number}")
    return number


def end_purge(connection: sa.Connection, number: int) -> None:
    """It is removed."""
    connection.execute(sa.update(purge).where(purge.c.id == number).values(done_at=clock(connection)))


def purges_of(connection: sa.Connection, migration: str, limit: int) -> list[PurgeRow]:
    """The newest, at most `limit`, the newest first."""
    columns = [purge.c[name] for name in PurgeRow.__slots__]
    statement = sa.select(*columns).where(purge.c.migration == migration).order_by(purge.c.id.desc()).limit(limit)
    return [PurgeRow(**row._mapping) for row in connection.execute(statement)]


def runs_of_folder(connection: sa.Connection, folder: str, folder_of: Callable[[str], str]) -> list[RunRow]:
    """The runs whose staged files are in a folder: more than one where their ids differ in odd characters alone."""
    alike = sa.select(run).where(run.c.id.like(folder)).order_by(run.c.started_at)  # an underscore is any character
    return [RunRow(**row._mapping) for row in connection.execute(alike) if folder_of(row.id) == folder]


def day_before(connection: sa.Connection, days: int) -> str:
    """The time of the manifest so many days ago."""
    return read_clock(connection, -86_400.0 * days)
