"""The verification's own reading of the legacy database: by the checks' SQL where an entity declares it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from medferry.definition.checks import Check, EntityChecks, ManyCheck
from medferry.errors import SourceError
from medferry.source.database import snapshot, stream
from medferry.source.entity import SourceEntity

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
        statement = sa.text(f"SELECT unit_id, COUNT(*) AS number FROM ({self._listing}) AS listed GROUP BY unit_id")
        with snapshot(self.engine) as connection:
            return {_text(unit): int(number) for unit, number in connection.execute(statement)}

    def all_rows(self) -> Iterator[LegacyRow]:
        """Every row, in no order."""
        statement = sa.text(f"SELECT source_key, unit_id, period FROM ({self._listing}) AS listed")
        with snapshot(self.engine) as connection:
            yield from map(_row, stream(connection, statement, {}))

    def rows_by_key(self, keys: Sequence[str]) -> Iterator[LegacyRow]:
        """Those of `keys` that there are."""
        statement = f"SELECT source_key, unit_id, period FROM ({self._listing}) AS listed WHERE source_key IN :keys"
        yield from map(_row, self._by_key(statement, keys))

    @cached_property
    def _listing(self) -> str:
        """A SELECT of source_key, unit_id and period, by the checks' `from` and `key` where there are any.

        Where they name no unit, it is the entity's word; a row that the entity's SQL leaves out has none then.
        """
        e = self.entity
        if self.checks:
            unit, period = self.checks.unit or "NULL", self.checks.period or "NULL"
            columns = f"{self.checks.key} AS source_key, {unit} AS unit_id, {period} AS period"
            own = _escaped(f"SELECT {columns} FROM {self.checks.tables}")
            if self.checks.unit:
                return own
            units = f"SELECT {e.key} AS entity_key, {e.unit} AS entity_unit FROM ({self._inner}) AS entity_rows"
            joined = f"({own}) AS own LEFT JOIN ({_escaped(units)}) AS units ON units.entity_key = own.source_key"
            return f"SELECT own.source_key, units.entity_unit AS unit_id, own.period FROM {joined}"
        columns = f"{e.key} AS source_key, {e.unit} AS unit_id, {e.changed or 'NULL'} AS period"
        return _escaped(f"SELECT {columns} FROM ({self._inner}) AS entity_rows")

    @property
    def _inner(self) -> str:
        return self.entity.query(self.engine.dialect.name)

    # -- values --------------------------------------------------------------------------------------

    def values(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Key → SQL expression of the checks → JSON value, for those of `keys` that there are.

        Raises SourceError when the checks' tables have several rows for one key.
        """
        assert self.checks is not None
        columns = ", ".join(f"{sql} AS c{number}" for number, sql in enumerate(self.expressions))
        wanted = f"SELECT {self.checks.key} AS source_key, {columns} FROM {self.checks.tables}"
        found: dict[str, dict[str, Any]] = {}
        for row in self._by_key(f"{_escaped(wanted)} WHERE {_escaped(self.checks.key)} IN :keys", keys):
            key = str(row.pop("source_key"))
            if key in found:
                raise SourceError(
                    f"The checks of {self.entity.name} find several rows for one key.", "Correct `from` in checks."
                )
            found[key] = dict(zip(self.expressions, row.values(), strict=True))
        return found

    def lists(self, many: ManyCheck, keys: Sequence[str]) -> dict[str, list[Any]]:
        """Key → the values that the check's own tables have for it, in its order; keys without any are left out."""
        columns = f"SELECT {many.key} AS source_key, {many.sql} AS item FROM {many.tables}"
        wanted = f"{_escaped(columns)} WHERE ({_escaped(many.where)}) AND {_escaped(many.key)} IN :keys"
        order = f" ORDER BY {_escaped(many.order)}" if many.order else ""
        found: dict[str, list[Any]] = {}
        for row in self._by_key(wanted + order, keys):
            found.setdefault(str(row["source_key"]), []).append(row["item"])
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
        statement = _escaped(f"SELECT * FROM ({self._inner}) AS entity_rows WHERE entity_rows.{self.entity.key} IN ")
        return {str(row[self.entity.key]): row for row in self._by_key(f"{statement}:keys", keys)}

    def referring(self, sql: str, other: LegacyReader, keys: Sequence[str]) -> dict[str, str]:
        """Own key → key of `other`, for the rows in which the checks' SQL expression is one of the other's `keys`."""
        assert self.checks is not None
        columns = f"SELECT {self.checks.key} AS source_key, {sql} AS other_key FROM {self.checks.tables}"
        statement = f"{_escaped(columns)} WHERE {_escaped(sql)} IN :keys"
        found = self._by_values(statement, [other.typed(key) for key in keys])
        return {str(row["source_key"]): str(row["other_key"]) for row in found}

    def referred(self, sql: str, keys: Sequence[str]) -> dict[str, str]:
        """Own key → the value of the checks' SQL expression in it, for those of `keys` that have one."""
        assert self.checks is not None
        columns = f"SELECT {self.checks.key} AS source_key, {sql} AS other_key FROM {self.checks.tables}"
        found = self._by_key(f"{_escaped(columns)} WHERE {_escaped(self.checks.key)} IN :keys", keys)
        return {str(row["source_key"]): str(row["other_key"]) for row in found if row["other_key"] is not None}

    def most_referred(self, sql: str, number: int) -> dict[str, int]:
        """Value of the checks' SQL expression → rows with it; the `number` commonest."""
        assert self.checks is not None
        columns = f"SELECT {sql} AS other_key, COUNT(*) AS number FROM {self.checks.tables}"
        statement = _escaped(f"{columns} WHERE {sql} IS NOT NULL GROUP BY {sql} ORDER BY 2 DESC, 1 LIMIT {number}")
        with snapshot(self.engine) as connection:
            return {str(key): int(rows) for key, rows in connection.execute(sa.text(statement))}

    # -- keys ----------------------------------------------------------------------------------------

    def _by_key(self, statement: str, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
        yield from self._by_values(statement, [self.typed(key) for key in keys])

    def _by_values(self, statement: str, values: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """The rows for `values`, 1,000 at once; None among them is left out."""
        prepared = sa.text(statement).bindparams(sa.bindparam("keys", expanding=True))
        wanted = [value for value in values if value is not None]
        for start in range(0, len(wanted), KEYS_AT_ONCE):
            with snapshot(self.engine) as connection:
                yield from stream(connection, prepared, {"keys": wanted[start : start + KEYS_AT_ONCE]})

    def typed(self, key: str) -> Any:
        """A key of the manifest as the engine compares it; None when it can be none of the source's."""
        try:
            return self._key_type(key)
        except ValueError:
            return None

    @cached_property
    def _key_type(self) -> type[Any]:
        """The Python type of the source's keys, from any one of them."""
        statement = sa.text(f"SELECT source_key FROM ({self._listing}) AS listed LIMIT 1")
        with snapshot(self.engine) as connection:
            kind = type(connection.execute(statement).scalar())
        return kind if kind in (int, uuid.UUID) else str


def condition(sql: str) -> str:
    return f"CASE WHEN {sql} THEN 1 ELSE 0 END"


def columns_of(check: Check) -> list[str]:
    """The SQL expressions that a check needs."""
    found = (check.sql, check.unit, check.comparator, check.zone, check.plus_minutes, check.media_type)
    return [sql for sql in (*found, check.where and condition(check.where)) if sql]


def _row(row: dict[str, Any]) -> LegacyRow:
    year = str(row["period"] or "")[:4]
    return LegacyRow(_text(row["source_key"]), _text(row["unit_id"]), year if year.isdecimal() else "")


def _text(value: Any) -> str:
    """Of NULL: nothing. A row without a key is in no ledger."""
    return "" if value is None else str(value)


def _escaped(sql: str) -> str:
    """A colon of the user's SQL (a time, a cast) must not be read as a bind parameter."""
    return sql.replace(":", "\\:")
