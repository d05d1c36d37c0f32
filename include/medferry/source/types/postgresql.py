"""PostgreSQL: what the engine prints under the pinned settings, but for booleans, integers, floats and bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.base import PGInspector

from medferry.errors import SourceError
from medferry.source.types.canonical import Canonical, Column, Convert, SourceType, binary, finite

if TYPE_CHECKING:
    import psycopg
    import psycopg.abc

_PRINTED = Canonical.AS_PRINTED

TYPES: Mapping[int, SourceType] = {
    16: SourceType("boolean", Canonical.BOOLEAN),
    17: SourceType("bytea", Canonical.BYTES),
    18: SourceType('"char"', Canonical.TEXT),
    19: SourceType("name", Canonical.TEXT),
    20: SourceType("bigint", Canonical.INTEGER),
    21: SourceType("smallint", Canonical.INTEGER),
    23: SourceType("integer", Canonical.INTEGER),
    25: SourceType("text", Canonical.TEXT),
    114: SourceType("json", Canonical.JSON, "as it was written; `json.loads` reads it"),
    142: SourceType("xml", Canonical.TEXT),
    600: SourceType("point", _PRINTED),
    601: SourceType("lseg", _PRINTED),
    602: SourceType("path", _PRINTED),
    603: SourceType("box", _PRINTED),
    604: SourceType("polygon", _PRINTED),
    628: SourceType("line", _PRINTED),
    650: SourceType("cidr", _PRINTED),
    700: SourceType("real", Canonical.FLOAT, "the shortest digits that are the same number"),
    701: SourceType("double precision", Canonical.FLOAT, "the shortest digits that are the same number"),
    705: SourceType("unknown", Canonical.TEXT, "a literal without a type"),
    718: SourceType("circle", _PRINTED),
    774: SourceType("macaddr8", _PRINTED),
    790: SourceType("money", _PRINTED, "with the currency of the database's `lc_monetary`; cast it to numeric"),
    829: SourceType("macaddr", _PRINTED),
    869: SourceType("inet", _PRINTED),
    1042: SourceType("character", Canonical.TEXT, "padded with blanks to its length, as the engine keeps it"),
    1043: SourceType("character varying", Canonical.TEXT),
    1082: SourceType("date", Canonical.DATE, "also `infinity`, `-infinity` and years `BC`"),
    1083: SourceType("time", Canonical.TIME, "also `24:00:00`"),
    1114: SourceType("timestamp", Canonical.LOCAL_TIME, "also `infinity`, `-infinity` and years `BC`"),
    1184: SourceType("timestamp with time zone", Canonical.INSTANT, "also `infinity`, `-infinity` and years `BC`"),
    1186: SourceType("interval", Canonical.INTERVAL, "`1 year 2 mons 3 days 04:05:06`"),
    1266: SourceType("time with time zone", Canonical.TIME, "with its offset"),
    1560: SourceType("bit", _PRINTED, "`bit(1)` is the integer 0 or 1"),
    1562: SourceType("bit varying", _PRINTED),
    1700: SourceType("numeric", Canonical.DECIMAL, "every digit, also `NaN`, `Infinity` and `-Infinity`"),
    2950: SourceType("uuid", Canonical.TEXT, "in lower case"),
    3802: SourceType("jsonb", Canonical.JSON, "`json.loads` reads it"),
    4072: SourceType("jsonpath", _PRINTED),
}
"""By object identifier; those of the engine's own types are the same everywhere."""

EXTENSIONS: Mapping[str, SourceType] = {
    "citext": SourceType("citext", Canonical.TEXT),
    "hstore": SourceType("hstore", _PRINTED),
    "ltree": SourceType("ltree", _PRINTED),
}
"""By name."""

MADE: Mapping[str, SourceType] = {
    "e": SourceType("an enumeration", Canonical.TEXT),
    "c": SourceType("a composite type", _PRINTED, "`row_to_json(…)` in the SQL makes JSON of it"),
    "r": SourceType("a range", _PRINTED),
    "m": SourceType("a multirange", _PRINTED),
    "A": SourceType("an array of these", _PRINTED, "`array_to_json(…)` in the SQL makes JSON of it"),
    "d": SourceType("a domain", _PRINTED, "arrives as the type below it"),
}
"""By `pg_type.typtype`, and `A` for an array."""

REMEDY = "Leave it out, or cast it in the entity's SQL: CAST({name} AS text)."

_DRIVERS_OWN = {16, 17, 20, 21, 23, 700, 701}
"""What psycopg reads by itself: booleans, bytes, integers, floats."""

_JSON = (114, 3802)

_KIND = sa.text(
    "SELECT CAST(t.oid AS bigint) AS oid, t.typname, CAST(t.typtype AS text) AS typtype, "
    "CAST(e.oid AS bigint) AS element FROM pg_catalog.pg_type t "
    "LEFT JOIN pg_catalog.pg_type e ON e.typarray = t.oid WHERE t.oid = ANY(CAST(:oids AS oid[]))"
)


def keep_text(connection: psycopg.Connection[Any]) -> None:
    """Have psycopg give the engine's own text of all but `_DRIVERS_OWN`."""
    from psycopg.types.string import TextLoader

    loader = _tolerant_loader(connection) or TextLoader
    for known in connection.adapters.types:
        for oid in (known.oid, known.array_oid):
            if oid and oid not in _DRIVERS_OWN:
                connection.adapters.register_loader(oid, loader)
    connection.adapters.register_loader(0, loader)


class Inspector(PGInspector):
    """SQLAlchemy's look into the catalogue. It asks for lists and JSON, and takes texts of them apart as if they were.

    So for as long as one looks, the driver reads those by itself; all else stays text.
    """

    @contextmanager
    def _operation_context(self) -> Iterator[sa.Connection]:
        with super()._operation_context() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            kept = _made_of_parts(driver)
            try:
                yield connection
            finally:
                for oid, loader in kept.items():
                    driver.adapters.register_loader(oid, loader)


def _made_of_parts(connection: psycopg.Connection[Any]) -> dict[int, type[psycopg.abc.Loader]]:
    """Have psycopg read arrays and JSON. What read them before, by object identifier."""
    import psycopg

    text = psycopg.pq.Format.TEXT
    kept = {}
    for oid in (*_JSON, *(known.array_oid for known in connection.adapters.types)):
        own, before = psycopg.adapters.get_loader(oid, text), connection.adapters.get_loader(oid, text)
        if own is not None and before is not None:
            kept[oid] = before
            connection.adapters.register_loader(oid, own)
    return kept


def _tolerant_loader(connection: psycopg.Connection[Any]) -> type[psycopg.abc.Loader] | None:
    """For a database whose encoding takes any byte: bytes that are no character become lone surrogates.

    The server would end the query at the first of them. SQL_ASCII says nothing of the encoding: it is taken for UTF-8.
    """
    from psycopg.types.string import TextLoader

    encoding = connection.info.parameter_status("server_encoding") or ""
    if not encoding.startswith(("SQL_ASCII", "WIN", "LATIN")):
        return None
    connection.execute(f"SET client_encoding = {encoding}")
    connection.commit()
    codec = "utf-8" if encoding == "SQL_ASCII" else connection.info.encoding

    class Tolerant(TextLoader):
        def load(self, data: Any) -> str:
            return str(bytes(data), codec, "surrogateescape")

    return Tolerant


def columns(connection: sa.Connection, description: Sequence[Any]) -> list[Column]:
    """How each column of a result is read. Raises SourceError naming the first whose type is not in the table."""
    unknown = {column.type_code for column in description} - TYPES.keys()
    refused = _refused(connection, unknown) if unknown else {}
    for column in description:
        if column.type_code in refused:
            raise SourceError(
                f"The column {column.name} is of the type {refused[column.type_code]}, which is not read.",
                REMEDY.format(name=column.name),
            )
    return [Column(column.name, _convert(column)) for column in description]


def _convert(column: Any) -> Convert | None:
    source_type = TYPES.get(column.type_code)
    if source_type is None:
        return None
    if source_type.canonical is Canonical.BYTES:
        return binary
    if source_type.canonical is Canonical.FLOAT:
        return finite
    # "0" would be true to a mapping that asks `if row["voided"]`.
    return int if column.type_display in ("bit", "bit(1)") else None


def _refused(connection: sa.Connection, oids: set[int]) -> dict[int, str]:
    """Of types that have no identifier of their own everywhere: those not in the table, with their names."""
    rows = connection.execute(_KIND, {"oids": sorted(oids)}).all()
    elements = {row.element for row in rows if row.element} - TYPES.keys()
    within = _refused(connection, elements) if elements else {}
    found = {}
    for row in rows:
        known = row.element not in within if row.element else row.typtype in MADE or row.typname in EXTENSIONS
        if not known:
            found[row.oid] = row.typname
    return found
