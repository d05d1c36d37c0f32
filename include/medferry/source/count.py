"""Count a source entity's rows by unit, and refuse what could be neither assigned nor accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.database import stream
from medferry.source.entity import SourceEntity
from medferry.source.keys import MAX_KEY_BYTES
from medferry.source.kinds import Kind, kinds_of
from medferry.source.slices import apart_by, entity_rows, sqlite_text, texts_of_units

_LONGEST_PRINTED = "80"
"""Of MySQL's and SQL Server's numbers, dates and times, in characters, at the most: one has up to 65 digits."""

_Columns = Sequence[sa.ColumnClause[Any]]


def count_by_unit(connection: sa.Connection, entity: SourceEntity, plan_units: Iterable[str]) -> dict[str, int]:
    """Eligible rows of every unit of the plan, by a query of its own.

    Raises SourceError when the SELECT lacks a column, when rows belong to no unit of the plan, or when the key is null,
    not unique or too long for the manifest.
    """
    dialect = connection.dialect.name
    source = entity_rows(dialect, entity)
    require_columns(connection, entity)
    counts = _units(connection, entity, source)
    if counts.keys() != {None}:  # MariaDB calls a column of nothing but NULL bytes, too
        _refuse_bytes(connection, entity, source)
    known = set(plan_units)
    strays = sorted(_told(name) for name in counts if name not in known)
    if strays:
        rows = sum(number for name, number in counts.items() if name not in known)
        told = f"1 row of {entity.name} belongs" if rows == 1 else f"{rows:,} rows of {entity.name} belong"
        raise SourceError(
            f"{told} to units that the plan does not name: {', '.join(strays[:10])}.",
            f"{_remedy(counts)}, or leave the rows out in {entity.path.name}. Case and outer blanks count.",
        )
    _check_keys(connection, entity, source, [sa.column(name) for name in entity.key])
    return {str(name): number for name, number in counts.items()}


def _refuse_bytes(connection: sa.Connection, entity: SourceEntity, source: sa.TextClause) -> None:
    """Bytes read as one text where the engine compares them, and as another (base64) where they are a row's."""
    if Kind.BYTES in kinds_of(connection, [sa.column(entity.unit)], source):
        raise SourceError(
            f"{entity.path}: the unit of {entity.name}, {entity.unit}, is bytes, which name no unit.",
            "Make a text of it in the entity's SQL and in its checks: CONVERT or convert_from, with its character set.",
        )


def _remedy(units: Collection[str | None]) -> str:
    """A plan has no name for none: such rows get a unit where they are read."""
    if None not in units:
        return "Add the units to the plan"
    return "Add the units to the plan, give rows without one that of their patient (or a shared unit) in the SELECT"


def _told(unit: str | None) -> str:
    """The name of a unit, in quotes where blanks would not be seen, and signs that no terminal shows as escapes."""
    if unit is None:
        return "NULL (they have none)"
    return unit if unit.strip() == unit != "" and unit.isprintable() else repr(unit)


def require_columns(connection: sa.Connection, entity: SourceEntity) -> None:
    """Raises SourceError unless the SELECT has the columns that the entity's file names, letter for letter."""
    source = entity_rows(connection.dialect.name, entity)
    found = list(connection.execute(sa.select(sa.text("*")).select_from(source).limit(0)).keys())
    for name in (*entity.key, entity.unit, *filter(None, (entity.changed, entity.dated))):
        if name not in found:
            raise SourceError(
                f"{entity.path}: the SELECT of {entity.name} has no column {name}; it has {', '.join(found)[:300]}.",
                "Name it in the file's first lines as the database does (case counts), or add it to the SELECT.",
            )


def _units(connection: sa.Connection, entity: SourceEntity, source: sa.TextClause) -> dict[str | None, int]:
    """Rows by unit. Units that the engine's collation takes for equal are kept apart by their bytes."""
    dialect = connection.dialect.name
    text = texts_of_units(dialect, entity)
    counted = sa.select(sa.func.min(text).label("unit"), sa.func.count().label("number")).select_from(source)
    counts: Counter[str | None] = Counter()
    for row in stream(connection, counted.group_by(*apart_by(dialect, text)), {}):
        counts[row["unit"]] += row["number"]
    return counts


def _check_keys(connection: sa.Connection, entity: SourceEntity, source: sa.TextClause, keys: _Columns) -> None:
    dialect, name = connection.dialect.name, " and ".join(entity.key)
    there = sa.and_(*(key.is_not(None) for key in keys))
    kinds = kinds_of(connection, keys, source)
    of_each = (_size(connection.dialect, key, kind) for key, kind in zip(keys, kinds, strict=True))
    sizes = sum(of_each, start=sa.literal_column(str(len(keys) - 1)))
    number = sa.func.count(sa.case((there, 1)))
    size = sa.func.coalesce(sa.func.max(sizes), 0)
    asked = sa.select(sa.func.count().label("rows"), number.label("keys"), size.label("size")).select_from(source)
    ((total, with_key, longest),) = (map(int, row.values()) for row in stream(connection, asked, {}))
    ((distinct,),) = (row.values() for row in stream(connection, _distinct(dialect, keys, source, there), {}))
    if with_key < total:
        raise SourceError(
            f"{total - with_key:,} of {total:,} rows of {entity.name} have no key (NULL in {name}).",
            f"Choose another key, or leave these rows out in {entity.path.name}.",
        )
    if total != distinct:
        raise SourceError(
            f"The key {name} of {entity.name} is not unique: {total} rows, {distinct} keys.",
            "Choose another key, or make one in the entity's SQL. Keys count as the database compares them: where its "
            "collation ignores case, accents or blanks, keys that differ by these alone are one.",
        )
    if longest > MAX_KEY_BYTES:
        raise SourceError(
            f"A key {name} of {entity.name} has {longest:,} bytes; the manifest keeps at most {MAX_KEY_BYTES:,}.",
            "Choose a shorter key, or make one in the entity's SQL, such as a hash of it.",
        )


def _distinct(dialect: str, keys: _Columns, source: sa.TextClause, there: sa.ColumnElement[bool]) -> sa.Select[int]:
    alike = [sqlite_text(key) for key in keys] if dialect == "sqlite" else keys
    different = sa.select(*(one.label(f"k{place}") for place, one in enumerate(alike))).select_from(source).where(there)
    return sa.select(sa.func.count().label("number")).select_from(different.distinct().subquery("different"))


def _size(dialect: sa.Dialect, key: sa.ColumnClause[Any], kind: Kind) -> sa.ColumnElement[int]:
    """The bytes of a key's text in UTF-8; of bytes, the length of their base64."""
    if dialect.name == "sqlite":
        size = sa.func.length(sa.cast(key, sa.LargeBinary))
        return sa.case((sa.func.typeof(key) == "blob", (size + 2) // 3 * 4), else_=size)
    if kind is Kind.BYTES:
        length = sa.func.datalength(key) if dialect.name == "mssql" else sa.func.octet_length(key)
        return (length + 2) // 3 * 4
    if dialect.name == "postgresql":
        return sa.func.octet_length(sa.cast(key, sa.Text))
    if kind not in (Kind.TEXT, Kind.LISTED):
        return sa.literal_column(_LONGEST_PRINTED)
    if dialect.name == "mssql":  # two bytes of UTF-16 are at most three of UTF-8, which older servers do not know
        return sa.func.datalength(sa.cast(key, sa.NVARCHAR(None))) // 2 * 3
    column = dialect.identifier_preparer.quote(key.name)
    return sa.func.octet_length(sa.literal_column(f"CONVERT({column} USING utf8mb4)"))
