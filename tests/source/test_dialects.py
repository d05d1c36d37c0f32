"""An engine that is not known is refused by name, and which engines there are stands in one place."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
import sqlglot

from medferry.errors import SettingsError
from medferry.source.database import connect_engine
from medferry.source.dialects import DIALECTS, VARIANTS, as_text
from tests.source.fake_sql_server import FakeSqlServer

CORE = Path(__file__).resolve().parents[2] / "include" / "medferry"
NAME = re.compile(r"""["'](postgres|postgresql|mysql|mariadb|sqlite|mssql)["']""")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mssql+pymssql://u:secret@h/d", "driver pymssql|not usable"),
        ("oracle+oracledb://u:secret@h/d", "Oracle is not read"),
        ("mysql+mysqldb://u:secret@h/d", "not usable|driver mysqldb"),
        ("nosuch://u:secret@h/d", "not usable"),
    ],
)
def test_an_engine_or_driver_without_a_table_of_types_is_refused(url: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        connect_engine(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", DIALECTS)
def test_each_engine_is_opened_by_its_one_driver(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyodbc", FakeSqlServer({}))
    engine = connect_engine(f"{name}://u:p@h/d" if name != "sqlite" else "sqlite://")
    assert (engine.dialect.name, engine.dialect.driver) == (name, DIALECTS[name].driver)
    statement = sa.select(as_text(name, sa.column("order"))).compile(dialect=engine.dialect)
    assert sqlglot.parse_one(str(statement), dialect=DIALECTS[name].sqlglot).sql()


def test_engines_are_named_where_the_legacy_database_and_the_manifest_are_and_nowhere_else() -> None:
    named = {path.relative_to(CORE).parts[0] for path in CORE.rglob("*.py") if NAME.search(path.read_text())}
    assert named == {"source", "manifest"}
    assert set(VARIANTS) == set(DIALECTS) - {"mariadb"}
