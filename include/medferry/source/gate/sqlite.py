"""The gates on SQLite, for demos and tests: one writer at a time, so closing has nobody to wait for but that one."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from medferry.source.changes.cuts import writing
from medferry.source.changes.rules import KeyOf
from medferry.source.gate.gate import (
    EVENTS,
    GATE,
    REFUSAL,
    Gate,
    UnitGate,
    units_of,
)
from medferry.source.objects import Found, Trigger, called_plainly, literal, short, word

_PREFIX = "medferrygate"
_NOW = "julianday('now')"


class SqliteGate(Gate):
    rights = "To install and to act: write access to the file."
    open_now = f"(NOT closing OR closed_until <= {_NOW})"
    seconds_left = f"(closed_until - {_NOW}) * 86400.0"
    lock = f"UPDATE {GATE} SET epoch = epoch WHERE unit = :unit"
    until = f"{_NOW} + :seconds / 86400.0"

    def table(self) -> str:
        return (
            f"CREATE TABLE {GATE} (unit TEXT PRIMARY KEY, epoch INTEGER NOT NULL, closing INTEGER NOT NULL, "
            "closed_until REAL)"
        )

    def called(self, _: sa.Connection, tables: Collection[str]) -> Mapping[str, str]:
        return called_plainly(tables)

    def triggers(self, connection: sa.Connection) -> list[Trigger]:
        there = {name.casefold() for name in sa.inspect(connection).get_table_names()}
        self.all_there(table for table in self.gated if table.casefold() in there)
        return [
            _trigger(table, event, unit, rows) for table, unit in self.gated.items() for event, rows in EVENTS.items()
        ]

    def found(self, connection: sa.Connection) -> list[Found]:
        named = {table.casefold(): table for table in self.gated}
        statement = sa.text(
            "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'trigger' "
            f"AND name LIKE '{_PREFIX}\\_%' ESCAPE '\\' ORDER BY name"
        )
        return [
            Found(named.get(table.casefold(), table), name, sql, True, "", (f"DROP TRIGGER {name}",))
            for table, name, sql in connection.execute(statement)
        ]

    def close(self, engine: sa.Engine, unit: str, epoch: int, seconds: float, patience: float) -> UnitGate:
        with writing(engine, self) as connection:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {max(1, int(patience * 1_000))}")
            self._lock(connection, unit)
            return self._closed(connection, unit, epoch, seconds)


def _trigger(table: str, event: str, unit: KeyOf, rows: tuple[str, ...]) -> Trigger:
    name = short(word(f"{_PREFIX}_{table}_{event}".lower()), 100)
    message = literal(f"medferry: the unit {REFUSAL}")
    units = ", ".join(f"CAST({one} AS TEXT)" for one in units_of(unit, rows))
    closed = f"g.closing AND (g.closed_until IS NULL OR g.closed_until > {_NOW})"
    test = f"SELECT RAISE(ABORT, {message}) FROM {GATE} g WHERE g.unit IN ({units}) AND {closed};"
    create = f"CREATE TRIGGER {name} BEFORE {event} ON {called_plainly([table])[table]} BEGIN {test} END"
    return Trigger(table, name, create, (create,), (f"DROP TRIGGER {name}",))
