"""What can be seen of the journal and its database beside the changes: ages, heartbeat, old transactions, writers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.source.changes.journal import CHANGE, FENCE, HEARTBEAT, TABLES, Journal
from medferry.source.changes.positions import place_of
from medferry.source.keys import ledger_key

Ages = dict[str, dict[str, int]]
"""Entity → age of a change now, in whole seconds by the legacy clock → changes of that age."""


Own = Mapping[str, Collection[str]]
"""Entity → keys, as the manifest writes them: whose changes count, beside those of other waves."""


def ages_in_cut(journal: Journal, connection: sa.Connection, previous: str, position: str, own: Own) -> Ages:
    """Of the changes of a cut."""
    window = journal.window(place_of(previous), place_of(position))
    return _ages(journal, connection, *window, own)


def ages_behind(journal: Journal, connection: sa.Connection, position: str, own: Own) -> Ages:
    """Of the changes that are in no cut up to a position."""
    return _ages(journal, connection, *journal.behind(place_of(position)), own)


def _ages(journal: Journal, connection: sa.Connection, condition: str, values: Mapping[str, Any], own: Own) -> Ages:
    columns = f"entity, via, min({journal.key}), {journal.age}"
    of = f"entity, via, {journal.exact_key}, {journal.age}"
    statement = sa.text(f"SELECT {columns} AS seconds, count(*) FROM {CHANGE} WHERE {condition} GROUP BY {of}")
    found: Ages = {}
    for entity, via, key, seconds, number in connection.execute(statement, values):
        # What was logged by another table's key, or of a whole table, counts where any key of the entity does.
        counts = entity in own and (bool(via) or key is None or ledger_key(str(key)) in own[entity])
        if counts:
            of_entity, age = found.setdefault(str(entity), {}), str(max(0, int(seconds)))
            of_entity[age] = of_entity.get(age, 0) + int(number)
    return found


def is_installed(connection: sa.Connection) -> bool:
    """Whether the journal's tables are there."""
    return set(TABLES) <= set(sa.inspect(connection).get_table_names())


def heartbeat_seconds(journal: Journal, connection: sa.Connection) -> int:
    """How long ago a cut was marked, by the legacy clock."""
    return max(0, int(connection.scalar(sa.text(f"SELECT {journal.age} FROM {HEARTBEAT} WHERE name = 'journal'")) or 0))


def oldest_transaction_seconds(journal: Journal, connection: sa.Connection) -> int | None:
    """The age of the oldest transaction that others have open; None where there is none, or it cannot be seen."""
    if not journal.oldest_transaction:
        return None
    try:
        with connection.begin_nested():
            seconds = connection.scalar(sa.text(journal.oldest_transaction))
    except DBAPIError:
        return None  # a right that the reading account lacks
    return None if seconds is None else max(0, int(seconds))


def writing_transactions_seconds(journal: Journal, connection: sa.Connection) -> list[int] | None:
    """The ages of the transactions that others have open and have written in; None: they cannot be seen.

    SQLite has one writer at a time, and nobody to wait for.
    """
    if not journal.writing_transactions:
        return [] if journal.writing_transactions == "" else None
    try:
        with connection.begin_nested():
            found = list(connection.scalars(sa.text(journal.writing_transactions)))
    except DBAPIError:
        return None  # a right that the reading account lacks
    return None if None in found else [max(0, int(seconds)) for seconds in found]


@dataclass(frozen=True, slots=True)
class Writer:
    """A line of the census: who has written what since the journal began."""

    who: str
    application: str
    entity: str
    changes: int


def census(connection: sa.Connection) -> list[Writer]:
    """Who writes, from which application, as far as the engine knows."""
    of = f"FROM {CHANGE} WHERE entity <> '{FENCE}'"
    statement = f"SELECT who, application, entity, count(*) {of} GROUP BY who, application, entity"
    return sorted(
        (Writer(str(who or ""), str(application or ""), str(entity), int(number))
         for who, application, entity, number in connection.execute(sa.text(statement))),
        key=lambda line: (-line.changes, line.who, line.entity),
    )  # fmt: skip
