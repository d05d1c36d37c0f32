"""Go through closed gates: what is written back, once users write the unit in Medplum alone.

The gates are open within the transaction that writes, and closed again before it ends: nobody else ever sees them open,
since who asks meanwhile sees them as they were (PostgreSQL) or waits for the transaction (MySQL, MariaDB, SQLite).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from medferry.source.gate.gate import GATE


@contextmanager
def passed(connection: sa.Connection, units: Collection[str]) -> Iterator[None]:
    """Let this transaction write what belongs to `units`, whose gates are closed, or shut for good."""
    closed = _closed(connection, units)
    if closed:
        _set(connection, closed, closing=False)
    yield
    if closed:
        _set(connection, closed, closing=True)


def _closed(connection: sa.Connection, units: Collection[str]) -> list[str]:
    """Those of `units` that are closed; their gates are locked, so that they stay as they are."""
    if not units:
        return []
    locking = "" if connection.dialect.name == "sqlite" else " FOR UPDATE"
    statement = sa.text(f"SELECT unit FROM {GATE} WHERE closing AND unit IN :units ORDER BY unit{locking}")
    bound = statement.bindparams(sa.bindparam("units", sorted(units), expanding=True))
    return [str(unit) for unit in connection.scalars(bound)]


def _set(connection: sa.Connection, units: Collection[str], closing: bool) -> None:
    values = ("true", "false") if connection.dialect.name == "postgresql" else ("1", "0")
    statement = sa.text(f"UPDATE {GATE} SET closing = {values[0] if closing else values[1]} WHERE unit IN :units")
    connection.execute(statement.bindparams(sa.bindparam("units", list(units), expanding=True)))
