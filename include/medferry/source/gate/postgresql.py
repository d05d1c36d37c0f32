"""The gates on PostgreSQL (13 and later).

Writers lock their unit's row FOR KEY SHARE. PostgreSQL lets new ones overtake a closer that waits for them, so a flag
is committed first: whoever comes later is refused by it, and only those in flight are waited for. Then the row is
replaced by another: an update alone would leave its key as it was, and a transaction that began before (REPEATABLE
READ) could still lock the version that it sees.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from medferry.source.changes.cuts import writing
from medferry.source.changes.rules import KeyOf, Watched
from medferry.source.gate.gate import (
    GATE,
    REFUSAL,
    Gate,
    GateState,
    UnitGate,
    WritersInFlight,
    units_of,
)
from medferry.source.objects import Found, Trigger, literal
from medferry.source.postgresql_triggers import TriggerKind, called, heirs, oids, quoted_keys, search_path

_TRIGGERS = TriggerKind("medferry_gate", "BEFORE")

SQLSTATE = "MF001"
"""Of a write that a gate refuses."""


class PostgresqlGate(Gate):
    rights = (
        "To install: CREATE on the schema, and the ownership of (or SELECT and TRIGGER on) each gated table, and "
        f"SELECT on what their SELECTs read. To act: SELECT, INSERT, UPDATE and DELETE on {GATE}. The "
        "application needs none."
    )
    patience = "SET LOCAL lock_timeout = '5s'"
    false, true = "false", "true"
    open_now = "(NOT closing OR closed_until <= clock_timestamp())"
    seconds_left = "CAST(extract(epoch FROM closed_until - clock_timestamp()) AS double precision)"
    lock = f"WITH gone AS (DELETE FROM {GATE} WHERE unit = :unit RETURNING *) INSERT INTO {GATE} SELECT * FROM gone"
    until = "clock_timestamp() + make_interval(secs => :seconds)"

    def table(self) -> str:
        return (
            f"CREATE TABLE {GATE} (unit text PRIMARY KEY, epoch bigint NOT NULL, closing boolean NOT NULL, "
            "closed_until timestamptz)"
        )

    def triggers(self, connection: sa.Connection) -> list[Trigger]:
        path, there = search_path(connection), oids(connection, self.gated)
        self.all_there(table for table, oid in there.items() if oid is not None)
        named, units = self.called(connection, self.gated), self.units_by_table(connection)
        return [
            one
            for table, (of, *_) in heirs(connection, self.gated).items()
            for one in _TRIGGERS.wanted(table, named.get(table, table), path, _body(units[of]))
        ]

    def called(self, connection: sa.Connection, tables: Collection[str]) -> Mapping[str, str]:
        return called(connection, tables)

    def quoted(self, connection: sa.Connection, keys: Watched) -> Watched:
        return quoted_keys(connection, keys)

    def found(self, connection: sa.Connection) -> list[Found]:
        return _TRIGGERS.found(connection, self.gated)

    def close(self, engine: sa.Engine, unit: str, epoch: int, seconds: float, patience: float) -> UnitGate:
        with writing(engine, self) as connection:
            self._closed(connection, unit, epoch, seconds)
        try:
            with writing(engine, self) as connection:
                connection.execute(sa.text(f"SET LOCAL lock_timeout = '{max(1, int(patience * 1_000))}ms'"))
                self._lock(connection, unit)
                closed = self.read(connection, unit)
        except WritersInFlight:
            self.open(engine, unit, epoch)
            raise
        if closed.state is not GateState.CLOSED:
            raise WritersInFlight(f"The time of {unit} was over before its writers had ended.", "Close it for longer.")
        return closed


def _body(unit: KeyOf) -> str:
    lines = ["", "DECLARE", "  old_unit text;", "  new_unit text;", "BEGIN"]
    lines += ["  IF TG_OP = 'TRUNCATE' THEN", f"    PERFORM 1 FROM {GATE} FOR KEY SHARE;"]
    lines += [f"    SELECT g.unit INTO old_unit FROM {GATE} g WHERE NOT {_OPEN} LIMIT 1;"]
    lines += ["    IF FOUND THEN", *_refuse("old_unit"), "    END IF;", "    RETURN NULL;", "  END IF;"]
    (old,), (new,) = units_of(unit, ["OLD"]), units_of(unit, ["NEW"])
    lines += ["  IF TG_OP <> 'INSERT' THEN", f"    old_unit := CAST({old} AS text);", *_pass("old_unit"), "  END IF;"]
    lines += ["  IF TG_OP <> 'DELETE' THEN", f"    new_unit := CAST({new} AS text);"]
    lines += [
        "    IF new_unit IS DISTINCT FROM old_unit THEN",
        *_pass("new_unit"),
        "    END IF;",
        "    RETURN NEW;",
        "  END IF;",
    ]
    return "\n".join([*lines, "  RETURN OLD;", "END", ""])


_OPEN = "coalesce(NOT g.closing OR g.closed_until <= clock_timestamp(), false)"


def _pass(unit: str) -> list[str]:
    return [
        f"    PERFORM 1 FROM {GATE} g WHERE g.unit = {unit} AND {_OPEN} FOR KEY SHARE;",
        f"    IF NOT FOUND AND EXISTS (SELECT 1 FROM {GATE} g WHERE g.unit = {unit}) THEN",
        *_refuse(unit),
        "    END IF;",
    ]


def _refuse(unit: str) -> list[str]:
    message = literal(f"medferry: the unit % {REFUSAL}")
    return [f"      RAISE EXCEPTION {message}, {unit} USING ERRCODE = '{SQLSTATE}';"]
