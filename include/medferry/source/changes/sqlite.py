"""The journal on SQLite, for demos and tests: one writer at a time, so the order of the rows is the order of commits.

``INSERT OR REPLACE`` that pushes another row out fires no trigger for that row; the sweep finds it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.changes.generations import no_table
from medferry.source.changes.journal import (
    CHANGE,
    HEARTBEAT,
    Journal,
)
from medferry.source.changes.lookups import NULL, Held
from medferry.source.changes.rules import KeyOf, Watched
from medferry.source.keys import INEXACT, SMALL_FLOATS
from medferry.source.objects import Found, Trigger, called_plainly, literal, short, word

_ANEW = f"INSERT OR REPLACE INTO {HEARTBEAT} VALUES ('{{name}}', hex(randomblob(16)), CURRENT_TIMESTAMP)"
"""SQLite tells of no trigger when it was made, so whoever makes one says so."""

_EVENTS = {"INSERT": ("I", ("NEW",)), "UPDATE": ("U", ("NEW", "OLD")), "DELETE": ("D", ("OLD",))}


class SqliteJournal(Journal):
    rights = "To install and to read: write access to the file."
    time = "CAST(at AS TEXT)"
    age = "CAST(strftime('%s', 'now') AS INTEGER) - CAST(strftime('%s', at) AS INTEGER)"
    writing_transactions = ""

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        return {
            CHANGE: (
                f"CREATE TABLE {CHANGE} (id INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, "
                "via TEXT NOT NULL DEFAULT '', key TEXT, "
                "op TEXT NOT NULL, position INTEGER, who TEXT NOT NULL DEFAULT '', "
                "application TEXT NOT NULL DEFAULT '', at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)",
            ),
            HEARTBEAT: (
                f"CREATE TABLE {HEARTBEAT} (name TEXT PRIMARY KEY, journal TEXT NOT NULL, at TEXT NOT NULL)",
                f"INSERT INTO {HEARTBEAT} VALUES ('journal', hex(randomblob(16)), CURRENT_TIMESTAMP)",
            ),
        }

    def called(self, _: sa.Connection, tables: Collection[str]) -> Mapping[str, str]:
        return called_plainly(tables)

    def gone(self, connection: sa.Connection) -> Mapping[str, SourceError]:
        there = {name.casefold() for name in sa.inspect(connection).get_table_names()}
        return {table: no_table(table) for table in self.watched if table.casefold() not in there}

    def triggers_on(self, _: sa.Connection, watched: Watched) -> list[Trigger]:
        found, called = [], called_plainly(watched)
        for table, keys in watched.items():
            for event, (op, rows) in _EVENTS.items():
                name = short(word(f"medferry_{table}_{event.lower()}"), 100)
                inserts = " ".join(_insert(table, key, op, rows) for key in keys)
                create = f"CREATE TRIGGER {name} AFTER {event} ON {called[table]} BEGIN {inserts} END"
                found.append(Trigger(table, name, create, (create, _ANEW.format(name=name)), (f"DROP TRIGGER {name}",)))
        return found

    def held(self, _: sa.Connection, _table: str, columns: Sequence[str]) -> Sequence[Held]:
        return [Held(_value)] * len(columns)

    def found(self, connection: sa.Connection) -> list[Found]:
        named = {table.casefold(): table for table in self.watched}
        there = sa.inspect(connection).has_table(HEARTBEAT)
        made = f"SELECT name, journal FROM {HEARTBEAT} WHERE name <> 'journal'"
        anew = [tuple(row) for row in connection.execute(sa.text(made))] if there else []
        generations = {str(name): str(journal) for name, journal in anew}
        statement = "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'medferry\\_%'"
        rows = connection.execute(sa.text(statement + " ESCAPE '\\' ORDER BY name"))
        return [
            Found(
                named.get(table.casefold(), table),
                name,
                sql,
                True,
                generations.get(name, ""),
                (f"DROP TRIGGER {name}",),
            )
            for table, name, sql in rows
        ]

    def server(self, _: sa.Connection) -> str:
        return "sqlite"

    def now(self, connection: sa.Connection) -> str:
        statement = f"SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = '{CHANGE}'"
        return str(connection.scalar(sa.text(statement)))

    def window(self, low: str, high: str) -> tuple[str, dict[str, Any]]:
        return "id > :low AND id <= :high", {"low": int(low), "high": int(high)}

    def behind(self, low: str) -> tuple[str, dict[str, Any]]:
        return "id > :low", {"low": int(low)}

    def mark(self, connection: sa.Connection) -> None:
        connection.execute(sa.text(f"UPDATE {HEARTBEAT} SET at = CURRENT_TIMESTAMP WHERE name = 'journal'"))


def _insert(table: str, key: KeyOf, op: str, rows: tuple[str, ...]) -> str:
    text = _values if key.is_select else _text
    keys = " UNION ".join(f"SELECT {text(key.logged(row))} AS key" for row in rows)
    via = literal(table if key.is_select else "")
    return (
        f"INSERT INTO {CHANGE} (entity, via, key, op) "
        f"SELECT {literal(key.entity)}, {via}, NULLIF(k.key, '{INEXACT}'), '{op}' "
        f"FROM ({keys}) AS k WHERE k.key IS NOT NULL;"
    )


def _text(parts: Sequence[str]) -> str:
    """The canonical text (`source.keys`) of a key's columns in SQL; null when any of them is."""
    texts = [f"CAST({_whole(part)} AS TEXT)" for part in parts]
    text = texts[0] if len(texts) == 1 else " || '/' || ".join(_escaped(text) for text in texts)
    return f"CASE WHEN {' OR '.join(_doubt(part) for part in parts)} THEN '{INEXACT}' ELSE {text} END"


def _values(parts: Sequence[str]) -> str:
    """Literals of what the columns hold: here each value has a type of its own, and 7 is not '7'."""
    return " || '/' || ".join(
        f"CASE WHEN {part} IS NULL THEN '\\{NULL}' ELSE {_escaped(_literal(part))} END" for part in parts
    )


def _escaped(text: str) -> str:
    return f"replace(replace({text}, '\\', '\\\\'), '/', '\\/')"


def _doubt(part: str) -> str:
    """Whether the text of a float may be another than the key's: it has 15 digits, and a small one another form.

    Of an integer below 2^53 by a power of ten the quotient is the float that is next to the text; SQLite's own reading
    of a text may be the one beside it.
    """
    fraction, text = f"typeof({part}) = 'real' AND ({part}) <> CAST({part} AS INTEGER)", f"CAST({part} AS TEXT)"
    power = f"CAST('1e' || (length({text}) - instr({text}, '.')) AS REAL)"
    read = f"CAST(replace({text}, '.', '') AS INTEGER) / {power}"
    return f"({fraction} AND (abs({part}) < {SMALL_FLOATS} OR {read} <> ({part})))"


def _whole(part: str) -> str:
    """1.0 is the key 1."""
    whole = f"CAST({part} AS INTEGER)"
    return f"CASE WHEN typeof({part}) = 'real' AND ({part}) = {whole} THEN {whole} ELSE {part} END"


def _literal(part: str) -> str:
    return f"CASE WHEN typeof({part}) = 'text' THEN 'T' || {part} ELSE quote({part}) END"


def _value(literal: str) -> Any:
    """The value of a literal. Raises ValueError, also for bytes that are no text and cannot be bound as one."""
    if literal.startswith("T"):
        return literal[1:].encode().decode()
    if literal.startswith("X'"):
        return bytes.fromhex(literal[2:-1])
    return float(literal) if any(mark in literal for mark in ".eE") else int(literal)
