"""The CSV import: cells as they are, lines counted, all or nothing, repeatable, and errors that quote no cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.csv_import import import_folder
from medferry.source.database import connect_engine

CANARY = "Quill-Canary"


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    on_disk = f"sqlite:///{tmp_path}/import.db"
    engine = connect_engine(request.getfixturevalue("postgresql_url") if request.param == "postgresql" else on_disk)
    yield engine
    with engine.begin() as connection:
        for name in ("visits", "people"):
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {name}"))
    engine.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "csv"
    folder.mkdir()
    return folder


def rows(engine: sa.Engine, table: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY csv_row"))]


def test_cells_stay_as_they_are_and_lines_are_counted(engine: sa.Engine, folder: Path) -> None:
    text = 'Id,START,Value\r\n001, 2014 ,"two\nlines, ""quoted"""\r\n\r\n2,,Zoë\r\n'
    (folder / "Visits.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert import_folder(engine, folder) == {"visits": 2}
    assert rows(engine, "visits") == [(2, "001", " 2014 ", 'two\nlines, "quoted"'), (5, "2", "", "Zoë")]
    columns = [column["name"] for column in sa.inspect(engine).get_columns("visits")]
    assert columns == ["csv_row", "id", "start", "value"]


def test_a_second_import_replaces_the_first(engine: sa.Engine, folder: Path) -> None:
    file = folder / "visits.csv"
    file.write_text("id\n1\n2\n")
    import_folder(engine, folder)
    file.write_text("id,code\n3,x\n")
    assert import_folder(engine, folder) == {"visits": 1}
    assert rows(engine, "visits") == [(2, "3", "x")]


def test_more_rows_than_a_batch(engine: sa.Engine, folder: Path) -> None:
    (folder / "visits.csv").write_text("id\n" + "".join(f"{n}\n" for n in range(2_500)))
    assert import_folder(engine, folder) == {"visits": 2_500}
    assert rows(engine, "visits")[-1] == (2_501, "2499")


def test_a_file_without_rows_makes_an_empty_table(engine: sa.Engine, folder: Path) -> None:
    (folder / "visits.csv").write_text("id,code\n")
    assert import_folder(engine, folder) == {"visits": 0}
    assert rows(engine, "visits") == []


FAULTS = {
    "ragged": (f"id,name\n1,a\n2,{CANARY},x\n", r"visits\.csv:3: 3 cells under a header of 2"),
    "quote": (f'id,name\n1,"{CANARY}"x\n', r"visits\.csv:2: this is not CSV"),
    "open quote": (f'id,name\n1,"{CANARY}\n', r"visits\.csv:2: this is not CSV"),
    "nul": (f"id,name\n1,{CANARY}\0\n", r"visits\.csv:2: "),
    "empty file": ("", r"visits\.csv:1: a column has no name"),
    "unnamed column": ("id,,name\n", r"visits\.csv:1: a column has no name"),
    "two of a name": ("id,ID\n", r"visits\.csv:1: the column id stands twice"),
    "reserved name": ("id,csv_row\n", r"visits\.csv:1: the column csv_row stands twice"),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_faulty_file_is_named_and_nothing_changes(engine: sa.Engine, folder: Path, text: str, message: str) -> None:
    (folder / "people.csv").write_text("id\n1\n")
    (folder / "visits.csv").write_text("id\nbefore\n")
    import_folder(engine, folder)
    (folder / "people.csv").write_text("id\n1\n2\n")
    (folder / "visits.csv").write_text(text)
    with pytest.raises(SourceError, match=message) as raised:
        import_folder(engine, folder)
    assert CANARY not in str(raised.value)
    assert rows(engine, "people") == [(2, "1")]
    assert rows(engine, "visits") == [(2, "before")]


def test_bytes_that_are_not_utf8_are_refused(engine: sa.Engine, folder: Path) -> None:
    (folder / "visits.csv").write_bytes(b"id\n1\nZo\xeb\n")
    with pytest.raises(SourceError, match="not UTF-8"):
        import_folder(engine, folder)


def test_somebody_elses_table_is_not_replaced(engine: sa.Engine, folder: Path) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE visits (id TEXT)"))
        connection.execute(sa.text("INSERT INTO visits VALUES ('theirs')"))
    (folder / "visits.csv").write_text("id\n1\n")
    with pytest.raises(SourceError, match="no import made it"):
        import_folder(engine, folder)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT id FROM visits")).scalar_one() == "theirs"


def test_a_folder_without_files_is_refused(engine: sa.Engine, folder: Path) -> None:
    with pytest.raises(SourceError, match="holds no CSV file"):
        import_folder(engine, folder)


def test_an_unreachable_database_is_told_without_its_url(folder: Path) -> None:
    (folder / "visits.csv").write_text("id\n1\n")
    engine = connect_engine("postgresql://user:s3cret@127.0.0.1:1/none")
    with pytest.raises(SourceError, match="refused the import") as raised:
        import_folder(engine, folder)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_are_read_where_the_header_has_no_comma(
    engine: sa.Engine, folder: Path, separator: str
) -> None:
    lines = (separator.join(cells) for cells in (("id", "price"), ("1", "1,5"), ("2", '"a;\tb"')))
    (folder / "visits.csv").write_text("\n".join(lines) + "\n\n")
    assert import_folder(engine, folder) == {"visits": 2}
    assert rows(engine, "visits") == [(2, "1", "1,5"), (3, "2", "a;\tb")]


def test_a_cell_may_be_a_whole_document(engine: sa.Engine, folder: Path) -> None:
    (folder / "visits.csv").write_text(f"id,body\n1,{'x' * 200_000}\n")
    import_folder(engine, folder)
    assert rows(engine, "visits") == [(2, "1", "x" * 200_000)]
