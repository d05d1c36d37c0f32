"""Load a folder of CSV files into a SQL database, so that an export in files can be migrated like any database.

One table a file, named as the file in lower case. Every column is text under its header in lower case and holds the
cell as it stands (an empty cell is ''). The column `csv_row` is the line of the file on which the record begins
(the header is line 1). Cells are parted by commas, or by the semicolons or tabs of a header without commas. Works on
SQLite and PostgreSQL.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.errors import SourceError

LINE_COLUMN = "csv_row"
_BATCH_ROWS = 1_000
_LARGEST_CELL = 2**31 - 1
"""A document in a cell is many times the 128 KB that Python's module reads by itself."""

Record = tuple[int, list[str]]
"""The line on which a record begins, and its cells."""


def import_folder(engine: sa.Engine, folder: Path) -> dict[str, int]:
    """Load every ``*.csv`` (UTF-8) of `folder` and return table name → number of rows.

    All files go in one transaction: a failed import leaves the tables of the last one. A run replaces the tables of
    an earlier run, and refuses to replace a table that it did not make. Raises SourceError, which names file and
    line and quotes no cell.
    """
    files = _files(folder)
    with _transaction(engine) as connection:
        return {name: _import_file(connection, name, path) for name, path in files.items()}


def _files(folder: Path) -> dict[str, Path]:
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() == ".csv")
    if not paths:
        raise SourceError(f"{folder} holds no CSV file.", "Give the folder in which the files themselves are.")
    files: dict[str, Path] = {}
    for path in paths:
        name = path.stem.lower()
        if name in files:
            raise SourceError(f"{files[name].name} and {path.name} are the same table.", "Rename one of them.")
        files[name] = path
    return files


@contextmanager
def _transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                # Python's driver begins a transaction only before an INSERT; DROP and CREATE must be inside it too.
                connection.exec_driver_sql("BEGIN")
            yield connection
            connection.commit()
    except DBAPIError as error:
        # The driver's own text may quote a row.
        raise SourceError(
            f"The database refused the import ({type(error.orig).__name__}); nothing was changed.",
            "Check the URL, the account's right to create tables, and free space.",
        ) from None


def _import_file(connection: sa.Connection, name: str, path: Path) -> int:
    records = _records(path)
    _, header = next(records, (1, []))
    table = _table(name, path, header)
    _make_room(connection, name)
    table.create(connection)
    columns = [column.name for column in table.columns]
    count = 0
    for batch in _batches(records):
        values = [dict(zip(columns, [line, *cells], strict=True)) for line, cells in batch]
        connection.execute(sa.insert(table), values)
        count += len(values)
    return count


def _records(path: Path) -> Iterator[Record]:
    """Stream a file's records, header first; each is as wide as the header. Blank lines are passed over."""
    csv.field_size_limit(_LARGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as file:
        begins, width = 1, None
        try:
            separator = _separator(file.readline())
            file.seek(0)
            reader = csv.reader(file, delimiter=separator, strict=True)
            for cells in reader:
                if cells:
                    width = width or len(cells)
                    _check(path, begins, cells, width)
                    yield begins, cells
                begins = reader.line_num + 1
        except csv.Error as error:
            raise SourceError(f"{path.name}:{begins}: this is not CSV ({error}).", "Correct the record.") from None
        except UnicodeDecodeError:
            raise SourceError(f"{path.name}: near line {begins} it is not UTF-8.", "Convert the file.") from None


def _separator(header: str) -> str:
    """The sign between the names: a comma, or the semicolon or tab that the spreadsheets of many countries write."""
    counts = {sign: header.count(sign) for sign in ",;\t"}
    return "," if counts[","] else max(counts, key=lambda sign: counts[sign])


def _check(path: Path, line: int, cells: list[str], width: int) -> None:
    if len(cells) != width:
        problem = f"{path.name}:{line}: {len(cells)} cells under a header of {width}."
        raise SourceError(problem, "Quote cells that hold the separator, or export the file again.")
    if any("\0" in cell for cell in cells):
        raise SourceError(f"{path.name}:{line}: a cell holds a NUL character.", "No database keeps it: remove it.")


def _table(name: str, path: Path, header: list[str]) -> sa.Table:
    columns = [cell.strip().lower() for cell in header]
    if not columns or not all(columns):
        raise SourceError(f"{path.name}:1: a column has no name.", "Write a header line that names every column.")
    taken = {column for column in columns if [*columns, LINE_COLUMN].count(column) > 1}
    if taken:
        problem = f"{path.name}:1: the column {min(taken)} stands twice ({LINE_COLUMN} is always there)."
        raise SourceError(problem, "Rename one; case does not tell columns apart.")
    line = sa.Column(LINE_COLUMN, sa.Integer, primary_key=True, autoincrement=False)
    return sa.Table(name, sa.MetaData(), line, *(sa.Column(column, sa.Text, nullable=False) for column in columns))


def _make_room(connection: sa.Connection, name: str) -> None:
    """Drop the table of an earlier import; refuse when a table of that name is somebody else's."""
    inspector = sa.inspect(connection)
    if not inspector.has_table(name):
        return
    if LINE_COLUMN not in {column["name"] for column in inspector.get_columns(name)}:
        problem = f"The table {name} is there and no import made it (it has no column {LINE_COLUMN})."
        raise SourceError(problem, "Import into a database or schema of its own.")
    sa.Table(name, sa.MetaData()).drop(connection)


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    for record in records:
        batch.append(record)
        if len(batch) == _BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
