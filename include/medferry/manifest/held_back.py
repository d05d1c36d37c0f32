"""What users did in Medplum that the legacy database does not have: for a person, by place and reason, never a value.

The lines of a record are those of its newest look; a look that finds nothing to hold back has none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import sqlalchemy as sa

from medferry.manifest.bulk import among, forget, upsert
from medferry.manifest.clock import clock, read_clock
from medferry.manifest.tables import Key, Time, metadata

held_back = sa.Table(
    "held_back",
    metadata,
    sa.Column("migration", sa.String(40), primary_key=True),
    sa.Column("entity", sa.String(40), primary_key=True),
    sa.Column("key", Key, primary_key=True, comment="source key; of what has none, Type/id"),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("unit", sa.String(64), nullable=False),
    sa.Column("slot", sa.String(40), nullable=False, comment="of the mapping; empty: of the whole row"),
    sa.Column("path", sa.String(500), nullable=False, comment="FHIR path, no data"),
    sa.Column("reason", sa.String(60), nullable=False),
    sa.Column("detail", sa.String(500), nullable=False, comment="a column, a code table or a place in code, no data"),
    sa.Column("place", sa.String(120), nullable=False, comment="Type/id in Medplum"),
    sa.Column("fingerprint", sa.String(64), nullable=False, comment="of the migration that could not express it"),
    sa.Column("at", Time, nullable=False),
    comment="what users did in Medplum and the legacy database does not have",
)


class HeldReason(StrEnum):
    """Why something was not written back, beside what a mapping cannot express (`mapping.inverse.Inexpressible`)."""

    AGAINST = "against-authority"
    """The plan's matrix says that the legacy database alone is written there."""
    OF_ANOTHER = "of-another-patient"
    """The resource names another patient than its row, which cannot follow: nothing of it is written into that row."""
    BORN = "born-in-medplum"
    """It has no row, and its entity takes no births."""
    NO_ENTITY = "no-one-entity"
    """No entity that takes births makes such a resource, or more than one does."""
    NO_UNIT = "no-one-unit"
    """What it refers to is of no business unit of its own, or of several."""
    PASSED = "left-to-its-wave"
    """Another wave's cycle came across it; that of its unit takes it, which perhaps looked when it was not its yet."""
    WAITS = "waits-for-birth"
    """It refers to what was created in Medplum, too, and has no row yet."""
    CONFLICT = "conflict"
    """Both sides changed the same place, each otherwise."""
    NO_BASE = "no-certain-base"
    """Both sides changed, and what the mapping made before is not certain."""
    ROW_GONE = "row-gone"
    DELETED = "deleted-in-medplum"
    ROW_CHANGED = "row-changed"
    """Somebody wrote the row at the same moment; the next cycle looks again."""
    REFUSED = "write-refused"
    """The legacy database does not take the values."""
    SET_ASIDE = "entity-set-aside"
    """The entity cannot be read or written at present (rights, schema)."""
    IN_DOUBT = "in-doubt"
    """Something was sent to Medplum of which the end is not known; the next cycle looks again."""


SOON = (HeldReason.ROW_CHANGED, HeldReason.IN_DOUBT, HeldReason.WAITS, HeldReason.PASSED)
"""What is over by itself in a moment: each cycle looks again."""

NO_UNIT = ""
"""The unit of what refers to nothing of ours: each wave looks at it again, for it may be its own by then."""

RESTED_SECONDS = 60.0
"""Everything else is looked at again so often, in turns."""

MOST_AGAIN = 200
"""Lines at once: a look costs a read of the row, and a point for each resource."""

MOST_BORN = 50
"""Births at once: a program that makes resources may have told so many that nothing else had its turn."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A place of a record that was not written back."""

    entity: str
    key: str
    unit: str
    reason: str
    slot: str = ""
    path: str = ""
    detail: str = ""
    place: str = ""

    @property
    def is_birth(self) -> bool:
        """Whether it is about a resource that has no row."""
        return self.key == self.place


_COLUMNS = [held_back.c[name] for name in HeldBack.__slots__]
_ALL = (*HeldBack.__slots__, "migration", "number", "fingerprint", "at")


def set_held_back(
    connection: sa.Connection,
    migration: str,
    fingerprint: str,
    keys: Iterable[tuple[str, str]],
    held: Sequence[HeldBack],
) -> None:
    """What is held back of some looked-at (entity, key) is `held` from now on, and nothing else."""
    forget(connection, held_back, migration, keys)
    _tell(connection, migration, fingerprint, held)


def hold_back_new(connection: sa.Connection, migration: str, fingerprint: str, held: Sequence[HeldBack]) -> None:
    """The same, but of keys of which anything is held back already nothing is said: somebody else knows better."""
    keys = among(connection, held_back.c.key, {one.key for one in held})
    known = set(connection.scalars(sa.select(held_back.c.key).where(held_back.c.migration == migration, keys)))
    _tell(connection, migration, fingerprint, [one for one in held if one.key not in known])


def _tell(connection: sa.Connection, migration: str, fingerprint: str, held: Sequence[HeldBack]) -> None:
    """A key's lines are numbered. What another wave says of a birth in this very moment stays: it is looked at soon."""
    at, numbers = read_clock(connection) if held else "", dict[tuple[str, str], int]()
    lines: list[tuple[str | int, ...]] = []
    for one in held:
        number = numbers[one.entity, one.key] = numbers.get((one.entity, one.key), -1) + 1
        values = {**asdict(one), "path": one.path[:500], "detail": one.detail[:500]}
        lines.append((*(values[name] for name in HeldBack.__slots__), migration, number, fingerprint, at))
    upsert(connection, held_back, _ALL, lines, update=())


def held_back_of(connection: sa.Connection, migration: str, units: Collection[str]) -> list[HeldBack]:
    """All that is held back of the records of some units, and of none."""
    of = (held_back.c.migration == migration, held_back.c.unit.in_(sorted({*units, NO_UNIT})))
    statement = sa.select(*_COLUMNS).where(*of).order_by(held_back.c.entity, held_back.c.key, held_back.c.number)
    return [HeldBack(*row) for row in connection.execute(statement)]


def due_again(connection: sa.Connection, migration: str, units: Collection[str]) -> list[HeldBack]:
    """What is to be looked at again: what is over in a moment, and in turns all else.

    Either side, its rights and the migration's files may have changed, and not each of these names the record.
    """
    soon = held_back.c.reason.in_(SOON)
    rested = held_back.c.at < clock(connection, -RESTED_SECONDS)
    of_units = held_back.c.unit.in_(sorted({*units, NO_UNIT}))
    of = (held_back.c.migration == migration, of_units, sa.or_(soon, rested))
    found: list[HeldBack] = []
    born = held_back.c.key == held_back.c.place
    for one, most in ((~born, MOST_AGAIN), (born, MOST_BORN)):
        statement = sa.select(*_COLUMNS).where(*of, one).order_by(held_back.c.at).limit(most)
        found += [HeldBack(*row) for row in connection.execute(statement)]
    return found
