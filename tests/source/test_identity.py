"""What an engine tells of which database it is and how far it has come, to an account that may only read."""

from __future__ import annotations

import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.identity import LegacyIdentity, completed, differs, identity_of


def identity(engine: sa.Engine) -> LegacyIdentity:
    with snapshot(engine) as connection:
        return identity_of(connection)


def test_a_database_is_the_same_and_only_goes_on(reader: sa.Engine, owner: sa.Connection) -> None:
    owner.exec_driver_sql("DROP TABLE IF EXISTS going_on")
    owner.exec_driver_sql("CREATE TABLE going_on (id INTEGER)")
    before = identity(reader)
    owner.exec_driver_sql("INSERT INTO going_on VALUES (1)")
    after = identity(reader)
    assert (before.name, before.server) == (after.name, after.server)
    assert before.position is not None and after.position is not None and before.position < after.position
    assert (reader.dialect.name == "sqlite") == (not before.server)
    assert not before.is_standby


def test_a_connection_that_has_streamed_tells_the_same(reader: sa.Engine) -> None:
    with snapshot(reader) as connection:
        known = identity_of(connection)
        assert len(list(stream(connection, sa.text("SELECT 1 AS a UNION SELECT 2"), {}))) == 2
        present = identity_of(connection)
    assert (present.name, present.server) == (known.name, known.server) and present.position is not None


def test_another_database_of_the_same_server_is_another(reader: sa.Engine, owner: sa.Connection) -> None:
    if reader.dialect.name != "postgresql":
        pytest.skip("told by its name alone")
    name = str(reader.url.database)
    known = identity(reader)
    owner.exec_driver_sql("CREATE DATABASE copied")
    copied = connect_engine(reader.url.set(database="copied").render_as_string(hide_password=False))
    present = identity(copied)
    copied.dispose()
    owner.exec_driver_sql("DROP DATABASE copied")
    assert known.name == f"PostgreSQL {name}" != present.name == "PostgreSQL copied"
    # Under the old name, too, as its number is another: dropped and restored from a dump.
    assert differs(known.server, present.server)
    assert known.server.split(":")[:2] == present.server.split(":")[:2]


def test_other_schemas_in_the_search_path_are_another_database(reader: sa.Engine, owner: sa.Connection) -> None:
    if reader.dialect.name != "postgresql":
        pytest.skip("the others have no search path")
    known, schemas = identity(reader), ["x" * number for number in (8, 9)]  # short as it is, long by its digest
    for schema in schemas:
        owner.exec_driver_sql(f"CREATE SCHEMA {schema}")
    found = [known.server]
    try:
        for path in (schemas[0], ",".join(schemas), ",".join(reversed(schemas))):
            url = reader.url.update_query_dict({"options": f"-csearch_path={path},public"})
            other = connect_engine(url.render_as_string(hide_password=False))
            found.append(identity(other).server)
            other.dispose()
    finally:
        for schema in schemas:
            owner.exec_driver_sql(f"DROP SCHEMA {schema}")
    assert all(differs(one, other) for one, other in combinations(found, 2))
    assert all(len(one) <= 64 and one.split(":")[:3] == known.server.split(":")[:3] for one in found)


def test_what_an_account_may_not_read_is_left_out(reader: sa.Engine, owner: sa.Connection) -> None:
    if reader.dialect.name != "postgresql":
        pytest.skip("the others ask for nothing that has to be granted")
    known = identity(reader)
    owner.exec_driver_sql("CREATE ROLE narrow LOGIN PASSWORD 'narrow'")
    for function in ("pg_control_system()", "pg_current_wal_lsn()"):
        owner.exec_driver_sql(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    try:
        narrow = connect_engine(
            reader.url.set(username="narrow", password="narrow").render_as_string(hide_password=False)
        )
        present = identity(narrow)
        narrow.dispose()
    finally:
        for function in ("pg_control_system()", "pg_current_wal_lsn()"):
            owner.exec_driver_sql(f"GRANT EXECUTE ON FUNCTION {function} TO PUBLIC")
        owner.exec_driver_sql("DROP ROLE narrow")
    assert present.name == known.name and present.position is None
    assert present.server == "::" + known.server.split(":", 2)[2] and not differs(known.server, present.server)


@pytest.mark.parametrize(
    ("known", "present", "other"),
    [
        ("7:1:5", "7:1:5", False),
        ("7:1:5", "7:2:5", True),
        ("7:1:5", "8:1:5", True),
        ("7:1:5", "7:1:6", True),
        ("7:1:5", "7:1:5:{public}", False),
        ("7:1:5:{public}", "7:1:5:{other,public}", True),
        ("7:1:5", "::5", False),
        ("::5", "7:1:5", False),
        ("::5", "7:1:6", True),
        ("", "7:1:6", False),
        ("host/3306/1", "host/3306/1", False),
        ("host/3306/1", "host/3306/2", True),
    ],
)
def test_servers_are_compared_by_what_both_tell(known: str, present: str, other: bool) -> None:
    assert differs(known, present) is other


@pytest.mark.parametrize(
    ("known", "present", "whole"),
    [
        ("7:1:5", "7:1:5:{public}", "7:1:5:{public}"),
        ("7:1:5:{public}", "::5:{public}", "7:1:5:{public}"),
        ("::5", "7:1:5:{public}", "7:1:5:{public}"),
        ("host/3306/1", "host/3306/1", "host/3306/1"),
        ("", "7", "7"),
    ],
)
def test_a_server_is_known_by_all_that_it_ever_told(known: str, present: str, whole: str) -> None:
    assert completed(known, present) == whole


def test_a_copy_of_a_sqlite_file_is_behind_in_whichever_folder(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    here, there = tmp_path / "x.db", tmp_path / "other" / "x.db"
    owner = sa.create_engine(f"sqlite:///{here}")
    with owner.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (id INTEGER)")
    shutil.copy(here, there)
    with owner.begin() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (1)")
    known, present = (identity(connect_engine(f"sqlite:///{path}")) for path in (here, there))
    assert known.name == present.name == "SQLite x.db"
    assert known.position and present.position and known.position > present.position
    assert identity(connect_engine("sqlite://")) == LegacyIdentity("SQLite", "", None)


def test_a_standby_is_the_same_database_and_a_restored_copy_is_behind(tmp_path: Path) -> None:
    try:
        with servers.embedded(tmp_path / "primary") as primary:
            _write(primary.url)
    except servers.BinariesMissing as missing:
        pytest.skip(str(missing))
    data, kept = primary.folder / "data", tmp_path / "kept"
    subprocess.run(["cp", "-a", str(data), str(kept)], check=True)
    with servers.embedded(tmp_path / "primary") as primary:
        _write(primary.url)
        known = identity(connect_engine(primary.url))
    assert known.position is not None
    for is_standby in (True, False):
        shutil.rmtree(data)
        subprocess.run(["cp", "-a", str(kept), str(data)], check=True)
        if is_standby:
            subprocess.run(["cp", "-a", str(data / "PG_VERSION"), str(data / "standby.signal")], check=True)
        with servers.embedded(tmp_path / "primary") as server:
            present = identity(connect_engine(server.url))
        assert (present.name, present.server, present.is_standby) == (known.name, known.server, is_standby)
        assert present.position is not None and present.position < known.position


def _write(url: str) -> None:
    owner = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with owner.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS t (id INTEGER)")
        connection.exec_driver_sql("INSERT INTO t SELECT generate_series(1, 100000)")
    owner.dispose()
