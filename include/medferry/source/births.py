"""Rows that come into being for what users create in Medplum: how they are made, and the lines that tell of them.

`medferry_born` is a table of ours in the legacy database. Its line is written in the transaction that inserts the row,
one for each resource: so a row is inserted once, however often that is tried. It holds keys and ids, no patient's data,
and stays for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from medferry.source.legacy_table import Constant

BORN = "medferry_born"


class KeyBy(StrEnum):
    """Who makes the key of a new row, where it is no expression in SQL."""

    DATABASE = "database"
    """The database: an identity, a serial, AUTO_INCREMENT, an INTEGER PRIMARY KEY of SQLite."""
    UUID = "uuid"
    """This program: a random UUID, in 36 characters."""


def _any_of_its_type(_resource: Mapping[str, Any], _slot: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class NewRows:
    """How an entity's own table gets a row for a resource that users created. Columns are those of that table."""

    unit: str | None
    """The one that gets the business unit; None: the row's unit follows from what it refers to."""
    key: str
    """`KeyBy`, or an expression in SQL such as ``nextval('problem_ids')``."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of the entity's row that the inverse fills of a new row alone → column of the table."""
    constants: Mapping[str, Constant] = field(default_factory=dict)
    times: tuple[str, ...] = ()
    """Those that get the time of the insertion, on the legacy system's clock."""
    unit_by: tuple[str, ...] = ()
    """The elements whose references tell the unit; none: all of the resource."""
    unit_of: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Entity → source key → the unit that a reference to that record tells, where it is not the record's own."""
    fits: Callable[[Mapping[str, Any], str], bool] = _any_of_its_type
    """Whether a resource, as that of a slot, becomes a row of this entity."""


def new_rows(
    *,
    unit: str | None,
    key: str = KeyBy.DATABASE,
    columns: Iterable[str] | Mapping[str, str] = (),
    constants: Mapping[str, Constant] | None = None,
    times: Iterable[str] = (),
    unit_by: Iterable[str] = (),
    unit_of: Mapping[str, Mapping[str, str]] | None = None,
    fits: Callable[[Mapping[str, Any], str], bool] = _any_of_its_type,
) -> NewRows:
    """Let an ``@inverse`` take births; a name is enough for a column that is called the same in the entity's row."""
    named = dict(columns) if isinstance(columns, Mapping) else {column: column for column in columns}
    fixed = dict(constants or {})
    return NewRows(unit, key, named, fixed, tuple(times), tuple(unit_by), dict(unit_of or {}), fits)


@dataclass(frozen=True, slots=True)
class BornLine:
    """A row that was inserted for a resource."""

    resource_type: str
    medplum_id: str
    entity: str
    slot: str
    key: str
    made: str
    """SHA-256 of what the mapping made of the row as it was inserted, references by id: the base of both sides."""

    @property
    def place(self) -> tuple[str, str]:
        return self.resource_type, self.medplum_id


_LINES = sa.table(BORN, *(sa.column(name) for name in BornLine.__slots__))


def find_born(connection: sa.Connection, places: Collection[tuple[str, str]]) -> dict[tuple[str, str], BornLine]:
    """(resource type, Medplum id) → the line of each that has one. Raises DBAPIError."""
    found: dict[tuple[str, str], BornLine] = {}
    for resource_type, medplum_id in places:
        of = (_LINES.c.resource_type == resource_type, _LINES.c.medplum_id == medplum_id)
        row = connection.execute(sa.select(*_LINES.c).where(*of)).first()
        if row is not None:
            found[resource_type, medplum_id] = BornLine(*map(str, row))
    return found


_KEYS_AT_ONCE = 500
"""More are not named in a statement: all of the entity is read, which without an index is no more work."""


def lines_of_keys(connection: sa.Connection, entity: str, keys: Collection[str]) -> dict[str, BornLine]:
    """Key → the line of each of some rows of an entity that has one; of several (a key came back) the newest.

    None where the table is missing. Raises DBAPIError.
    """
    wanted = set(keys)
    if not wanted:
        return {}
    of_keys = () if len(wanted) > _KEYS_AT_ONCE else (_LINES.c.key.in_(sorted(wanted)),)
    return {key: line for key, line in _newest(connection, entity, *of_keys).items() if key in wanted}


def lines_of_entity(connection: sa.Connection, entity: str) -> dict[str, BornLine]:
    """The same of all rows of an entity."""
    return _newest(connection, entity)


def _newest(connection: sa.Connection, entity: str, *which: sa.ColumnElement[bool]) -> dict[str, BornLine]:
    if not sa.inspect(connection).has_table(BORN):
        return {}
    statement = sa.select(*_LINES.c).where(_LINES.c.entity == entity, *which).order_by(sa.column("at"))
    return {line.key: line for line in (BornLine(*map(str, row)) for row in connection.execute(statement))}


def settled_line(connection: sa.Connection, line: BornLine) -> BornLine | None:
    """The line of a resource, in a transaction that may write; None: there is none, and none is about to be committed.

    A process that was killed may have left a COMMIT at work, which nobody sees: but nobody else can insert its line
    meanwhile, so that is tried, and undone. Raises DBAPIError where it is not over in time.
    """
    found = find_born(connection, [line.place]).get(line.place)
    if found is None and not _is_free(connection, line):
        found = find_born(connection, [line.place]).get(line.place)
    return found


def _is_free(connection: sa.Connection, line: BornLine) -> bool:
    try:
        with connection.begin_nested() as tried:
            add_born(connection, line)
            tried.rollback()
    except IntegrityError:
        return False
    return True


def add_born(connection: sa.Connection, line: BornLine) -> None:
    """Tell of a row, in the transaction that inserts it. Raises IntegrityError where there is a line already."""
    values = {name: getattr(line, name) for name in BornLine.__slots__}
    connection.execute(sa.insert(_LINES), values)


_DDL: Mapping[str, str] = {
    "sqlite": (
        "CREATE TABLE {table} (resource_type TEXT NOT NULL, medplum_id TEXT NOT NULL, entity TEXT NOT NULL, "
        "slot TEXT NOT NULL, key TEXT NOT NULL, made TEXT NOT NULL, at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, "
        "PRIMARY KEY (resource_type, medplum_id))"
    ),
    "postgresql": (
        "CREATE TABLE {table} (resource_type varchar(64) NOT NULL, medplum_id varchar(64) NOT NULL, "
        "entity varchar(40) NOT NULL, slot varchar(40) NOT NULL, key text NOT NULL, made varchar(64) NOT NULL, "
        "at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (resource_type, medplum_id))"
    ),
    "mysql": (
        "CREATE TABLE {table} (resource_type VARCHAR(64) NOT NULL, medplum_id VARCHAR(64) NOT NULL, "
        "entity VARCHAR(40) NOT NULL, slot VARCHAR(40) NOT NULL, `key` TEXT NOT NULL, made VARCHAR(64) NOT NULL, "
        "at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (resource_type, medplum_id)) "
        "ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    ),
}


def born_ddl(dialect: str) -> tuple[str, ...]:
    """The statement that makes the table."""
    return (_DDL["mysql" if dialect == "mariadb" else dialect].format(table=BORN),)


def makes_keys(connection: sa.Connection, column: sa.engine.interfaces.ReflectedColumn, name: str, schema: str) -> bool:
    """Whether an insert that leaves a column out gives it a value."""
    if column.get("default") is not None or column.get("identity") or column.get("autoincrement") is True:
        return True
    if connection.dialect.name != "sqlite":
        return False
    primary = sa.inspect(connection).get_pk_constraint(name, schema or None)["constrained_columns"]
    return primary == [column["name"]] and str(column["type"]).upper() == "INTEGER"
