"""What was done about leftovers: by whom, when, to which version. Written before it is sent, and when it has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from medferry.manifest.bulk import among
from medferry.manifest.clock import clock
from medferry.manifest.crosswalk import Action, Name
from medferry.manifest.hashes import ContentHash
from medferry.manifest.paging import pages
from medferry.manifest.replaced import former_target
from medferry.manifest.tables import Key, Time, metadata, target

leftover_act = sa.Table(
    "leftover_act",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("migration", sa.String(40), nullable=False),
    sa.Column("entity", sa.String(40), nullable=False),
    sa.Column("system", sa.String(300), nullable=False),
    sa.Column("value", Key, nullable=False, comment="source key"),
    sa.Column("resource_type", sa.String(40), nullable=False),
    sa.Column("medplum_id", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(60), nullable=False, comment="why nothing makes it any more"),
    sa.Column("action", sa.String(12), nullable=False, comment="remove, inactivate"),
    sa.Column("person", sa.String(100), nullable=False),
    sa.Column("holder", sa.String(200), nullable=False, comment="the act, as leases name it"),
    sa.Column("version_before", sa.String(64), nullable=False),
    sa.Column("content_hash", ContentHash, nullable=False, comment="of what is inactivated; empty: removed"),
    sa.Column("version_after", sa.String(64), nullable=False, server_default="", comment="of what was inactivated"),
    sa.Column("noted_at", Time, nullable=False),
    sa.Column("ended_at", Time, comment="when it was proven; null: not, or refused"),
    sa.Column("status", sa.Integer, nullable=False, server_default="0", comment="HTTP; 0: no answer came"),
    sa.Index("leftover_act_of", "migration", "resource_type", "medplum_id"),
    comment="what people let be done about resources that nothing makes any more",
)


@dataclass(frozen=True, slots=True)
class LeftoverAct:
    """One act on one resource (`kind`: why nothing makes it any more), on the word of `person`."""

    entity: str
    system: str
    value: str
    resource_type: str
    medplum_id: str
    kind: str
    action: Action
    person: str
    holder: str
    version_before: str
    content_hash: str

    @property
    def name(self) -> Name:
        return self.system, self.value


def note_leftover_act(connection: sa.Connection, migration: str, act: LeftoverAct) -> int:
    """Write down what is about to be done; returns the act's number."""
    values = {name: getattr(act, name) for name in LeftoverAct.__slots__}
    statement = sa.insert(leftover_act).values(migration=migration, noted_at=clock(connection), **values)
    return int(connection.execute(statement.returning(leftover_act.c.id)).scalar_one())


def answer_leftover_act(connection: sa.Connection, number: int, status: int) -> None:
    """Keep what Medplum answered to an act that it did not do."""
    connection.execute(sa.update(leftover_act).where(leftover_act.c.id == number).values(status=status))


def end_removal(connection: sa.Connection, migration: str, number: int, act: LeftoverAct) -> None:
    """The resource is not there any more: the crosswalk forgets it, so that a row that comes back makes another.

    It is remembered among the former ones: a verification tells when it should be there again.
    """
    _end(connection, number, "")
    known = _line_of(target, migration, act)
    there = sa.exists().where(_line_of(former_target, migration, act))
    names = list(former_target.columns.keys())
    former = sa.select(*(target.c[name] for name in names)).where(known, ~there)
    connection.execute(sa.insert(former_target).from_select(names, former))
    connection.execute(sa.delete(target).where(known))


def end_inactivation(connection: sa.Connection, migration: str, number: int, act: LeftoverAct, version: str) -> None:
    """The resource says so in `version`, which the crosswalk takes over: a row that comes back updates it."""
    _end(connection, number, version)
    changed = {"version_id": version, "content_hash": act.content_hash}
    for table in (target, former_target):
        made = {"wanted_hash": None} if table is target else {}
        connection.execute(sa.update(table).where(_line_of(table, migration, act)).values(changed | made))


def inactivated(connection: sa.Connection, migration: str, ids: Iterable[str]) -> set[str]:
    """Those of some Medplum ids that were inactivated, and not written since."""
    found: set[str] = set()
    for table in (target, former_target):
        statement = sa.select(table.c.medplum_id).select_from(_still(table)).where(table.c.migration == migration)
        found.update(connection.scalars(statement.where(among(connection, table.c.medplum_id, ids))))
    return found


@dataclass(frozen=True, slots=True)
class Inactivated:
    """A resource that was inactivated, in the version in which it was, and not written since."""

    entity: str
    value: str
    resource_type: str
    medplum_id: str
    version_id: str


def inactivations(manifest: sa.Engine, migration: str) -> Iterator[list[Inactivated]]:
    """All of them by 1,000, each once."""
    for table in (target, former_target):
        columns = [table.c[name] for name in Inactivated.__slots__]
        statement = sa.select(*columns).select_from(_still(table)).where(table.c.migration == migration).distinct()
        for page in pages(manifest, statement, [table.c.resource_type, table.c.medplum_id]):
            yield [Inactivated(**row._mapping) for row in page]


def unfinished(connection: sa.Connection, migration: str) -> list[tuple[int, LeftoverAct]]:
    """(number, act) of those that got no answer and were not done again since."""
    later = leftover_act.alias("later")
    again = sa.exists().where(
        later.c.migration == leftover_act.c.migration,
        later.c.resource_type == leftover_act.c.resource_type,
        later.c.medplum_id == leftover_act.c.medplum_id,
        later.c.id > leftover_act.c.id,
    )
    columns = [leftover_act.c[name] for name in LeftoverAct.__slots__]
    statement = sa.select(leftover_act.c.id, *columns).where(
        leftover_act.c.migration == migration, leftover_act.c.ended_at.is_(None), leftover_act.c.status == 0, ~again
    )
    acts = [(row[0], LeftoverAct(*row[1:])) for row in connection.execute(statement.order_by(leftover_act.c.id))]
    return [(number, replace(act, action=Action(act.action))) for number, act in acts]


def was_removed(*place: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether the resource of (migration, resource type, Medplum id) was removed as a leftover."""
    columns = (leftover_act.c.migration, leftover_act.c.resource_type, leftover_act.c.medplum_id)
    same = [mine == other for mine, other in zip(columns, place, strict=True)]
    return sa.exists().where(leftover_act.c.action == Action.REMOVE, leftover_act.c.ended_at.is_not(None), *same)


def acts_of(connection: sa.Connection, migration: str) -> Sequence[sa.Row[tuple[str, ...]]]:
    """(action, place, person, noted at, ended at, status) of all acts, the oldest first."""
    place = leftover_act.c.resource_type + "/" + leftover_act.c.medplum_id
    columns = [leftover_act.c[name] for name in ("person", "noted_at", "ended_at", "status")]
    statement = sa.select(leftover_act.c.action, place, *columns).where(leftover_act.c.migration == migration)
    return connection.execute(statement.order_by(leftover_act.c.id)).all()


def _end(connection: sa.Connection, number: int, version: str) -> None:
    ended = {"ended_at": clock(connection), "status": 200, "version_after": version}
    connection.execute(sa.update(leftover_act).where(leftover_act.c.id == number).values(ended))


def _line_of(table: sa.Table, migration: str, act: LeftoverAct) -> sa.ColumnElement[bool]:
    """The line of an act's very resource, in the crosswalk or among the former ones."""
    return sa.and_(
        table.c.migration == migration,
        table.c.resource_type == act.resource_type,
        table.c.medplum_id == act.medplum_id,
    )


def _still(table: sa.Table) -> sa.Join:
    """The lines of inactivated resources that are, as far as is known, in the version that said so."""
    same = sa.and_(
        leftover_act.c.migration == table.c.migration,
        leftover_act.c.resource_type == table.c.resource_type,
        leftover_act.c.medplum_id == table.c.medplum_id,
        leftover_act.c.action == Action.INACTIVATE,
        leftover_act.c.ended_at.is_not(None),
        leftover_act.c.version_after == table.c.version_id,
    )
    return table.join(leftover_act, same)
