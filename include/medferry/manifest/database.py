"""Open the manifest database and keep it at the newest revision."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.dialects import postgresql, sqlite

from medferry.errors import SettingsError

_BUSY_SECONDS = 120


def now() -> str:
    """The present as ISO 8601 UTC text with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@cache
def open_manifest(url: str) -> sa.Engine:
    """The engine of the manifest at `url` (SQLite or PostgreSQL), upgraded to the newest revision.

    Raises SettingsError for another engine.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "postgresql":
        engine = sa.create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    elif parsed.get_backend_name() == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(parsed, connect_args={"timeout": _BUSY_SECONDS})
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    else:
        raise SettingsError("The manifest can live in SQLite or PostgreSQL only.", "Correct MEDFERRY_MANIFEST_URL.")
    upgrade(engine)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """WAL lets readers work beside the writer; our own BEGIN IMMEDIATE makes writers queue instead of failing."""
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def upgrade(engine: sa.Engine) -> None:
    """Apply the Alembic revisions that `engine` does not have yet; safe when several processes do so at once."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "revisions"))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7246335)"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[dict[str, Any]],
    update: Sequence[str] | None = None,
) -> None:
    """Insert `rows`; where the primary key exists, set the columns `update` (None: all others; empty: keep)."""
    if not rows:
        return
    insert = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    keys = [column.name for column in table.primary_key]
    names = [name for name in rows[0] if name not in keys] if update is None else list(update)
    statement = (
        insert.on_conflict_do_update(index_elements=keys, set_={name: insert.excluded[name] for name in names})
        if names
        else insert.on_conflict_do_nothing(index_elements=keys)
    )
    connection.execute(statement, list(rows))
