"""What is told of a statement that an engine refuses: file, line, the driver's words, and no value."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.columns import check_columns
from medferry.source.count import count_by_unit
from medferry.source.database import snapshot, stream
from medferry.source.entity import SourceEntity, load_entities
from medferry.source.lookup import row_of_key

FILE = """-- key: id
-- unit: unit
-- title: Things
SELECT id,
       unit,
       {column}
FROM {table}
"""
WRONG = {
    "a column": ("famly", "refused", "famly"),
    "a table": ("family", "nowhere", "nowhere"),
    "a function": ("GETDATES(family) AS f", "refused", "GETDATES"),
    "another engine's syntax": ("TOP 5 family", "refused", "5"),
}


@pytest.fixture
def table(engine: sa.Engine) -> sa.Engine:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS refused")
        connection.exec_driver_sql("CREATE TABLE refused (id INTEGER, unit VARCHAR(9), family VARCHAR(20))")
        connection.exec_driver_sql("INSERT INTO refused VALUES (1, 'u', 'Ada Byron')")
    return engine


def entity(folder: Path, column: str, table: str = "refused") -> SourceEntity:
    (folder / "entities").mkdir(exist_ok=True)
    (folder / "entities" / "thing.sql").write_text(FILE.format(column=column, table=table))
    return load_entities(folder / "entities")["thing"]


@pytest.mark.parametrize("mistake", WRONG)
def test_what_is_wrong_in_a_file_is_told_with_its_place(table: sa.Engine, tmp_path: Path, mistake: str) -> None:
    column, of, word = WRONG[mistake]
    thing = entity(tmp_path, column, of)
    asked = [
        lambda connection: check_columns(connection, thing),
        lambda connection: count_by_unit(connection, thing, ["u"]),
        lambda connection: row_of_key(connection, thing, "1"),
    ]
    for ask in asked:
        with pytest.raises(SourceError) as told, snapshot(table) as connection:
            ask(connection)
        problem = told.value.problem
        assert "entities/thing.sql:" in problem
        assert word.casefold() in problem.casefold() or "whose text would quote values" in problem
        assert "for this engine" in told.value.remedy
        line = int(problem.partition("thing.sql:")[2].partition(" ")[0])
        if table.dialect.name == "postgresql":
            assert line == (7 if of == "nowhere" else 6)
        assert 4 <= line <= 7


def test_a_value_that_a_query_stumbles_over_is_not_told(table: sa.Engine, tmp_path: Path) -> None:
    if table.dialect.name != "postgresql":
        pytest.skip("this engine reads the text as a number")
    thing = entity(tmp_path, "CAST(family AS INTEGER) AS number")
    with pytest.raises(SourceError) as told, snapshot(table) as connection:
        row_of_key(connection, thing, "1")
    assert "Byron" not in str(told.value)
    assert "entities/thing.sql:" in told.value.problem


def test_a_value_that_stands_in_the_statement_is_not_told(table: sa.Engine) -> None:
    statement = sa.text("SELECT 1 FROM refused WHERE family = :name AND AND id = 1")
    with pytest.raises(SourceError) as told, snapshot(table) as connection:
        list(stream(connection, statement, {"name": "Ada Byron"}))
    assert "Byron" not in str(told.value)


def test_a_key_that_is_not_selected_names_the_file(table: sa.Engine, tmp_path: Path) -> None:
    path = tmp_path / "thing.sql"
    path.write_text("-- key: thing_id\n-- unit: unit\nSELECT id, unit FROM refused\n")
    with (
        pytest.raises(SourceError, match=r"thing\.sql: the SELECT of thing has no column thing_id"),
        snapshot(table) as connection,
    ):
        count_by_unit(connection, load_entities(tmp_path)["thing"], ["u"])
