"""The journal on MySQL and MariaDB (InnoDB).

A change belongs to the cut that first finds it there: `mark` numbers what is committed and has no number yet. It reads
the ids without a lock and updates them by primary key, under READ COMMITTED: an ``UPDATE … WHERE position IS NULL``
would wait for every open transaction of the application. Foreign keys that cascade fire no trigger of the child, so the
parent's triggers log the children. TRUNCATE fires none at all; the sweep finds it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import sqlalchemy as sa
from more_itertools import chunked

from medferry.errors import SourceError
from medferry.source.changes import generations
from medferry.source.changes.cascades import cascading, statements
from medferry.source.changes.journal import (
    CHANGE,
    HEARTBEAT,
    CaptureBroken,
    Journal,
)
from medferry.source.changes.lookups import NULL, Held
from medferry.source.changes.rules import KeyOf, Watched, bare, column_of
from medferry.source.identity import mysql_server
from medferry.source.keys import EXACT_FLOATS, INEXACT, SMALL_FLOATS
from medferry.source.kinds import Kind, held_values, kinds_of
from medferry.source.objects import Fault, Found, Trigger, literal, short
from medferry.source.table_engines import catalogue_text, without_transactions

_IDS_AT_ONCE = 1_000
_NAME_LIMIT = 64
_EVENTS = (
    ("AFTER INSERT", "I", ("NEW",)),
    ("AFTER UPDATE", "U", ("NEW", "OLD")),
    ("AFTER DELETE", "D", ("OLD",)),
)


class MysqlJournal(Journal):
    rights = (
        "To install: CREATE, SELECT and TRIGGER on each captured table, SELECT on what their SELECTs read "
        "(with binary logging also log_bin_trust_function_creators, or the right to create triggers). "
        f"To read: SELECT and TRIGGER on the captured tables, SELECT and UPDATE on {CHANGE} and {HEARTBEAT}. "
        f"For a cutover: INSERT on {CHANGE}. "
        "The application needs none: triggers run with the rights of who made them."
    )
    patience = "SET SESSION lock_wait_timeout = 5"
    delimiter = "$$"
    """A trigger's body holds semicolons."""
    key, exact_key = "`key`", "CAST(`key` AS BINARY)"
    of_a_row: ClassVar[Mapping[str, str]] = {"who": "USER()", "at": "UTC_TIMESTAMP(6)"}
    oldest_transaction = (
        "SELECT MAX(TIMESTAMPDIFF(SECOND, CONVERT_TZ(trx_started, 'SYSTEM', '+00:00'), UTC_TIMESTAMP())) "
        "FROM information_schema.innodb_trx "
        "WHERE trx_mysql_thread_id <> CONNECTION_ID()"
    )
    writing_transactions = (
        "SELECT TIMESTAMPDIFF(SECOND, CONVERT_TZ(trx_started, 'SYSTEM', '+00:00'), UTC_TIMESTAMP()) "
        "FROM information_schema.innodb_trx "
        "WHERE trx_mysql_thread_id <> CONNECTION_ID() AND (trx_rows_modified > 0 OR trx_rows_locked > 0)"
    )
    age = "CEIL(TIMESTAMPDIFF(MICROSECOND, at, UTC_TIMESTAMP(6)) / 1000000)"

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        return {
            CHANGE: (
                f"CREATE TABLE {CHANGE} (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, entity VARCHAR(40) NOT NULL, "
                "via VARCHAR(64) NOT NULL, `key` TEXT, op CHAR(1) NOT NULL, position BIGINT UNSIGNED, "
                "who VARCHAR(255) NOT NULL, application VARCHAR(255) NOT NULL DEFAULT '', at DATETIME(6) NOT NULL, "
                f"KEY {CHANGE}_position (position)) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            ),
            HEARTBEAT: (
                f"CREATE TABLE {HEARTBEAT} (name VARCHAR(40) PRIMARY KEY, journal VARCHAR(40) NOT NULL, "
                "at DATETIME(6) NOT NULL, cut BIGINT UNSIGNED NOT NULL) ENGINE=InnoDB",
                f"INSERT INTO {HEARTBEAT} VALUES ('journal', UUID(), UTC_TIMESTAMP(6), 0)",
            ),
        }

    def called(self, _: sa.Connection, tables: Collection[str]) -> Mapping[str, str]:
        return {table: f"`{table}`" for table in tables}

    def gone(self, connection: sa.Connection) -> Mapping[str, SourceError]:
        there = set(sa.inspect(connection).get_table_names())
        return {table: generations.no_table(table) for table in self.watched if table not in there}

    def unlogged(self, connection: sa.Connection, gone: Mapping[str, SourceError]) -> dict[str, SourceError]:
        engines = without_transactions(connection, self.watched)
        return generations.without_transactions(self.watched, engines) | super().unlogged(connection, gone)

    def faults(self, connection: sa.Connection, there_are: Sequence[Found] | None = None) -> list[Fault]:
        for error in self.unlogged(connection, {}).values():
            raise CaptureBroken(error.problem, error.remedy)
        return super().faults(connection, there_are)

    def faults_of_tables(self, connection: sa.Connection) -> list[Fault]:
        """A server gives a table another engine than it was asked for, where that is off and its mode allows it."""
        engines = without_transactions(connection, self.named)
        return super().faults_of_tables(connection) + [
            Fault(f"the table {name} is of the engine {engine}", (f"ALTER TABLE {name} ENGINE=InnoDB",))
            for name, engine in engines.items()
        ]

    def triggers_on(self, connection: sa.Connection, watched: Watched) -> list[Trigger]:
        found: dict[tuple[str, str], list[str]] = defaultdict(list)
        kinds = _kinds(connection)
        for table, keys in watched.items():
            for event, op, rows in _EVENTS:
                found[table, event] += [_insert(table, key, kinds[table], op, rows) for key in keys]
        for chain in cascading(connection, watched):
            text = partial(_key, kinds=kinds[chain.child])
            for event, select, key in statements(chain, watched[chain.child], text):
                found[chain.parent, event].append(_logged(chain.child, key, "C", select))
        return [_trigger(table, event, inserts) for (table, event), inserts in sorted(found.items())]

    def held(self, connection: sa.Connection, table: str, columns: Sequence[str]) -> Sequence[Held]:
        kinds = kinds_of(connection, [sa.column(bare(column)) for column in columns], sa.text(f"`{table}`"))
        return [Held(partial(_value, kind)) for kind in kinds]

    def found(self, connection: sa.Connection) -> list[Found]:
        statement = sa.text(
            "SELECT event_object_table, trigger_name, action_statement, created FROM information_schema.triggers "
            "WHERE trigger_schema = DATABASE() AND trigger_name LIKE 'medferry\\_%' ORDER BY trigger_name"
        )
        return [
            Found(table, name, catalogue_text(body), True, str(created), (f"DROP TRIGGER `{name}`",))
            for table, name, body, created in connection.execute(statement)
        ]

    def server(self, connection: sa.Connection) -> str:
        return f"{mysql_server(connection)}/{connection.scalar(sa.text('SELECT DATABASE()'))}"

    def now(self, connection: sa.Connection) -> str:
        return str(connection.scalar(sa.text(f"SELECT cut FROM {HEARTBEAT} WHERE name = 'journal'")))

    def window(self, low: str, high: str) -> tuple[str, dict[str, Any]]:
        return "position > :low AND position <= :high", {"low": int(low), "high": int(high)}

    def behind(self, low: str) -> tuple[str, dict[str, Any]]:
        return "(position IS NULL OR position > :low)", {"low": int(low)}

    def mark(self, connection: sa.Connection) -> None:
        """Two that mark at once take turns at the heartbeat's row."""
        beat = f"UPDATE {HEARTBEAT} SET cut = cut + 1, at = UTC_TIMESTAMP(6) WHERE name = 'journal'"
        connection.execute(sa.text(beat))
        number = connection.scalar(sa.text(f"SELECT cut FROM {HEARTBEAT} WHERE name = 'journal'"))
        ids = connection.scalars(sa.text(f"SELECT id FROM {CHANGE} WHERE position IS NULL")).all()
        update = sa.text(f"UPDATE {CHANGE} SET position = :number WHERE id IN :ids")
        update = update.bindparams(sa.bindparam("ids", expanding=True))
        for some in chunked(ids, _IDS_AT_ONCE):
            connection.execute(update, {"number": number, "ids": some})


Kinds = Mapping[str, str]

_FIXED = "(m,d)"
_FLOATS = ("float", "double", f"float{_FIXED}", f"double{_FIXED}")
"""One of so many decimals, as DOUBLE(10,2), is printed with these, whatever it holds."""


def _kinds(connection: sa.Connection) -> Mapping[str, Kinds]:
    """Table → its columns that are not printed as they are read, in lower case, and their types."""
    statement = sa.text(
        "SELECT table_name, column_name, CONCAT(data_type, COALESCE(datetime_precision, "
        f"IF(data_type IN ('float', 'double') AND numeric_scale IS NOT NULL, '{_FIXED}', ''))) "
        "FROM information_schema.columns WHERE table_schema = DATABASE() "
        "AND (data_type LIKE '%binary' OR data_type LIKE '%blob' "
        "OR data_type IN ('bit', 'float', 'double', 'timestamp'))"
    )
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for table, column, kind in connection.execute(statement):
        found[catalogue_text(table)][catalogue_text(column).casefold()] = catalogue_text(kind)
    return found


def _trigger(table: str, event: str, inserts: list[str]) -> Trigger:
    timing, verb = event.split()
    name = short(f"medferry_{table}_{timing[0]}{verb[0]}".lower(), _NAME_LIMIT)
    body = "BEGIN " + " ".join(inserts) + " END"
    create = f"CREATE TRIGGER `{name}` {event} ON `{table}` FOR EACH ROW {body}"
    return Trigger(table, name, body, (create,), (f"DROP TRIGGER `{name}`",))


def _insert(table: str, key: KeyOf, kinds: Kinds, op: str, rows: tuple[str, ...]) -> str:
    return _logged(table, key, op, " UNION ".join(f"SELECT {_key(key, row, kinds)} AS k" for row in rows))


def _logged(table: str, key: KeyOf, op: str, keys: str) -> str:
    via = literal(table if key.is_select else "")
    return (
        f"INSERT INTO {CHANGE} (entity, via, `key`, op, who, at) "
        f"SELECT {literal(key.entity)}, {via}, CONVERT(NULLIF(k.k, '{INEXACT}') USING utf8mb4), '{op}', "
        "USER(), UTC_TIMESTAMP(6) "
        f"FROM ({keys}) AS k WHERE k.k IS NOT NULL;"
    )


_BACKSLASH = "CHAR(92 USING utf8mb4)"
"""Whether a backslash in a literal stands for itself is a setting."""


def _key(key: KeyOf, row: str, kinds: Kinds) -> str:
    """The text of a key's columns in SQL: the canonical one (`source.keys`), null when any of them is; or one of which
    `lookups` reads each.

    It is compared byte by byte: `a` and `A` are two keys, and `a` and `a ` too, whatever the column's collation says.
    """
    parts = [(part, kinds.get(column_of(part).casefold(), "")) for part in key.logged(row)]
    texts = [_double(part) if key.is_select and kind in _FLOATS else _part(part, kind) for part, kind in parts]
    if len(texts) > 1 or key.is_select:
        twice = f"REPEAT({_BACKSLASH}, 2)"
        escaped = f"CONCAT({_BACKSLASH}, '/')"
        texts = [f"REPLACE(REPLACE({text}, {_BACKSLASH}, {twice}), '/', {escaped})" for text in texts]
    if key.is_select:
        texts = [f"COALESCE({text}, CONCAT({_BACKSLASH}, '{NULL}'))" for text in texts]
    text = texts[0] if len(texts) == 1 else "CONCAT(" + ", '/', ".join(texts) + ")"
    doubts = [_doubt(part, kind) for part, kind in parts if kind in _FLOATS and not key.is_select]
    text = f"IF({' OR '.join(doubts)}, '{INEXACT}', {text})" if doubts else text
    return f"CAST(CONVERT({text} USING utf8mb4) AS BINARY)"


def _double(part: str) -> str:
    """Of a FLOAT only a double has all digits."""
    return f"CAST({part} + 0e0 AS CHAR)"


def _printed(part: str, kind: str) -> str:
    return f"CAST({part} AS CHAR)" if kind == "float" else _double(part)


def _doubt(part: str, kind: str) -> str:
    """Whether the text of a float may be another than the key's: a small one is printed in another form, and of a FLOAT
    six digits, which are it where they are nearer than half the way to the next.
    """
    doubts = [f"{part} <> FLOOR({part})" if kind.endswith(_FIXED) else f"{part} <> 0 AND ABS({part}) < {SMALL_FLOATS}"]
    if kind.startswith("float"):
        off = f"ABS(CAST({part} AS CHAR) - ({part} + 0e0)) >= ABS({part}) * {2.0**-25!r}"
        doubts += [f"{part} <> FLOOR({part}) AND {off}", f"ABS({part}) > {2**24}"]
    return f"({' OR '.join(doubts)})"


def _part(part: str, kind: str) -> str:
    if kind == "bit":  # bits are read as a number
        return f"CONVERT({part} + 0 USING utf8mb4)"
    if kind.startswith("timestamp"):
        return _instant(part, int(kind.removeprefix("timestamp")))
    if kind in _FLOATS:
        exact = f"ABS({part}) < {EXACT_FLOATS}"
        whole = f"{part} = FLOOR({part}) AND {exact} THEN CAST(CAST({part} + 0e0 AS SIGNED) AS CHAR)"
        digits = _printed(part, kind)
        fraction = f"{exact} THEN TRIM(TRAILING '0' FROM CAST({digits} AS DECIMAL(65, 30)))"
        return f"CONVERT(CASE WHEN {whole} WHEN {fraction} ELSE {digits} END USING utf8mb4)"
    if kind:
        return f"REPLACE(TO_BASE64({part}), CHAR(10 USING utf8mb4), '')"
    return f"CONVERT({part} USING utf8mb4)"


def _instant(part: str, digits: int) -> str:
    """In UTC, whatever the application's time zone is; its seconds are told apart in the hour that comes twice, too."""
    since = f"TIMESTAMP'1970-01-01 00:00:00' + INTERVAL UNIX_TIMESTAMP({part}) SECOND"
    instant = f"CONCAT(CAST(CAST({since} AS DATETIME({digits})) AS CHAR), '+00:00')"
    printed = f"CAST({part} AS CHAR)"  # a zero date is no instant
    return f"CONVERT(IF({printed} LIKE '0000%', {printed}, {instant}) USING utf8mb4)"


def _value(kind: Kind, text: str) -> Any:
    """What is compared with a column of such a kind. Raises ValueError."""
    (value,) = held_values("mysql", kind, [text])
    return value
