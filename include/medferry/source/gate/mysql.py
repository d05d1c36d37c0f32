"""The gates on MySQL and MariaDB (InnoDB).

Writers read their unit's row LOCK IN SHARE MODE: always its newest version, whatever their snapshot. Closing updates
the row, so it waits for those in flight, and who comes meanwhile waits behind it and is refused then. One that is
prepared (XA) has given its shared lock back and is committed whenever its coordinator likes: so, once nobody new comes
through, closing waits until the server has none. Foreign keys that cascade fire no trigger of the child: the parent's
gate stands for what its rows take along.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.errors import MedferryError
from medferry.source.changes.cuts import writing
from medferry.source.faults import code_of
from medferry.source.gate.gate import (
    EVENTS,
    GATE,
    REFUSAL,
    Gate,
    GateBroken,
    GateState,
    UnitGate,
    WritersInFlight,
    units_of,
)
from medferry.source.objects import Found, Trigger, literal, short

_PREFIX = "medferrygate"
"""Of its triggers; the journal's begin with another."""
_NAME_LIMIT = 64
_LOOK_SECONDS = 0.1
"""Between two looks for prepared transactions."""
_PREPARING = (
    "SELECT count(*) FROM information_schema.processlist "
    "WHERE id <> CONNECTION_ID() AND info REGEXP 'XA[[:space:]]+PREPARE'"
)
"""A session that is at it may have given its lock back, and XA RECOVER does not show it yet."""
_SEES_ALL = "SELECT count(*) FROM information_schema.innodb_trx"
"""Refused without PROCESS; the list of sessions is only shorter then."""


class MysqlGate(Gate):
    rights = (
        "To install: CREATE, SELECT and TRIGGER on each gated table, SELECT on what their SELECTs read. "
        f"To act: SELECT, INSERT and UPDATE on {GATE}, and, to see prepared (XA) transactions, PROCESS and on MySQL 8 "
        "XA_RECOVER_ADMIN as well. The application needs none: triggers run with the rights of who made them, who "
        "needs these."
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

    def called(self, _: sa.Connection, tables: Collection[str]) -> Mapping[str, str]:
        return {table: f"`{table}`" for table in tables}

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

    def check(self, connection: sa.Connection) -> None:
        """Raises GateBroken also where the account may not see prepared transactions."""
        super().check(connection)
        _prepared(connection)

    def close(self, engine: sa.Engine, unit: str, epoch: int, seconds: float, patience: float) -> UnitGate:
        until = time.monotonic() + patience
        with writing(engine, self) as connection:
            _prepared(connection)  # who may not look closes nothing
            connection.execute(sa.text(f"SET SESSION innodb_lock_wait_timeout = {max(1, round(patience))}"))
            try:
                self._lock(connection, unit)
                self._closed(connection, unit, epoch, seconds)
            finally:  # the session goes back to its pool
                connection.execute(sa.text("SET SESSION innodb_lock_wait_timeout = DEFAULT"))
        try:
            with writing(engine, self) as connection:
                _none_prepared(connection, until)
                closed = self.read(connection, unit)
        except MedferryError:
            self.open(engine, unit, epoch)
            raise
        if closed.state is not GateState.CLOSED:
            raise WritersInFlight(f"The time of {unit} was over before its writers had ended.", "Close it for longer.")
        return closed


def _none_prepared(connection: sa.Connection, until: float) -> None:
    """Wait until the server has no prepared transaction: of none can be told what it has written.

    Raises WritersInFlight when it still has one `until` then.
    """
    while _prepared(connection):
        if time.monotonic() >= until:
            raise WritersInFlight(
                "The server has prepared transactions (XA), which may have written the unit and are not ended yet.",
                "It is open as before. See XA RECOVER: let their coordinator end them, or have more patience.",
            )
        time.sleep(_LOOK_SECONDS)


def _prepared(connection: sa.Connection) -> bool:
    """Whether the server has prepared transactions, of whatever database, or one that is becoming so.

    Raises GateBroken for an account that may not see them.
    """
    try:
        connection.exec_driver_sql(_SEES_ALL)
        preparing = connection.exec_driver_sql(
            _PREPARING
        ).scalar()  # before the look: after it, it may have become so unseen
        return bool(preparing) or bool(connection.exec_driver_sql("XA RECOVER").all())
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        raise GateBroken(
            f"The account may not see the server's prepared (XA) transactions ({code_of(error)}).",
            "Grant it PROCESS on *.*, and on MySQL 8 XA_RECOVER_ADMIN as well.",
        ) from None


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
