"""The storage engines of tables: with transactions, or without."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa


def without_transactions(connection: sa.Connection, tables: Collection[str]) -> dict[str, str]:
    """Those of some tables whose engine keeps what is rolled back, or has its rows on another server → the engine.

    Of MySQL and MariaDB, whose tables have engines of their own; of a table in another database nothing is told.
    """
    if connection.dialect.name not in ("mysql", "mariadb"):
        return {}
    statement = sa.text(
        "SELECT t.table_name, t.engine FROM information_schema.tables t "
        "LEFT JOIN information_schema.engines e ON e.engine = t.engine "
        "WHERE t.table_schema = DATABASE() AND t.table_name IN :tables AND t.table_type = 'BASE TABLE' "
        "AND (e.transactions IS NULL OR e.transactions <> 'YES' OR t.engine IN ('FEDERATED', 'SPIDER', 'ndbcluster'))"
    ).bindparams(sa.bindparam("tables", expanding=True))
    found = {
        catalogue_text(table): catalogue_text(engine)
        for table, engine in connection.execute(statement, {"tables": [*tables]})
    }
    return {table: engine for table, engine in sorted(found.items()) if table in tables}


def catalogue_text(value: Any) -> str:
    """A name as MySQL's and MariaDB's catalogues give it: some are bytes to the driver."""
    return value.decode() if isinstance(value, bytes | bytearray) else str(value)
