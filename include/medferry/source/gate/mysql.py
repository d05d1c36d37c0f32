"""The gates on MySQL and MariaDB (InnoDB).

Writers read their unit's row LOCK IN SHARE MODE: always its newest version, whatever their snapshot. Closing updates
the row, so it waits for those in flight, and who comes meanwhile waits behind it and is refused then. Foreign keys that
cascade fire no trigger of the child: the parent's gate stands for what its rows take along.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from medferry.source.changes.cuts import writing
from medferry.source.gate.gate import (
    EVENTS,
    GATE,
    REFUSAL,
    Gate,
    UnitGate,
    units_of,
)
from medferry.source.objects import Found, Trigger, literal, short

_PREFIX = "medferrygate"
"""Of its triggers; the journal's begin with another."""
_NAME_LIMIT = 64


class MysqlGate(Gate):
    rights = (
        "To install: CREATE, SELECT and TRIGGER on each gated table, SELECT on what their SELECTs read. "
        f"To act: SELECT, INSERT and UPDATE on {GATE}. The application needs none: "
        "triggers run with the rights of who made them, who needs these."
    )
    patience = "SET SESSION lock_wait_timeout = 5"
    delimiter = "$$"
    open_now = "(NOT closing OR closed_until <= UTC_TIMESTAMP(6))"
    seconds_left = "TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), closed_until) / 1e6"
    until = "TIMESTAMPADD(MICROSECOND, CAST(:seconds * 1000000 AS SIGNED), UTC_TIMESTAMP(6))"

    def table(self) -> str:
        return (
            f"CREATE TABLE {GATE} (unit VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, "
            "epoch BIGINT NOT NULL, closing TINYINT NOT NULL, closed_until DATETIME(6)) ENGINE=InnoDB"
        )

    def triggers(self, connection: sa.Connection) -> list[Trigger]:
        self.all_there(sa.inspect(connection).get_table_names())
        return [
            _trigger(table, event, units_of(unit, rows))
            for table, unit in self.gated.items()
            for event, rows in EVENTS.items()
        ]

    def found(self, connection: sa.Connection) -> list[Found]:
        statement = sa.text(
            "SELECT event_object_table, trigger_name, action_statement FROM information_schema.triggers "
            f"WHERE trigger_schema = DATABASE() AND trigger_name LIKE '{_PREFIX}\\_%' ORDER BY trigger_name"
        )
        return [
            Found(table, name, body.decode() if isinstance(body, bytes) else str(body), True, "", (_drop(name),))
            for table, name, body in connection.execute(statement)
        ]

    def close(self, engine: sa.Engine, unit: str, epoch: int, seconds: float, patience: float) -> UnitGate:
        with writing(engine, self) as connection:
            connection.execute(sa.text(f"SET SESSION innodb_lock_wait_timeout = {max(1, round(patience))}"))
            try:
                self._lock(connection, unit)
                return self._closed(connection, unit, epoch, seconds)
            finally:  # the session goes back to its pool
                connection.execute(sa.text("SET SESSION innodb_lock_wait_timeout = DEFAULT"))


def _trigger(table: str, event: str, units: Iterable[str]) -> Trigger:
    name = short(f"{_PREFIX}_{table}_{event[0]}".lower(), _NAME_LIMIT)
    tests = " ".join(_pass(unit) for unit in dict.fromkeys(units))
    body = (
        "BEGIN DECLARE medferry_unit VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin; "
        f"DECLARE medferry_closed TINYINT; DECLARE medferry_text VARCHAR(128); {tests} END"
    )
    return Trigger(table, name, body, (f"CREATE TRIGGER `{name}` BEFORE {event} ON `{table}` FOR EACH ROW {body}",),
                   (_drop(name),))  # fmt: skip


def _pass(unit: str) -> str:
    """By primary key: a scan would lock the gates of other units as well. A unit without a gate sets nothing."""
    message = f"CONCAT('medferry: the unit ', medferry_unit, {literal(f' {REFUSAL}')})"
    return (
        f"SET medferry_unit = CONVERT({unit} USING utf8mb4); SET medferry_closed = 0; "
        "IF medferry_unit IS NOT NULL THEN BEGIN DECLARE CONTINUE HANDLER FOR NOT FOUND SET medferry_closed = 0; "
        f"SELECT g.closing AND (g.closed_until IS NULL OR g.closed_until > UTC_TIMESTAMP(6)) INTO medferry_closed "
        f"FROM {GATE} g WHERE g.unit = medferry_unit LOCK IN SHARE MODE; END; END IF; "
        f"IF medferry_closed THEN SET medferry_text = LEFT({message}, 128); "
        "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = medferry_text; END IF;"
    )


def _drop(name: str) -> str:
    return f"DROP TRIGGER `{name}`"
