"""The verification's own reading of the legacy database: by the checks' SQL where an entity declares it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from more_itertools import chunked

from medferry.definition.checks import Check, EntityChecks, ManyCheck
from medferry.errors import SourceError
from medferry.source.database import snapshot, stream
from medferry.source.dialects import text_sql
from medferry.source.entity import SourceEntity
from medferry.source.keys import is_escaped, key_text, ledger_key
from medferry.source.kinds import kinds_of
from medferry.source.lookup import key_condition
from medferry.source.slices import apart_by, entity_rows

KEYS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class LegacyRow:
    """A legacy row as the accounting needs it. `period` is a year, or empty; `unit` is empty where it has none."""

    key: str
    unit: str
    period: str


@dataclass(frozen=True)
class LegacyReader:
    """One entity in the legacy database. Each method opens a snapshot of its own.

    All raise SourceUnavailable, SourceError.
    """

    engine: sa.Engine
    entity: SourceEntity
    checks: EntityChecks | None

    # -- accounting ----------------------------------------------------------------------------------

    def count_by_unit(self) -> dict[str, int]:
        """Eligible rows of every unit that the source names, as it counts them itself."""
        unit, listed = sa.column("unit_id", sa.Text()), sa.text(f"({self._listing}) AS listed")
        counted = sa.select(sa.func.min(unit).label("unit"), sa.func.count().label("number")).select_from(listed)
        counts: Counter[str] = Counter()
        with snapshot(self.engine) as connection:
            for row in stream(connection, counted.group_by(*apart_by(self.engine.dialect.name, unit)), {}):
                counts[row["unit"] or ""] += row["number"]
        return counts

    def all_rows(self) -> Iterator[LegacyRow]:
        """Every row, in no order."""
        with snapshot(self.engine) as connection:
            for row in stream(connection, sa.text(f"SELECT * FROM ({self._listing}) AS listed"), {}):
                yield self._row(row)

    def rows_by_key(self, keys: Sequence[str]) -> Iterator[LegacyRow]:
        """Those of `keys` that there are."""
        listed = sa.text(f"({self._listing}) AS listed")
        found = self._by_key(sa.select(sa.text("*")).select_from(listed), listed, self._names, keys)
        yield from map(self._row, found)
        if escaped := {key for key in keys if is_escaped(key)}:  # nobody can ask for these; they are rare
            yield from (row for row in self.all_rows() if row.key in escaped)

    def _row(self, row: dict[str, Any]) -> LegacyRow:
        year = str(row["period"] or "")[:4]
        return LegacyRow(self._key(row), str(row["unit_id"] or ""), year if year.isdecimal() else "")

    @cached_property
    def _listing(self) -> str:
        """A SELECT of key, unit_id and period, by the checks' `from` and `key` where there are any.

        Where they name no unit, it is the entity's word; a row that the entity's SQL leaves out has none then.
        """
        if self.checks and self.checks.unit:
            return self._listed(self.checks.keys, self.checks.unit, self.checks.period, self.checks.tables)
        quote, e = self.engine.dialect.identifier_preparer.quote, self.entity
        keys, unit, changed = [quote(name) for name in e.key], quote(e.unit), e.changed and quote(e.changed)
        of_entity = f"(\n{e.query(self.engine.dialect.name)}\n) AS entity_rows"
        if self.checks is None:
            return self._listed(keys, unit, changed, of_entity)
        own = self._listed(self.checks.keys, "NULL", self.checks.period, self.checks.tables)
        units = self._listed(keys, unit, None, of_entity)
        same = " AND ".join(f"units.{name} = own.{name}" for name in self._names)
        columns = ", ".join([*(f"own.{name}" for name in self._names), "units.unit_id", "own.period"])
        return f"SELECT {columns} FROM ({own}) AS own LEFT JOIN ({units}) AS units ON {same}"

    def _listed(self, keys: Sequence[str], unit: str, period: str | None, rows: str) -> str:
        # As text, a CHAR unit has no padding.
        text = text_sql(self.engine.dialect.name, unit)
        columns = [f"{sql} AS {name}" for sql, name in zip(keys, self._names, strict=True)]
        columns += [f"{text} AS unit_id", f"{period or 'NULL'} AS period"]
        return _escaped(f"SELECT {', '.join(columns)} FROM {rows}")

    # -- values --------------------------------------------------------------------------------------

    def values(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Key → SQL expression of the checks → JSON value, for those of `keys` that there are.

        Raises SourceError when the checks' tables have several rows for one key.
        """
        found: dict[str, dict[str, Any]] = {}
        for row in self._of_checks([f"{sql} AS c{number}" for number, sql in enumerate(self.expressions)], keys):
            key = self._key(row)
            if key in found:
                raise SourceError(
                    f"The checks of {self.entity.name} find several rows for one key.", "Correct `from` in checks."
                )
            values = (value for name, value in row.items() if name not in self._names)
            found[key] = dict(zip(self.expressions, values, strict=True))
        return found

    def lists(self, many: ManyCheck, keys: Sequence[str]) -> dict[str, list[Any]]:
        """Key → the values that the check's own tables have for it, in its order; keys without any are left out."""
        tables = sa.text(_escaped(many.tables))
        columns = [f"{sql} AS {name}" for sql, name in zip(many.keys, self._names, strict=True)]
        # SQL Server takes no constant for an order.
        place = f"ROW_NUMBER() OVER (ORDER BY {many.order or '(SELECT NULL)'})"
        columns += [f"{many.sql} AS item", f"{place} AS item_place"]
        statement = sa.select(sa.text(_escaped(", ".join(columns)))).select_from(tables)
        statement = statement.where(sa.text(f"({_escaped(many.where)})"))
        found: dict[str, list[Any]] = {}
        own: list[sa.ColumnElement[Any]] = [sa.literal_column(sql) for sql in many.keys]
        for row in self._by_key(statement, tables, own, keys, order="item_place"):
            found.setdefault(self._key(row), []).append(row["item"])
        return found

    @cached_property
    def expressions(self) -> list[str]:
        """Each SQL expression of the checks once; the conditions of resources as 0 or 1."""
        assert self.checks is not None
        found: dict[str, None] = {condition(resource.when): None for resource in self.checks.resources.values()}
        for slot in self.checks.resources:
            for check in self.checks.checks(slot):
                found.update((sql, None) for sql in columns_of(check))
        return list(found)

    # -- charts --------------------------------------------------------------------------------------

    def rows(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Key → column of the entity's SELECT → JSON value, for those of `keys` that there are."""
        source = entity_rows(self.engine.dialect.name, self.entity)
        found = self._by_key(
            sa.select(sa.text("*")).select_from(source), source, self.entity.key, keys, self.entity.key
        )
        return {self.entity.ledger_key_of(row): row for row in found}

    def referring(self, sql: str, keys: Sequence[str]) -> dict[str, str]:
        """Own key → other key, for the rows in which the checks' SQL expression is one of the `keys` of other rows."""
        assert self.checks is not None
        tables, aim = sa.text(_escaped(self.checks.tables)), ("other_key",)
        columns = _escaped(", ".join([*self._own_keys, f"{sql} AS other_key"]))
        statement = sa.select(sa.text(columns)).select_from(tables)
        found = self._by_key(statement, tables, [sa.literal_column(sql)], keys, aim)
        return {self._key(row): ledger_key(key_text(row["other_key"])) for row in found}

    def referred(self, sql: str, keys: Sequence[str]) -> dict[str, str]:
        """Own key → the value of the checks' SQL expression in it, for those of `keys` that have one."""
        found = self._of_checks([f"{sql} AS other_key"], keys)
        return {self._key(row): ledger_key(key_text(row["other_key"])) for row in found if row["other_key"] is not None}

    def most_referred(self, sql: str, number: int) -> dict[str, int]:
        """Value of the checks' SQL expression → rows with it; the `number` commonest."""
        assert self.checks is not None
        other: sa.ColumnElement[Any] = sa.literal_column(sql)
        counted = sa.func.count()
        statement = sa.select(other.label("other_key"), counted.label("number")).where(other.is_not(None))
        statement = statement.select_from(sa.text(_escaped(self.checks.tables))).group_by(other)
        with snapshot(self.engine) as connection:
            found = stream(connection, statement.order_by(counted.desc(), other).limit(number), {})
            return {ledger_key(key_text(row["other_key"])): row["number"] for row in found}

    # -- keys ----------------------------------------------------------------------------------------

    @cached_property
    def _names(self) -> list[str]:
        """What the columns of the key are called in a listing."""
        return [f"source_key_{number}" for number in range(len(self.entity.key))]

    @cached_property
    def _own_keys(self) -> list[str]:
        """The columns of the key in the checks' tables, under their names."""
        assert self.checks is not None
        return [f"{sql} AS {name}" for sql, name in zip(self.checks.keys, self._names, strict=True)]

    def _key(self, row: dict[str, Any]) -> str:
        return ledger_key(key_text([row[name] for name in self._names]))

    def _of_checks(self, columns: Sequence[str], keys: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The key and these columns of the checks' tables, for those of `keys` that there are."""
        assert self.checks is not None
        tables = sa.text(_escaped(self.checks.tables))
        statement = sa.select(sa.text(_escaped(", ".join([*self._own_keys, *columns])))).select_from(tables)
        return self._by_key(statement, tables, [sa.literal_column(sql) for sql in self.checks.keys], keys)

    def _by_key(
        self,
        statement: sa.Select[Any],
        tables: sa.TextClause,
        columns: Sequence[str | sa.ColumnElement[Any]],
        keys: Sequence[str],
        found_as: Sequence[str] = (),
        order: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        """The rows of `statement`, which reads `tables`, whose `columns` are one of `keys`; 1,000 keys at once.

        What an engine takes for equal is left out: the rows have the columns as `found_as` (else as the key's own).
        """
        by: list[sa.ColumnElement[Any]] = [sa.column(order)] if order else []
        expressions = [sa.column(one) if isinstance(one, str) else one for one in columns]
        with snapshot(self.engine) as connection:
            kinds = kinds_of(connection, expressions, tables)
        dialect, names = self.engine.dialect.name, found_as or self._names
        for some in chunked((key for key in keys if not is_escaped(key)), KEYS_AT_ONCE // len(columns)):
            where, values = key_condition(dialect, expressions, kinds, some)
            if where is None:
                continue
            wanted = set(some)
            with snapshot(self.engine) as connection:
                # As a table of its own, its columns have names by which their types can be asked for.
                within = statement.where(where).subquery("found")
                wanted_rows = sa.select(sa.text("*")).select_from(within).order_by(*by)
                for row in stream(connection, wanted_rows, values):
                    if key_text([row[name] for name in names]) in wanted:
                        yield row


def condition(sql: str) -> str:
    return f"CASE WHEN {sql} THEN 1 ELSE 0 END"


def columns_of(check: Check) -> list[str]:
    """The SQL expressions that a check needs."""
    found = (
        check.sql,
        *check.further_sql,
        check.unit,
        check.comparator,
        check.zone,
        check.plus_minutes,
        check.media_type,
    )
    return [sql for sql in (*found, check.where and condition(check.where)) if sql]


def _escaped(sql: str) -> str:
    """A colon of the user's SQL (a time, a cast) must not be read as a bind parameter."""
    return sql.replace(":", "\\:")
