"""MySQL's and MariaDB's tables of an engine without transactions: what is rolled back stays, and no journal tells."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from medferry.cli.main import app
from medferry.definition.inverses import faults_in_legacy
from medferry.mapping.inverse import InverseSpec
from medferry.source.changes.cuts import next_cut
from medferry.source.changes.engines import install, journal_of, to_install
from medferry.source.changes.generations import RollbackUnseen
from medferry.source.changes.journal import CaptureBroken, Cut, Journal
from medferry.source.database import snapshot
from medferry.source.entity import SourceEntity
from medferry.source.legacy_table import legacy_table
from tests import tiny_platform
from tests.changes import clinic
from tests.changes.test_journal import Write
from tests.cli.test_capture_command import RULES


@pytest.fixture(autouse=True)
def mariadb(engine: sa.Engine) -> Iterator[None]:
    if engine.dialect.name not in ("mysql", "mariadb"):
        pytest.skip("of MySQL and MariaDB")
    yield
    clinic.drop(engine)


def take(engine: sa.Engine, journal: Journal, previous: str | None = None) -> Cut:
    with next_cut(journal, engine, engine, previous) as (_, cut):
        return cut


@pytest.mark.parametrize("name", ["MyISAM", "Aria", "MEMORY", "CSV"])
def test_a_table_without_transactions_is_told_before_anything_is_installed(
    engine: sa.Engine, write: Write, name: str
) -> None:
    clinic.create(engine)
    extra = ", MODIFY id INTEGER NOT NULL, MODIFY text VARCHAR(40) NOT NULL, DROP PRIMARY KEY" if name == "CSV" else ""
    write(f"ALTER TABLE remark ENGINE={name}{extra}")
    journal = journal_of(engine, clinic.WATCHED)
    told = f"remark is of the engine {name}.*What to do: .*ALTER TABLE remark ENGINE=InnoDB, or .*sweep.* for remark"
    with pytest.raises(CaptureBroken, match=told):
        to_install(engine, journal)
    with snapshot(engine) as connection:
        with pytest.raises(CaptureBroken, match=told):
            journal.check(connection)
        assert journal.unlogged(connection, {}).keys() == {"remark"}


def test_an_inverse_writes_into_no_table_without_transactions(engine: sa.Engine, write: Write) -> None:
    """Of a row that is refused half-way, what was written of it would stay there."""
    clinic.create(engine)
    sql = "SELECT id, text FROM remark"
    entity = SourceEntity("remark", Path("remark.sql"), ("id",), "id", None, "Remarks", sql, {})
    tables = (legacy_table("remark", key="id", columns=("text",)), legacy_table("visit", key="id", columns=()))
    inverse = InverseSpec("remark", tables, lambda *_: {})
    with engine.connect() as connection:
        assert list(faults_in_legacy(connection, entity, inverse)) == []
    write("ALTER TABLE remark ENGINE=MyISAM")
    with engine.connect() as connection:
        [(problem, remedy)] = faults_in_legacy(connection, entity, inverse)
    assert "the table remark is of the engine MyISAM" in problem and "ALTER TABLE remark ENGINE=InnoDB" in remedy


def test_a_table_that_lost_its_transactions_sets_its_entity_aside_until_it_has_them(
    engine: sa.Engine, journal: Journal, write: Write
) -> None:
    start = take(engine, journal)
    write("ALTER TABLE remark ENGINE=MyISAM")
    with engine.connect() as connection:
        connection.exec_driver_sql("UPDATE remark SET text = 'stays' WHERE id = 1")
        connection.rollback()
        assert connection.scalar(sa.text("SELECT text FROM remark WHERE id = 1")) == "stays"
    write("UPDATE visit SET note = 'x' WHERE id = 4")
    cut = take(engine, journal, start.position)
    assert isinstance(cut.refused["remark"], RollbackUnseen)
    assert cut.whole == cut.refused.keys() == {"remark"}
    assert cut.keys == {"visit": ("4",)}
    write("ALTER TABLE remark ENGINE=InnoDB")
    assert take(engine, journal, cut.position).refused == {}


def test_the_journal_s_own_tables_have_transactions(engine: sa.Engine, journal: Journal, write: Write) -> None:
    start = take(engine, journal)
    write("UPDATE remark SET text = 'x' WHERE id = 1", "ALTER TABLE medferry_change ENGINE=MyISAM")
    with pytest.raises(CaptureBroken, match="medferry_change is of the engine MyISAM"):
        take(engine, journal, start.position)
    assert install(engine, journal) == ["ALTER TABLE medferry_change ENGINE=InnoDB"]
    assert take(engine, journal, start.position).keys == {"remark": ("1",)}


def test_whatever_engine_the_server_takes_by_default(engine: sa.Engine, write: Write) -> None:
    clinic.create(engine)
    journal = journal_of(engine, clinic.WATCHED, births=True)
    write("DROP TABLE IF EXISTS medferry_born", "SET SESSION default_storage_engine = MyISAM")
    try:
        install(engine, journal)
        with snapshot(engine) as connection:
            journal.check(connection)
    finally:
        write("SET SESSION default_storage_engine = InnoDB", "DROP TABLE medferry_born")


def test_plan_check_tells_it(engine: sa.Engine, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(tiny_platform.MIGRATION, tmp_path / "tiny"))
    (folder / "capture.yaml").write_text(RULES)
    monkeypatch.setenv("MEDFERRY_SOURCE_URL", engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("COLUMNS", "1000")
    tiny_platform.fill(engine.url.render_as_string(hide_password=False))
    try:
        told = CliRunner().invoke(app, ["plan", "check", "-m", str(folder)])
        assert told.exit_code == 0, told.output
        write("ALTER TABLE weight ENGINE=MyISAM")
        told = CliRunner().invoke(app, ["plan", "check", "-m", str(folder)])
        assert told.exit_code == 1
        assert "weight is of the engine MyISAM" in told.output
    finally:
        write("DROP TABLE weight", "DROP TABLE patient", "DROP TABLE staff", "DROP TABLE clinic")
