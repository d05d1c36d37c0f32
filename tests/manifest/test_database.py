"""Opening and making a manifest, and telling that it cannot be reached."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from medferry.errors import ManifestUnavailable, SettingsError
from medferry.manifest.database import create_manifest, open_manifest
from medferry.manifest.source_records import SourceRecord, write_records
from medferry.manifest.tables import metadata

CANARY = "Zephyrine Quill"


def test_another_engine_is_refused() -> None:
    with pytest.raises(SettingsError, match="SQLite or PostgreSQL"):
        open_manifest("mysql://u:p@localhost/x")


def test_a_manifest_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no manifest in .*/typo/manifest\.db\. .*MEDFERRY_MANIFEST_URL"):
        open_manifest(f"sqlite:///{tmp_path}/typo/manifest.db")
    (tmp_path / "empty.db").touch()
    with pytest.raises(SettingsError, match=r"no manifest in .*/empty\.db\."):
        open_manifest(f"sqlite:///{tmp_path}/empty.db")
    assert [path.name for path in tmp_path.iterdir() if "-" not in path.name] == ["empty.db"]


def test_a_server_without_the_manifest_is_told_and_left_as_it_is(postgresql: str) -> None:
    url = sa.make_url(postgresql).set(drivername="postgresql+psycopg")
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE elsewhere"))
    elsewhere = url.set(database="elsewhere")
    with pytest.raises(SettingsError, match="no manifest in elsewhere"):
        open_manifest(elsewhere.render_as_string(hide_password=False))
    there = sa.create_engine(elsewhere)
    assert sa.inspect(there).get_table_names() == []
    there.dispose()
    server.dispose()


def test_a_manifest_is_made_in_a_new_folder_of_any_name(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/50% of #1/manifest.db"
    create_manifest(url)
    with open_manifest(url).begin() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM run")) == 0
    assert (tmp_path / "50% of #1" / "manifest.db").stat().st_size > 0


def test_what_is_committed_is_on_the_disk(tmp_path: Path) -> None:
    """SQLite's synchronous=FULL (2), on every connection: NORMAL lets a loss of power take the newest commits back."""
    url = f"sqlite:///{tmp_path}/manifest.db"
    create_manifest(url)
    engine = open_manifest(url)
    for _ in range(2):
        with engine.connect() as connection:  # one after the other: each begins as the only writer
            assert connection.scalar(sa.text("PRAGMA synchronous")) == 2
            assert connection.scalar(sa.text("PRAGMA journal_mode")) == "wal"
        engine.dispose()


def test_a_folder_that_takes_no_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"/file/manifest\.db cannot be made"):
        create_manifest(f"sqlite:///{tmp_path}/file/manifest.db")


def test_a_manifest_that_vanishes_is_unavailable_and_not_made_anew(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/manifest.db"
    create_manifest(url)
    engine = open_manifest(url)
    engine.dispose()
    (tmp_path / "manifest.db").rename(tmp_path / "away.db")
    with pytest.raises(ManifestUnavailable, match=r"SQLITE_CANTOPEN.*What to do: Check MEDFERRY_MANIFEST_URL"):
        engine.connect()
    assert not (tmp_path / "manifest.db").exists()
    (tmp_path / "away.db").rename(tmp_path / "manifest.db")
    with engine.begin() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM run")) == 0


def test_a_full_manifest_is_unavailable_and_quotes_no_value(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/manifest.db"
    create_manifest(url)
    engine = open_manifest(url)
    with pytest.raises(ManifestUnavailable, match="SQLITE_FULL") as caught, engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        units = [SourceRecord("patient", f"{CANARY} {n}", "north", "s", "pending", "1") for n in range(20_000)]
        write_records(connection, "r", units, [])
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "manifest.db").write_text(CANARY * 100)
    with pytest.raises(ManifestUnavailable, match="SQLITE_NOTADB"):
        open_manifest(f"sqlite:///{tmp_path}/manifest.db")


def test_a_server_that_went_away_is_unavailable_and_is_found_again(tmp_path: Path) -> None:
    with servers.embedded(tmp_path / "server") as server:
        url = server.url
        create_manifest(url)
        engine = open_manifest(url)
    with pytest.raises(ManifestUnavailable, match="OperationalError"):
        engine.connect()
    with servers.embedded(tmp_path / "server", sa.make_url(url).port), engine.begin() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM run")) == 0
    engine.dispose()


def test_an_error_of_our_own_statement_keeps_its_type(manifest: sa.Engine) -> None:
    """A retry cannot mend it."""
    row = {"id": "r", "migration": "m"}
    with pytest.raises(sa.exc.IntegrityError), manifest.begin() as connection:
        connection.execute(metadata.tables["run"].insert(), row)


def test_the_server_notices_that_a_worker_s_machine_is_gone(postgresql: str) -> None:
    """Else a slice would be held for two hours by nobody; what a transaction sets would be gone with its rollback."""
    create_manifest(postgresql)
    engine = open_manifest(postgresql)
    for _ in range(2):
        with engine.connect() as connection:
            names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")
            assert [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names] == ["60", "10", "6"]
            connection.rollback()
