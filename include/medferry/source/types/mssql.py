"""SQL Server: what the engine makes text of by CONVERT, since its driver's dates have six digits, and no exact ones.

Not run against a server here: the statements are checked as SQL, the values as the driver is documented to give them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BindParameter

from medferry.errors import SourceError
from medferry.source.types.canonical import Canonical, Column, Convert, SourceType, binary, finite, single_precision
from medferry.source.types.utf16 import UTF_16

Statement = sa.Select[*tuple[Any, ...]] | sa.TextClause

TYPES: Mapping[str, SourceType] = {
    "bit": SourceType("bit", Canonical.BOOLEAN),
    "tinyint": SourceType("tinyint", Canonical.INTEGER),
    "smallint": SourceType("smallint", Canonical.INTEGER),
    "int": SourceType("int", Canonical.INTEGER),
    "bigint": SourceType("bigint", Canonical.INTEGER),
    "decimal": SourceType("decimal", Canonical.DECIMAL),
    "numeric": SourceType("numeric", Canonical.DECIMAL),
    "money": SourceType("money", Canonical.DECIMAL, "with four digits after the point"),
    "smallmoney": SourceType("smallmoney", Canonical.DECIMAL, "with four digits after the point"),
    "real": SourceType("real", Canonical.FLOAT, "the shortest digits that are the same number"),
    "float": SourceType("float", Canonical.FLOAT, "the shortest digits that are the same number"),
    "date": SourceType("date", Canonical.DATE),
    "time": SourceType("time", Canonical.TIME, "with as many digits of a second as the column has"),
    "smalldatetime": SourceType("smalldatetime", Canonical.LOCAL_TIME, "to the minute"),
    "datetime": SourceType("datetime", Canonical.LOCAL_TIME, "three digits: `.000`, `.003` or `.007` at the end"),
    "datetime2": SourceType("datetime2", Canonical.LOCAL_TIME, "up to seven digits"),
    "datetimeoffset": SourceType(
        "datetimeoffset", Canonical.INSTANT, "in its own offset: `YYYY-MM-DD HH:MM:SS.fffffff +05:30`"
    ),
    "uniqueidentifier": SourceType("uniqueidentifier", Canonical.TEXT, "in upper case"),
    "char": SourceType("char", Canonical.TEXT, "padded with blanks to its length, as the engine keeps it"),
    "varchar": SourceType("varchar", Canonical.TEXT),
    "text": SourceType("text", Canonical.TEXT),
    "nchar": SourceType("nchar", Canonical.TEXT, "padded with blanks to its length, as the engine keeps it"),
    "nvarchar": SourceType("nvarchar, sysname", Canonical.TEXT),
    "ntext": SourceType("ntext", Canonical.TEXT),
    "xml": SourceType("xml", Canonical.TEXT, "as the engine writes it: without declaration and meaningless blanks"),
    "binary": SourceType("binary", Canonical.BYTES),
    "varbinary": SourceType("varbinary", Canonical.BYTES),
    "image": SourceType("image", Canonical.BYTES),
    "timestamp": SourceType("rowversion (timestamp)", Canonical.BYTES, "eight bytes that are no time"),
}
"""By the engine's name of a type, without its length; an alias type is the type below it."""

REMEDIES: Mapping[str, str] = {
    "sql_variant": "CAST({name} AS nvarchar(4000))",
    "hierarchyid": "{name}.ToString()",
    "geometry": "{name}.ToString()",
    "geography": "{name}.ToString()",
    "json": "CAST({name} AS nvarchar(max))",
    "vector": "CAST({name} AS nvarchar(max))",
}
"""Those that the engine has beside, which are refused."""

_TEXTS: Mapping[str, tuple[str, int | None]] = {
    "decimal": ("nvarchar(42)", None),
    "numeric": ("nvarchar(42)", None),
    "money": ("nvarchar(24)", 2),
    "smallmoney": ("nvarchar(24)", 2),
    "date": ("nvarchar(10)", 23),
    "time": ("nvarchar(16)", 121),
    "smalldatetime": ("nvarchar(19)", 120),
    "datetime": ("nvarchar(23)", 121),
    "datetime2": ("nvarchar(27)", 121),
    "datetimeoffset": ("nvarchar(34)", 121),
    "uniqueidentifier": ("nvarchar(36)", None),
    "text": ("nvarchar(max)", None),
    "xml": ("nvarchar(max)", None),
}
"""What is fetched as text: the type to CONVERT to, and the style, which no setting changes; style 0 would round."""

_OF_A_CODE_PAGE = frozenset({"char", "varchar"})
"""The engine makes UTF-16 of these: the driver would give them in the encoding of the process' locale."""
_LONGEST_NVARCHAR = 4_000

_CONVERTERS: Mapping[Canonical, Convert] = {Canonical.BYTES: binary, Canonical.FLOAT: finite}

_DESCRIBE = sa.text(
    "SELECT name, system_type_name, user_type_name, error_number "
    "FROM sys.dm_exec_describe_first_result_set(:described_sql, NULL, 0) ORDER BY column_ordinal"
).bindparams(sa.bindparam("described_sql", type_=sa.UnicodeText()))


@dataclass(frozen=True, slots=True)
class Described:
    """A column of a SELECT as the engine describes it."""

    name: str
    type_name: str
    """Without its length."""
    length: str = ""
    """What stands in the brackets behind the type."""

    @property
    def as_text(self) -> tuple[str, int | None] | None:
        """The type and style by which the engine makes text of it; None where it is fetched as it is."""
        if self.type_name not in _OF_A_CODE_PAGE:
            return _TEXTS.get(self.type_name)
        is_short = self.length.isdecimal() and int(self.length) <= _LONGEST_NVARCHAR
        return f"nvarchar({self.length if is_short else 'max'})", None


def keep_text(connection: Any) -> None:
    """Have pyodbc read UTF-16 as the engine keeps it, halves of a pair alone too: its own reading would raise."""
    import pyodbc

    connection.setdecoding(pyodbc.SQL_WCHAR, encoding=UTF_16, ctype=pyodbc.SQL_WCHAR)


def described(connection: sa.Connection, statement: Statement) -> list[Described]:
    """The columns of a SELECT. Asks the engine, and for no row; bound values are left out.

    Raises SourceError, and DBAPIError as the statement itself would.
    """
    plain = _without_values(statement)
    sql = str(plain.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True}))
    rows = connection.execute(_DESCRIBE, {"described_sql": sql}).all()
    if any(row.error_number is not None for row in rows):
        connection.exec_driver_sql(sql).close()  # it says by itself what is wrong with it
        problem = f"SQL Server cannot tell the columns of a query ({rows[0].error_number})."
        raise SourceError(problem, "Leave temporary tables and dynamic SQL out of the entity's SQL.")
    return [_described(row) for row in rows]


def _described(row: Any) -> Described:
    """``datetime2(7)`` → ``datetime2``, ``7``; a type of the CLR has a name of its own alone."""
    name, _, length = str(row.system_type_name or row.user_type_name or "unknown").partition("(")
    return Described(str(row.name), name.casefold(), length.rstrip(")"))


def _without_values(statement: Statement) -> sa.Select[Any]:
    if isinstance(statement, sa.Select):
        statement = statement.limit(None).order_by(None)
    else:
        statement = sa.select(sa.text("*")).select_from(statement.columns().subquery("typed_rows"))
    found: Any = visitors.replacement_traverse(statement, {}, _as_null)
    assert isinstance(found, sa.Select)
    return found


def _as_null(element: Any, **_: Any) -> Any:
    if not isinstance(element, BindParameter):
        return None
    return sa.literal_column("(NULL)" if element.expanding else "NULL")


def exact(connection: sa.Connection, statement: Statement) -> tuple[sa.Select[Any] | sa.TextClause, list[Column]]:
    """The statement with what is fetched as text converted by the engine, and how each column is read.

    What is converted loses its name in the statement, so that an ORDER BY of that name goes by the value, not its text.
    Raises SourceError naming the first column whose type is not in the table.
    """
    found = described(connection, statement)
    for column in found:
        _refuse_unknown(column)
    columns = [Column(column.name, _convert(column.type_name)) for column in found]
    if not any(column.as_text for column in found):
        return statement, columns
    selected = dict(statement.selected_columns) if isinstance(statement, sa.Select) else {}
    wanted = [
        _fetched(number, column.as_text, selected.get(column.name, sa.column(column.name)))
        for number, column in enumerate(found)
    ]
    if isinstance(statement, sa.Select):
        return statement.with_only_columns(*wanted), columns
    within = statement.columns(*(sa.column(column.name) for column in found)).subquery("typed_rows")
    return sa.select(*wanted).select_from(within), columns


def _refuse_unknown(column: Described) -> None:
    if column.type_name not in TYPES:
        cast = REMEDIES.get(column.type_name, "CAST({name} AS nvarchar(4000))").format(name=column.name)
        raise SourceError(
            f"The column {column.name} is of the type {column.type_name}, which is not read.",
            f"Leave it out, or cast it in the entity's SQL: {cast}.",
        )


def _fetched(
    number: int, as_text: tuple[str, int | None] | None, column: sa.ColumnElement[Any]
) -> sa.ColumnElement[Any]:
    if as_text is None:
        return column
    target, style = as_text
    plain = column.element if isinstance(column, sa.Label) else column
    styled: list[sa.ColumnElement[Any]] = [] if style is None else [sa.literal_column(str(style))]
    return sa.func.convert(sa.literal_column(target), plain, *styled).label(f"as_text_{number}")


def _convert(type_name: str) -> Convert | None:
    return single_precision if type_name == "real" else _CONVERTERS.get(TYPES[type_name].canonical)
