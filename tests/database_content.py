"""Everything that a PostgreSQL database holds, byte for byte: to look for what must not be there."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import sqlalchemy as sa
from psycopg import sql


def content_of(url: str) -> Iterator[tuple[str, bytes]]:
    """(table, its rows as one text of bytes) of each table in the database's schema `public`."""
    at = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(at) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
        for (table,) in tables:
            # Binary: bytea and JSON come as they are stored, and not as an escaped text.
            statement = sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(sql.Identifier(table))
            with connection.cursor().copy(statement) as copied:
                yield table, b"".join(bytes(part) for part in copied)
