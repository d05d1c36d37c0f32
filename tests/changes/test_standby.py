"""No position is read from a standby of PostgreSQL: it does not tell which transactions are open on its primary."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from medferry.source.changes.cuts import next_cut
from medferry.source.changes.engines import install, journal_of
from medferry.source.changes.journal import Journal, PositionLost, ReadFromStandby
from medferry.source.database import connect_engine, snapshot
from tests.changes import clinic


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[sa.Engine, sa.Engine]]:
    """(primary, hot standby), with the clinic and its journal."""
    with ExitStack() as stack:
        try:
            with servers.embedded(tmp_path / "standby") as made:
                copy = made.folder
            with servers.embedded(tmp_path / "primary") as made:
                engine = connect_engine(made.url)
                clinic.create(engine)
                install(engine, journal_of(engine, clinic.WATCHED))
                engine.dispose()
        except servers.BinariesMissing as missing:
            pytest.skip(str(missing))
        stack.callback(shutil.rmtree, made.folder, True)
        stack.callback(shutil.rmtree, copy, True)
        shutil.rmtree(copy / "data")
        for name in ("data", "password"):
            subprocess.run(["cp", "-a", str(made.folder / name), str(copy)], check=True)
        url = stack.enter_context(servers.embedded(tmp_path / "primary")).url
        _follow(copy / "data", sa.make_url(url))
        other = stack.enter_context(servers.embedded(tmp_path / "standby")).url
        primary, standby = (connect_engine(one) for one in (url, other))
        stack.callback(primary.dispose)
        stack.callback(standby.dispose)
        yield primary, standby


def _follow(data: Path, primary: sa.URL) -> None:
    conninfo = f"host={primary.host} port={primary.port} user={primary.username} password={primary.password}"
    for name, text in (("postgresql.auto.conf", f"primary_conninfo = '{conninfo}'\n"), ("standby.signal", "")):
        owned = data / name
        subprocess.run(["cp", "-a", str(data / "PG_VERSION"), str(owned)], check=True)  # whose the folder is
        owned.write_text(text)


@pytest.fixture
def journal(both: tuple[sa.Engine, sa.Engine]) -> Journal:
    return journal_of(both[0], clinic.WATCHED)


def _eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _text(engine: sa.Engine, number: int) -> str:
    with snapshot(engine) as view:
        return str(view.scalar(sa.text(f"SELECT text FROM remark WHERE id = {number}")))


def test_a_standby_is_read_and_gives_no_position(both: tuple[sa.Engine, sa.Engine], journal: Journal) -> None:
    primary, standby = both
    with next_cut(journal, primary, primary, None) as (_, start):
        pass
    with primary.connect() as early:
        early.exec_driver_sql("UPDATE remark SET text = 'early' WHERE id = 1")
        with primary.begin() as late:
            late.exec_driver_sql("UPDATE remark SET text = 'late' WHERE id = 2")
        _eventually(lambda: _text(standby, 2) == "late")
        with snapshot(standby) as view:
            open_ones = str(view.scalar(sa.text("SELECT pg_current_snapshot()::text"))).split(":")[2]
        assert open_ones == "", "a standby lists none: that is why"
        for previous in (None, start.position):
            with pytest.raises(ReadFromStandby), next_cut(journal, standby, primary, previous):
                pass
        early.commit()
    with next_cut(journal, primary, primary, start.position) as (_, cut):
        assert cut.keys == {"remark": ("1", "2")}
    with snapshot(standby) as view, pytest.raises(ReadFromStandby):
        journal.check(view)
    with snapshot(primary) as view:
        journal.check(view)


def test_a_standby_that_is_promoted_has_lost_the_position_at_once(
    both: tuple[sa.Engine, sa.Engine], journal: Journal
) -> None:
    """Its control file tells the timeline of before until a checkpoint is over, which may take minutes."""
    primary, standby = both
    with next_cut(journal, primary, primary, None) as (_, start):
        pass
    _eventually(lambda: _following(standby))
    with standby.connect() as connection:
        connection.exec_driver_sql("SELECT pg_promote(false)")
    with standby.connect() as connection:
        _eventually(lambda: not connection.scalar(sa.text("SELECT pg_is_in_recovery()")))
    with pytest.raises(PositionLost, match="another server"), next_cut(journal, standby, standby, start.position):
        pass
    with next_cut(journal, standby, standby, None) as (_, anew):
        pass
    with standby.begin() as connection:
        connection.exec_driver_sql("UPDATE remark SET text = 'x' WHERE id = 1")
        connection.exec_driver_sql("SELECT 1")
    with standby.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CHECKPOINT")
    with next_cut(journal, standby, standby, anew.position) as (_, cut):
        assert cut.keys == {"remark": ("1",)}


def _following(standby: sa.Engine) -> bool:
    with standby.connect() as connection:
        return bool(connection.scalar(sa.text("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'")))
