"""A column of every type that an engine has, its extreme values as SQL, and the engine's own text of what is stored.

The text is read by a connection of its own, by casts of the engine, so that nothing of `medferry.source` takes part.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

POSTGRESQL: Mapping[str, Sequence[str]] = {
    "bool": ["true", "false"],
    "bytea": ["'\\x'", "'\\x00ff'", "'Patient seen'"],
    '"char"': ["'x'", "''"],
    "name": ["'relation'"],
    "int8": ["-9223372036854775808", "9223372036854775807"],
    "int2": ["-32768", "32767"],
    "int4": ["-2147483648", "2147483647", "0"],
    "text": ["''", "' A1 '", "E'tab\\t\\nline'", "'Grüße 😀 \u202e'", "'0000-00-00'", "repeat('x', 200000)"],
    "json": ['\'{"b": 1.10, "a":  null, "b": 2}\'', "'[12345678901234567890.123]'", "'null'"],
    "jsonb": ['\'{"b": 1.10, "a": null}\'', "'\"text\"'", "'1e2'"],
    "xml": [],  # the embedded server is built without it
    "point": ["'(1,-2.5)'"],
    "lseg": ["'[(1,2),(3,4)]'"],
    "path": ["'((1,2),(3,4))'", "'[(1,2),(3,4)]'"],
    "box": ["'(3,4),(1,2)'"],
    "polygon": ["'((1,2),(3,4),(5,6))'"],
    "line": ["'{1,2,3}'"],
    "circle": ["'<(1,2),3>'"],
    "cidr": ["'10.0.0.0/8'", "'::/0'"],
    "inet": ["'10.0.0.1/8'", "'::1'"],
    "macaddr": ["'08:00:2b:01:02:03'"],
    "macaddr8": ["'08:00:2b:01:02:03:04:05'"],
    "float4": [
        "'NaN'",
        "'Infinity'",
        "'-Infinity'",
        "0.1",
        "-0.0",
        "1.17549435e-38",
        "3.4028235e38",
        "16777215",
        "1e-45",
    ],
    "float8": ["'NaN'", "'-Infinity'", "0.1", "-0.0", "5e-324", "1.7976931348623157e308", "1e16", "1e-5", "100"],
    "money": ["'-92233720368547758.08'", "'1234.5'"],
    "bpchar(5)": ["'x'", "'abcde'"],
    "bpchar": ["'x  '"],
    "varchar(9)": ["' x '"],
    "date": ["'4713-01-01 BC'", "'5874897-12-31'", "'infinity'", "'-infinity'", "'2024-02-29'"],
    "time": ["'00:00:00'", "'24:00:00'", "'23:59:59.999999'"],
    "timetz": ["'04:05:06+05:30'", "'24:00:00-15:59:59'", "'00:00:00+00'"],
    "timestamp": ["'4713-01-01 00:00 BC'", "'294276-12-31 23:59:59.999999'", "'infinity'", "'2024-03-10 02:30:00.5'"],
    "timestamptz": [
        "'4713-01-02 00:00+00 BC'",
        "'294276-12-31 23:59:59+00'",
        "'-infinity'",
        "'1883-11-18 12:00 America/New_York'",
    ],
    "interval": ["'1 year 2 mons 3 days 04:05:06.7'", "'-178000000 years'", "'0'", "'-1 mons +1 day'"],
    "bit(1)": ["B'0'", "B'1'"],
    "bit": ["B'0'", "B'1'"],
    "bit(70)": ["CAST(B'1' AS bit(70))"],
    "varbit": ["B''", "B'00101'"],
    "numeric": [
        "'NaN'",
        "'Infinity'",
        "'-Infinity'",
        "1e-30",
        "1e40",
        "-0.10",
        "100000000000000000000",
        "72.50",
        "1e1000",
    ],
    "numeric(10,2)": ["72.5"],
    "uuid": ["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"],
    "jsonpath": ["'$.a[*]'"],
    "mood": ["'it''s ok'"],
    "address": ["ROW('Main \"St', '01234')"],
    "positive": ["7"],
    "int4[]": ["'{1,NULL,3}'", "'{}'", "'{{1,2},{3,4}}'"],
    "text[]": ['\'{a,"b c","NULL",NULL}\''],
    "float8[]": ["'{0.1,NaN}'"],
    "timestamptz[]": ["'{2020-01-01 00:00+05}'"],
    "bytea[]": ["ARRAY['\\x00ff'::bytea]"],
    "mood[]": ["ARRAY['sad'::mood]"],
    "daterange": ["'[1980-01-01,1981-01-01)'", "'empty'", "'(,)'"],
    "tstzrange": ["'[2020-01-01 00:00+05,)'"],
    "int4range": ["'[1,5)'"],
    "int8range": ["'[1,5)'"],
    "numrange": ["'[1.50,5)'"],
    "tsrange": ["'[2020-01-01,)'"],
    "datemultirange": ["'{[1980-01-01,1981-01-01)}'"],
    "span": ["'[0.1,0.2)'"],
}
"""Type → values. `mood`, `address`, `positive` and `span` are made by `POSTGRESQL_TYPES`."""

POSTGRESQL_TYPES = (
    "CREATE TYPE mood AS ENUM ('sad', 'it''s ok')",
    "CREATE TYPE address AS (street text, zip text)",
    "CREATE DOMAIN positive AS integer CHECK (VALUE > 0)",
    "CREATE TYPE span AS RANGE (subtype = float8)",
)

POSTGRESQL_REFUSED: Mapping[str, str] = {
    "aclitem": "'legacy=r/legacy'", "cid": "'1'", "gtsvector": "NULL", "oid": "1", "pg_lsn": "'0/1'",
    "pg_brin_bloom_summary": "NULL", "pg_brin_minmax_multi_summary": "NULL", "pg_dependencies": "NULL",
    "pg_mcv_list": "NULL", "pg_ndistinct": "NULL", "pg_node_tree": "NULL", "pg_snapshot": "'1:1:'",
    "refcursor": "'c'", "regclass": "'pg_class'", "regcollation": "'\"C\"'", "regconfig": "'english'",
    "regdictionary": "'simple'", "regnamespace": "'public'", "regoper": "'||/'", "regoperator": "'+(int4,int4)'",
    "regproc": "'now'", "regprocedure": "'now()'", "regrole": "'legacy'", "regtype": "'int4'", "tid": "'(0,1)'",
    "tsquery": "'a & b'", "tsvector": "'a b'", "txid_snapshot": "'1:1:'", "xid": "'1'", "xid8": "'1'",
    "oid[]": "'{1}'", "regclass[]": "'{pg_class}'", "oidvector": "'1 2'", "int2vector": "'1 2'", "vector": "'[1,2]'",
}  # fmt: skip
"""The engine's inner types, and one of an extension."""

MARIADB: Mapping[str, Sequence[str]] = {
    "TINYINT": ["-128", "127"],
    "TINYINT(1)": ["0", "1"],
    "BOOLEAN": ["false", "true"],
    "SMALLINT": ["-32768", "32767"],
    "MEDIUMINT": ["-8388608", "8388607"],
    "INT": ["-2147483648", "2147483647"],
    "INT UNSIGNED": ["4294967295"],
    "INT(7) ZEROFILL": ["7", "1234567", "0"],
    "TINYINT(3) ZEROFILL": ["5"],
    "BIGINT": ["-9223372036854775808", "9223372036854775807"],
    "BIGINT UNSIGNED": ["0", "18446744073709551615"],
    "SERIAL": ["1"],
    "DECIMAL(65,30)": ["99999999999999999999999999999999999.999999999999999999999999999999", "-0.1", "0"],
    "DECIMAL(10,2)": ["72.50", "-72.5"],
    "DECIMAL(8,2) ZEROFILL": ["1.5"],
    "FLOAT": ["1234567", "150.123", "0.1", "16777215", "-76.927887", "3.4028234e38", "1.17549435e-38", "0"],
    "FLOAT(7,3)": ["1.2345", "-99.999"],
    "FLOAT UNSIGNED": ["0.3"],
    "DOUBLE": ["0.1", "1.7976931348623157e308", "2.2250738585072014e-308", "1e16", "1e-5", "0", "123456789.123456789"],
    "DOUBLE(10,3)": ["2.5"],
    "BIT(1)": ["b'0'", "b'1'"],
    "BIT(9)": ["b'100000001'"],
    "BIT(64)": ["0xFFFFFFFFFFFFFFFF", "0"],
    "DATE": ["'0000-00-00'", "'1000-01-01'", "'9999-12-31'", "'1980-00-00'", "'2024-02-29'"],
    "DATETIME": ["'0000-00-00 00:00:00'", "'9999-12-31 23:59:59'", "'2024-03-10 02:30:00'"],
    "DATETIME(6)": ["'2024-03-10 02:30:00.000001'"],
    "TIMESTAMP NULL": ["'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'", "'0000-00-00 00:00:00'"],
    "TIMESTAMP(6) NULL": ["'2024-01-15 08:30:00.123456'"],
    "TIME": ["'-838:59:59'", "'838:59:59'", "'00:00:00'"],
    "TIME(6)": ["'-00:00:00.000001'"],
    "YEAR": ["0", "1901", "2155"],
    "CHAR(5)": ["'abc'", "'  x'", "'ÄÖ😀'"],
    "CHAR(5) CHARACTER SET latin1": ["'José'"],
    "VARCHAR(20)": ["''", "' A1 '", "'0000-00-00'"],
    "VARCHAR(20) COLLATE utf8mb4_bin": ["'Grüße 😀'"],
    "VARCHAR(20) CHARACTER SET ucs2": ["'Grüße'"],
    "NCHAR(5)": ["'ab'"],
    "NVARCHAR(9)": ["'ab'"],
    "TINYTEXT": ["'tiny'"],
    "TEXT": ["'line\\nline'"],
    "MEDIUMTEXT": ["'medium'"],
    "LONGTEXT": ["REPEAT('x', 200000)"],
    "LONG VARCHAR": ["'long'"],
    "JSON": ['\'{"b": 1.10, "a":  null}\''],
    "ENUM('a','it''s')": ["'a'", "'it''s'"],
    "SET('a','b')": ["''", "'a,b'"],
    "UUID": ["'123e4567-e89b-12d3-a456-426614174000'"],
    "INET4": ["'1.2.3.4'"],
    "INET6": ["'::1'", "'::ffff:1.2.3.4'"],
    "BINARY(3)": ["'ab'", "0x00FF01"],
    "BINARY(16)": ["0x00112233445566778899AABBCCDDEEFF"],
    "VARBINARY(9)": ["''", "0xE9"],
    "TINYBLOB": ["'text'"],
    "BLOB": ["0x00FF"],
    "MEDIUMBLOB": ["'Patient seen today'"],
    "LONGBLOB": ["''"],
    "LONG VARBINARY": ["0xFF"],
}

MARIADB_REFUSED: Mapping[str, str] = {
    "GEOMETRY": "ST_GeomFromText('POINT(1 2)')", "POINT": "ST_GeomFromText('POINT(1 2)')",
    "LINESTRING": "ST_GeomFromText('LINESTRING(0 0,1 1)')", "POLYGON": "NULL", "MULTIPOINT": "NULL",
    "MULTILINESTRING": "NULL", "MULTIPOLYGON": "NULL", "GEOMETRYCOLLECTION": "NULL",
}  # fmt: skip

MARIADB_SAME = {
    "BOOL", "BLOB and TEXT Data Types", "CHAR", "CHAR BYTE", "CHAR VARYING", "CHARACTER", "CLOB", "DEC",
    "DEC, NUMERIC, FIXED", "DECIMAL", "DOUBLE PRECISION", "ENUM", "FIXED", "FLOAT4", "FLOAT8", "INT1", "INT2", "INT3",
    "INT4", "INT8", "INTEGER", "LONG and LONG VARCHAR", "LONG CHAR VARYING", "LONG CHARACTER VARYING",
    "LONG VARCHARACTER",
    "MIDDLEINT", "NATIONAL CHAR", "NATIONAL CHAR VARYING", "NATIONAL CHARACTER", "NATIONAL CHARACTER VARYING",
    "NATIONAL VARCHAR", "NATIONAL VARCHARACTER", "NCHAR", "NCHAR VARCHAR", "NCHAR VARCHARACTER", "NCHAR VARYING",
    "NUMBER", "NUMERIC", "RAW", "REAL", "VARCHAR", "VARCHAR2", "VARCHARACTER", "BINARY", "BIT", "VARBINARY",
}  # fmt: skip
"""Other names, and names without a length, of the types above."""

MARIADB_NO_TYPES = {
    "AUTO_INCREMENT", "AUTO_INCREMENT FAQ", "Character Set and Collation Overview", "Coordinated Universal Time",
    "Data Type Storage Requirements", "Floating-point Accuracy", "Locales Plugin", "NULL Values",
    "Numeric Data Type Overview", "ROW", "ROW TYPE OF", "SQL_TSI_YEAR", "Server Locale", "SET CHARACTER SET",
    "SET NAMES", "Setting Character Sets and Collations", "Setting the Language for Error Messages",
    "Supported Character Sets and Collations", "Time Zones", "TYPE OF", "Unicode",
    "VECTOR", "XMLTYPE",
}  # fmt: skip
"""Pages of the same chapter of the engine's help that are no type, or none of its version."""

SQLITE: Mapping[str, Sequence[str]] = {
    "INTEGER": ["-9223372036854775808", "9223372036854775807", "0", "'text'", "1.5", "X'00'", "9223372036854775808"],
    "REAL": ["0.1", "1e-5", "1e16", "9e999", "-9e999", "5e-324", "1.7976931348623157e308", "1", "'12 kg'"],
    "NUMERIC": ["'72.50'", "1e20", "'2024-02-29'", "'0000-00-00'", "true"],
    "TEXT": ["''", "' A1 '", "'Grüße 😀'", "12", "1.50", "CAST(X'4A6F73E9' AS TEXT)", "X'FF'"],
    "BLOB": ["X''", "X'00FF'", "'text'", "7", "0.5"],
    "DATE": ["'2024-02-30'", "20240229"],
    "DECIMAL(10,2)": ["72.50", "'1,5'"],
    "BOOLEAN": ["0", "1", "'t'"],
    "DOUBLE PRECISION": ["0.30000000000000004"],
    "ANY": ["1", "'1'", "1.0"],
}


def postgresql_text(connection: sa.Connection, table: str, _kind: str, v: str = "v") -> list[str | None]:
    """The engine's text of the column v, in the order of n; format() prints a value as the engine does for a client."""
    statement = f"SELECT CASE WHEN {v} IS NULL THEN NULL ELSE format('%s', {v}) END FROM {table} ORDER BY n"
    return list(connection.execute(sa.text(statement)).scalars())


def mariadb_text(connection: sa.Connection, table: str, kind: str, v: str = "v") -> list[str | None]:
    """Bytes as hexadecimal digits; a FLOAT by way of a double."""
    casts = {"FLOAT": f"CAST(CAST({v} AS DOUBLE) AS CHAR)", "BIT": f"CAST({v} + 0 AS CHAR)"}
    cast = casts.get(kind.partition("(")[0].split()[0], f"CONVERT(CAST({v} AS CHAR) USING utf8mb4)")
    cast = f"HEX({v})" if "BINARY" in kind or "BLOB" in kind else cast
    return list(connection.exec_driver_sql(f"SELECT {cast} FROM {table} ORDER BY n").scalars())


def sqlite_text(connection: sa.Connection, table: str, _kind: str, v: str = "v") -> list[str | None]:
    """As a literal; a text as the hexadecimal digits of its bytes."""
    text = f"CASE typeof({v}) WHEN 'text' THEN 'T' || hex({v}) ELSE quote({v}) END"
    return list(connection.exec_driver_sql(f"SELECT {text} FROM {table} ORDER BY n").scalars())


def single(text: str) -> float:
    """The 32-bit float that is nearest to a text, as a double."""
    return float(struct.unpack("f", struct.pack("f", float(text)))[0])


def table_of(connection: sa.Connection, name: str, kind: str, values: Sequence[str]) -> None:
    """A table with the values in the column v, in the order of n."""
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name}")
    connection.exec_driver_sql(f"CREATE TABLE {name} (n INTEGER, v {kind})")
    for number, value in enumerate(values):
        connection.exec_driver_sql(f"INSERT INTO {name} VALUES ({number}, {value})".replace("%", "%%"))
