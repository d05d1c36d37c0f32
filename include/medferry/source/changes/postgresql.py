"""The journal on PostgreSQL (13 and later).

A change carries its transaction's id; it belongs to the cut whose snapshot sees that transaction while its
predecessor's does not, so a cut needs no writing and no waiting. The functions run with their owner's rights: the
application needs none on the journal. Triggers fire ALWAYS, in a session with ``session_replication_role = replica``
too. TRUNCATE is not MVCC-safe: a snapshot older than it may find the table empty already; the next cut tells of it.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.changes.generations import ChangesUnseen, no_table
from medferry.source.changes.journal import (
    CHANGE,
    HEARTBEAT,
    Journal,
    ReadFromStandby,
)
from medferry.source.changes.lookups import NULL, Held, OtherColumns
from medferry.source.changes.rules import KeyOf, Watched, bare, column_of
from medferry.source.identity import postgresql_server
from medferry.source.keys import EXACT_FLOATS, SMALL_FLOATS
from medferry.source.objects import Fault, Found, Trigger, literal
from medferry.source.postgresql_triggers import (
    WRITTEN,
    Kind,
    TriggerKind,
    called,
    families,
    foreign_beneath,
    heirs,
    quoted_keys,
    search_path,
    written,
)
from medferry.source.session import POSTGRESQL


class PostgresqlJournal(Journal):
    rights = (
        "To install: CREATE on the schema, and the ownership of (or SELECT and TRIGGER on) each captured table, and "
        "SELECT on what their SELECTs read. "
        f"To read: SELECT on the captured tables, {CHANGE} and {HEARTBEAT}; UPDATE on {HEARTBEAT}. "
        f"For a cutover: INSERT on {CHANGE}. "
        "The application needs none."
    )
    time = "CAST(at AS TEXT)"
    age = "CAST(ceil(extract(epoch FROM transaction_timestamp() - at)) AS bigint)"
    oldest_transaction = (
        "SELECT floor(extract(epoch FROM max(clock_timestamp() - xact_start))) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
    )
    writing_transactions = (
        "SELECT CASE WHEN query <> '<insufficient privilege>' "
        "THEN floor(extract(epoch FROM clock_timestamp() - xact_start)) END FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND (query = '<insufficient privilege>' "
        "OR (backend_type = 'client backend' AND backend_xid IS NOT NULL))"
    )
    patience = "SET LOCAL lock_timeout = '5s'"

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        return {
            CHANGE: (
                f"CREATE TABLE {CHANGE} (id bigint NOT NULL DEFAULT {_ID}, entity text NOT NULL, "
                "via text NOT NULL DEFAULT '', "
                'key text, op "char" NOT NULL, position xid8 NOT NULL DEFAULT pg_current_xact_id(), '
                "who text NOT NULL DEFAULT session_user, "
                "application text NOT NULL DEFAULT current_setting('application_name'), "
                "at timestamptz NOT NULL DEFAULT clock_timestamp())",
                f"CREATE INDEX {CHANGE}_position ON {CHANGE} (position)",
                *_WITHOUT_KEY,
            ),
            HEARTBEAT: (
                f"CREATE TABLE {HEARTBEAT} (name text PRIMARY KEY, journal text NOT NULL, at timestamptz NOT NULL)",
                f"INSERT INTO {HEARTBEAT} VALUES "
                "('journal', md5(random()::text || clock_timestamp()::text), clock_timestamp())",
            ),
        }

    def faults_of_tables(self, connection: sa.Connection) -> list[Fault]:
        primary_key = connection.execute(sa.text(_BY_SEQUENCE)).scalars().first()
        if primary_key is None:
            return super().faults_of_tables(connection)
        mend = (
            f"ALTER TABLE {CHANGE} ALTER COLUMN id DROP IDENTITY, DROP CONSTRAINT {primary_key}, "
            f"ALTER COLUMN id SET NOT NULL, ALTER COLUMN id SET DEFAULT {_ID}",
            *_WITHOUT_KEY,
        )
        told = (
            f"{CHANGE}.id takes numbers of a sequence, so lastval() tells the application of a row that is not its own"
        )
        return [*super().faults_of_tables(connection), Fault(told, mend, unseen=False)]

    def called(self, connection: sa.Connection, tables: Collection[str]) -> Mapping[str, str]:
        return called(connection, tables)

    def quoted(self, connection: sa.Connection, keys: Watched) -> Watched:
        return quoted_keys(connection, keys)

    def gone(self, connection: sa.Connection) -> Mapping[str, SourceError]:
        found = dict[str, SourceError]()
        for table, family in families(connection, self.watched).items():
            if not family:
                found[table] = no_table(table)
            elif why := _VIEWS.get(family[0].kind):
                found[table] = no_table(table, why)
            elif foreign := foreign_beneath(family):
                found[table] = ChangesUnseen(
                    f"What {table} holds is in a foreign table ({', '.join(foreign)}): what is written on its own "
                    "server fires no trigger here.",
                    "Write `method: sweep` for the entity in capture.yaml, or the table under `static` with a reason.",
                )
        return found

    def triggers_on(self, connection: sa.Connection, watched: Watched) -> list[Trigger]:
        path, kinds, found = search_path(connection), self._kinds(connection), list[Trigger]()
        named = self.called(connection, watched)
        for table, of_tables in heirs(connection, watched).items():
            found += _TRIGGERS.wanted(
                table, named.get(table, table), path, _body([(of, watched[of], kinds[of]) for of in of_tables])
            )
        return found

    def held(self, connection: sa.Connection, table: str, columns: Sequence[str]) -> Sequence[Held]:
        types = {str(name): (sql, base) for name, sql, base in connection.execute(sa.text(_TYPES), written([table]))}
        if absent := {bare(column) for column in columns} - types.keys():
            raise OtherColumns(absent)
        return [_held(*types[bare(column)]) for column in columns]

    def found(self, connection: sa.Connection) -> list[Found]:
        return _TRIGGERS.found(connection, self.watched)

    def _kinds(self, connection: sa.Connection) -> Mapping[str, Kinds]:
        """Table → its columns that are not printed as they are read, and their types."""
        found: dict[str, dict[str, str]] = {table: {} for table in self.watched}
        for table, column, kind in connection.execute(sa.text(_KINDS), written(self.watched)):
            found[table][str(column)] = str(kind)
        return found

    def server(self, connection: sa.Connection) -> str:
        system, timeline = postgresql_server(connection)
        return f"{system}:{timeline}:{connection.scalar(sa.text('SELECT current_database()'))}"

    def check_reader(self, connection: sa.Connection) -> None:
        if connection.scalar(sa.text("SELECT pg_is_in_recovery()")):
            raise ReadFromStandby(
                "The legacy database is read from a standby, which does not tell the transactions that are open: what "
                "they change would be in no cut.",
                "Let MEDFERRY_SOURCE_URL (in Airflow the plan's connection) be the primary for a wave in step; loads "
                "and verifications may read a standby. A wave that was in step from one wants a complete sweep.",
            )

    def now(self, connection: sa.Connection) -> str:
        return str(connection.scalar(sa.text("SELECT pg_current_snapshot()::text")))

    def window(self, low: str, high: str) -> tuple[str, dict[str, Any]]:
        # The bounds are for the index; the two snapshots decide.
        condition = (
            "position >= pg_snapshot_xmin(CAST(:low AS pg_snapshot)) "
            "AND position < pg_snapshot_xmax(CAST(:high AS pg_snapshot)) "
            "AND pg_visible_in_snapshot(position, CAST(:high AS pg_snapshot)) "
            "AND NOT pg_visible_in_snapshot(position, CAST(:low AS pg_snapshot))"
        )
        return condition, {"low": low, "high": high}

    def behind(self, low: str) -> tuple[str, dict[str, Any]]:
        condition = (
            "position >= pg_snapshot_xmin(CAST(:low AS pg_snapshot)) "
            "AND NOT pg_visible_in_snapshot(position, CAST(:low AS pg_snapshot))"
        )
        return condition, {"low": low}

    def mark(self, connection: sa.Connection) -> None:
        connection.execute(sa.text(f"UPDATE {HEARTBEAT} SET at = clock_timestamp() WHERE name = 'journal'"))


_ID = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)"
"""The clock in microseconds. A sequence would change `lastval()` in the application's session, which then takes the
journal's number for the key of its own row. Several rows may share an id, and a clock may go back."""

_WITHOUT_KEY = (
    f"CREATE INDEX {CHANGE}_id ON {CHANGE} (id)",
    f"ALTER TABLE {CHANGE} REPLICA IDENTITY FULL",
)
"""A unique index could abort the application's transaction; a table that is published has to tell what was deleted."""

_BY_SEQUENCE = f"""
SELECT quote_ident(c.conname) FROM pg_attribute a JOIN pg_constraint c ON c.conrelid = a.attrelid AND c.contype = 'p'
WHERE a.attrelid = to_regclass('{CHANGE}') AND a.attname = 'id' AND a.attidentity <> ''
"""
"""The primary key of a journal as earlier versions made it."""

_PRINTS = ("TimeZone", "DateStyle", "IntervalStyle", "bytea_output", "extra_float_digits")
_PINNED = " ".join(f"SET {name} = {POSTGRESQL[name]}" for name in _PRINTS)
"""A key is printed as it will be read, whatever the application's session has set."""

_TRIGGERS = TriggerKind("medferry_log", "AFTER", f"{_PINNED} ")

Kinds = Mapping[str, str]

_BASE = """
(WITH RECURSIVE below (type, next) AS (
  SELECT oid, typbasetype FROM pg_type WHERE oid = a.atttypid
  UNION ALL SELECT t.oid, t.typbasetype FROM below JOIN pg_type t ON t.oid = below.next
) SELECT type::regtype::text FROM below WHERE next = 0)
"""
"""The type of a column `a`: of a domain, the one below it."""

_OTHERWISE = "('bytea', 'boolean', 'real', 'double precision')"

_KINDS = f"""
SELECT name, attname, base FROM (
  SELECT watched.name, a.attname::text, {_BASE} AS base FROM {WRITTEN} AS watched
  JOIN pg_attribute a ON a.attrelid = watched.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_type t ON t.oid = a.atttypid AND (t.typtype = 'd' OR t.oid::regtype::text IN {_OTHERWISE})
) AS typed WHERE base IN {_OTHERWISE}
"""

_TYPES = f"""
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), {_BASE} FROM pg_attribute a
WHERE a.attrelid = (SELECT oid FROM {WRITTEN} AS watched) AND a.attnum > 0 AND NOT a.attisdropped
"""


def _held(sql: str, base: str) -> Held:
    return Held(partial(b64decode, validate=True) if base == "bytea" else str, f"CAST({{}} AS {sql})")


_VIEWS: Mapping[str, str] = {Kind.VIEW: "it is a view", Kind.MATERIALIZED: "it is a materialized view"}


def _body(of_tables: Sequence[tuple[str, tuple[KeyOf, ...], Kinds]]) -> str:
    """What the triggers of a table do: the rules of each watched table whose rows it holds."""
    rules = [(table, key, kinds) for table, keys, kinds in of_tables for key in keys]

    def inserts(op: str, *rows: str) -> list[str]:
        return list(dict.fromkeys(_insert(table, key, kinds, op, *rows) for table, key, kinds in rules))

    whole = ", ".join(f"({literal(key.entity)}, 'T')" for _, key, _ in rules)
    lines = ["", "BEGIN", "  IF TG_OP = 'TRUNCATE' THEN", f"    INSERT INTO {CHANGE} (entity, op) VALUES {whole};"]
    lines += ["  ELSIF TG_OP = 'INSERT' THEN", *inserts("I", "NEW")]
    lines += ["  ELSIF TG_OP = 'UPDATE' THEN", *inserts("U", "NEW", "OLD")]
    lines += [
        "  ELSE",
        *inserts("D", "OLD"),
        "  END IF;",
        "  RETURN NULL;",
        "END",
        "",
    ]
    return "\n".join(lines)


def _insert(table: str, key: KeyOf, kinds: Kinds, op: str, *rows: str) -> str:
    keys = " UNION ".join(f"SELECT {_text(key, row, kinds)}" for row in rows)
    via = literal(table if key.is_select else "")
    return (
        f"    INSERT INTO {CHANGE} (entity, via, key, op) SELECT {literal(key.entity)}, {via}, k.key, '{op}' "
        f"FROM ({keys}) AS k(key) WHERE k.key IS NOT NULL;"
    )


def _text(key: KeyOf, row: str, kinds: Kinds) -> str:
    """The text of a key's columns in SQL: the canonical one (`source.keys`), null when any of them is; or one of which
    `lookups` reads each.
    """
    texts = [_part(part, kinds.get(column_of(part), "")) for part in key.logged(row)]
    if len(texts) == 1 and not key.is_select:
        return texts[0]
    texts = [f"replace(replace({one}, chr(92), repeat(chr(92), 2)), '/', chr(92) || '/')" for one in texts]
    if key.is_select:
        texts = [f"coalesce({one}, chr(92) || '{NULL}')" for one in texts]
    return " || '/' || ".join(texts)


def _part(part: str, kind: str) -> str:
    if kind == "bytea":
        return f"translate(encode({part}, 'base64'), chr(10), '')"
    if kind == "boolean":  # concat prints it as one letter
        return f"CAST({part} AS text)"
    if kind in ("real", "double precision"):  # as Python prints it; a cast to numeric alone would round
        plain = f"abs({part}) < {EXACT_FLOATS} AND (abs({part}) >= {SMALL_FLOATS} OR {part} = 0)"
        text = f"CAST({part} AS text)"
        return f"CASE WHEN {plain} THEN CAST(CAST({text} AS numeric) AS text) ELSE {text} END"
    # concat prints a CHAR with its padding, as it is read; a cast would cut that off.
    return f'CASE WHEN ({part}) IS NOT NULL THEN concat({part}) END COLLATE "C"'
