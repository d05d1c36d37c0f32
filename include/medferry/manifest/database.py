"""Open the manifest database and keep it at the newest revision."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from medferry import __version__
from medferry.errors import ManifestTooNew, ManifestUnavailable, RoleRefused, SettingsError
from medferry.manifest import tables_of_audit as tables_of_audit
from medferry.manifest import tables_of_conflicts, tables_of_documents, tables_of_place, tables_of_sending  # noqa: F401 -- whoever opens a manifest knows all of its tables
from medferry.manifest import tables_of_cutover as tables_of_cutover
from medferry.manifest.hashes import HashProtection, protect
from medferry.source.address import database_url, unusable

_BUSY_SECONDS = 120
_NOT_GRANTED = "42501"
"""PostgreSQL's SQLSTATE for what a role may not do: by its grants, a policy of a table, or our triggers."""
MANIFEST = "the manifest (MEDFERRY_MANIFEST_URL)"


def now() -> str:
    """The present as ISO 8601 UTC text with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def later(time: str, milliseconds: int = 1) -> str:
    """A time as `now` tells it, so much later."""
    moment = datetime.fromisoformat(time) + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@cache
def open_manifest(url: str, pepper: HashProtection | None = None) -> sa.Engine:
    """The engine of the manifest that exists at `url` (SQLite or PostgreSQL), upgraded to the newest revision.

    It protects hashes of content by the `pepper`.

    Its statements raise ManifestUnavailable where the database does not answer. Raises SettingsError for another
    engine, and where there is no manifest: an empty one in the place of a mistyped address would deny every run.
    """
    engine = _engine(url, pepper)
    if not _exists(engine):
        raise SettingsError(
            f"There is no manifest in {_file(engine.url) or engine.url.database}.",
            "Correct MEDFERRY_MANIFEST_URL. Only a new run makes a manifest, where it is allowed to.",
        )
    upgrade(engine)
    return engine


def manifest_exists(url: str) -> bool:
    """Whether there is a manifest at `url`; none is made. Raises SettingsError, ManifestUnavailable."""
    return _exists(_engine(url, None))


@cache
def create_manifest(url: str) -> None:
    """Make the manifest at `url` unless it is there: for a new run only.

    Raises SettingsError for another engine, or for a file that cannot be made, and ManifestUnavailable.
    """
    engine = _engine(url, None)
    path = _file(engine.url)
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    except OSError as error:
        problem = f"The manifest {path} cannot be made ({error.strerror})."
        raise SettingsError(problem, "Correct MEDFERRY_MANIFEST_URL, or the rights of its folder.") from None
    upgrade(engine)


@cache
def _engine(url: str, pepper: HashProtection | None) -> sa.Engine:
    parsed = database_url(url, MANIFEST)
    if parsed.get_backend_name() == "postgresql":
        engine = sa.create_engine(parsed.set(drivername="postgresql+psycopg"), pool_pre_ping=True, max_overflow=40)
        sa.event.listen(engine, "connect", _prepare_postgresql)
    elif parsed.get_backend_name() == "sqlite":
        try:
            engine = sa.create_engine(parsed, connect_args={"timeout": _BUSY_SECONDS})
        except ValueError:
            raise unusable(MANIFEST) from None
        if _file(parsed):
            sa.event.listen(engine, "do_connect", _open_existing)
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    else:
        raise SettingsError("The manifest can live in SQLite or PostgreSQL only.", "Correct MEDFERRY_MANIFEST_URL.")
    sa.event.listen(engine, "handle_error", _tell)
    protect(engine, pepper)
    return engine


def _file(url: sa.URL) -> Path | None:
    """Where a SQLite manifest is kept; None for one in memory and for a server."""
    in_file = url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:"
    return Path(str(url.database)).absolute() if in_file else None


def _open_existing(_dialect: Any, _record: Any, arguments: list[str], options: dict[str, Any]) -> sqlite3.Connection:
    """SQLite makes the file that it does not find, unless asked in a URI for mode=rw."""
    connection: sqlite3.Connection = sqlite3.connect(f"file:{quote(arguments[0])}?mode=rw", uri=True, **options)
    return connection


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """WAL lets readers work beside the writer; our own BEGIN IMMEDIATE makes writers queue instead of failing.

    FULL, because the note of a batch must outlive a loss of power before the batch is sent: with NORMAL, what was
    committed since the last checkpoint may be gone, and what Medplum is at work on would be sent again.
    """
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    """Let the server notice within two minutes that a worker's machine is gone, without a word, as of a power cut.

    Its locks on slices end with its connections: by the system's usual setting only after more than two hours.
    """
    settings = {"tcp_keepalives_idle": "60", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "6"}
    with connection.cursor() as cursor:
        for name, value in settings.items():
            cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
    connection.commit()


def _exists(engine: sa.Engine) -> bool:
    path = _file(engine.url)
    if path is not None and not path.exists():
        return False
    with engine.connect() as connection:
        return sa.inspect(connection).has_table("alembic_version")


def _tell(context: sa.engine.ExceptionContext) -> None:
    """Raise ManifestUnavailable for what lies with the database and not with the statement; RoleRefused.

    SQLAlchemy's text quotes the statement and its values, and a driver's may: told are names and codes only.
    """
    if context.is_pre_ping:
        return  # the pool looks whether the connection is still good, and opens another
    error, kind = context.original_exception, type(context.sqlalchemy_exception)
    if getattr(error, "sqlstate", None) == _NOT_GRANTED:
        role = context.engine.url.username if context.engine else ""
        raise RoleRefused(
            f"The manifest's database does not let the role {role} do this; nothing of it was recorded.",
            "What people decide needs the deciding role (MEDFERRY_DECISION_URL), runs need the working one, an upgrade "
            "the owner of the tables, and evidence nobody changes: docs/runbooks/roles.md.",
        )
    if kind in (sa.exc.OperationalError, sa.exc.DatabaseError) or context.is_disconnect:
        code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None) or ""
        raise ManifestUnavailable(
            f"The manifest database does not answer, or cannot store ({f'{type(error).__name__} {code}'.strip()}).",
            "Check MEDFERRY_MANIFEST_URL, and that the database runs and has space; then go on with the same run.",
        )


def upgrade(engine: sa.Engine) -> None:
    """Apply the Alembic revisions that `engine` does not have yet; safe when several processes do so at once.

    Raises ManifestTooNew.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "revisions"))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7246335)"))
        config.attributes["connection"] = connection
        _refuse_newer(connection, ScriptDirectory.from_config(config))
        command.upgrade(config, "head")


def _refuse_newer(connection: sa.Connection, known: ScriptDirectory) -> None:
    """Raises ManifestTooNew when the manifest is at a revision that this program does not have."""
    present = MigrationContext.configure(connection).get_current_revision()
    if present is not None and present not in {script.revision for script in known.walk_revisions()}:
        raise ManifestTooNew(
            f"The manifest is at revision {present}, which this version of Medferry ({__version__}) does not know.",
            "Use the version of Medferry that has written it, or a newer one. Nothing was changed.",
        )
