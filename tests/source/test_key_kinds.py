"""Keys of every kind on every engine: cut in slices, found again by their text, read by the verification."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medferry.definition.checks import EntityChecks
from medferry.errors import SourceError
from medferry.source.count import count_by_unit
from medferry.source.database import snapshot, stream
from medferry.source.entity import SourceEntity
from medferry.source.keys import fault_of, key_text
from medferry.source.lookup import row_of_key, stream_keys, units_of_keys
from medferry.source.slices import SliceSpec, cut, rows_of
from medferry.verification.legacy import LegacyReader

ROWS = 23
BIG = 9_007_199_254_740_993
_names = (f"kind_{number}" for number in count())


def number_plus(first: int) -> list[Any]:
    return [first + number for number in range(ROWS)]


TEXT_KEYS = (
    *("a|b", "a,b", "a\\b", "%s%(x)s", "'\"<>", "é", "😀", "x\ty", "x\ny", " lead", "trail ", "\xa0nb", "0", "-1"),
    *("1e5", "a/b", ":p", "null", "[1]", "/", "\\", "not", "end"),
)
KINDS: dict[str, tuple[dict[str, str], list[Any]]] = {
    # name: (column type by dialect, values)
    "integer": (dict.fromkeys(("sqlite", "postgresql", "mariadb"), "INTEGER"), number_plus(-5)),
    "bigint": (dict.fromkeys(("sqlite", "postgresql", "mariadb"), "BIGINT"), number_plus(BIG)),
    "unsigned": ({"mariadb": "BIGINT UNSIGNED"}, number_plus(2**64 - 1 - ROWS)),
    "numeric": ({"postgresql": "NUMERIC(20,0)", "mariadb": "DECIMAL(20,0)"}, number_plus(BIG * 1_000)),
    "fraction": ({"postgresql": "NUMERIC(9,2)", "mariadb": "DECIMAL(9,2)"}, [f"{n}.50" for n in range(ROWS)]),
    "double": (
        {"sqlite": "REAL", "postgresql": "DOUBLE PRECISION", "mariadb": "DOUBLE"},
        [float(number) for number in range(ROWS)],
    ),
    "uuid": (
        {"sqlite": "TEXT", "postgresql": "UUID", "mariadb": "CHAR(36)"},
        [str(uuid.UUID(int=number * 7**20)) for number in range(ROWS)],
    ),
    "binary": (
        {"sqlite": "BLOB", "postgresql": "BYTEA", "mariadb": "BINARY(16)"},
        [uuid.uuid5(uuid.NAMESPACE_OID, str(number)).bytes for number in range(ROWS)],
    ),
    "char": (dict.fromkeys(("sqlite", "postgresql", "mariadb"), "CHAR(10)"), [f"K{number}" for number in range(ROWS)]),
    "text": (
        dict.fromkeys(("sqlite", "postgresql", "mariadb"), "VARCHAR(60)"),
        [*TEXT_KEYS],
    ),
}


def things(table: str, key: Sequence[str] = ("id",)) -> SourceEntity:
    return SourceEntity("thing", Path("thing.sql"), tuple(key), "unit", None, "Thing", f"SELECT * FROM {table}", {})


def fill(engine: sa.Engine, kind: str, values: Sequence[Any]) -> str:
    """A new table with a row of each value; returns its name."""
    table = next(_names)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {table} (id {kind}, unit VARCHAR(9), other INTEGER)")
        insert = sa.text(f"INSERT INTO {table} VALUES (:id, 'u', :other)")
        typed = insert.bindparams(sa.bindparam("id", type_=sa.types.NullType()))
        connection.execute(typed, [{"id": value, "other": number} for number, value in enumerate(values)])
    return table


def sliced(connection: sa.Connection, entity: SourceEntity, rows_per_slice: int) -> Iterator[dict[str, Any]]:
    counts = count_by_unit(connection, entity, ["u"])
    for one in cut(connection, entity, counts, rows_per_slice):
        statement, values = rows_of(connection.dialect.name, entity, one.units, one.low, one.high)
        rows = list(stream(connection, statement, values))
        assert len(rows) == one.rows <= rows_per_slice
        yield from rows


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_any_kind_is_one_text_everywhere(engine: sa.Engine, kind: str) -> None:
    kinds, values = KINDS[kind]
    if engine.dialect.name not in kinds:
        pytest.skip(f"no {kind} there")
    entity = things(fill(engine, kinds[engine.dialect.name], values))
    resources = {"main": {"when": "t.other > 3"}}
    checks = {"from": f"{entity.sql[14:]} t", "key": "t.id", "unit": "t.unit", "resources": resources}
    reader = LegacyReader(engine, entity, EntityChecks.model_validate(checks))
    with snapshot(engine) as connection:
        rows = list(sliced(connection, entity, 5))
        keys = [entity.ledger_key_of(row) for row in rows]
        assert len(set(keys)) == ROWS
        assert sorted(row["other"] for row in rows) == list(range(ROWS))
        if kind != "char":  # PostgreSQL pads it, the others do not
            assert {key_text(value) for value in values} == set(keys)
        assert units_of_keys(connection, entity, [*keys, "gone", "5.0", "99999999999"]) == dict.fromkeys(keys, "u")
        for row, key in zip(rows, keys, strict=True):
            assert [found["other"] for found in stream_keys(connection, entity, ["u"], [key])] == [row["other"]]
        assert row_of_key(connection, entity, keys[0]) == rows[0]
        assert row_of_key(connection, entity, f"{keys[0]} ") is None
    assert sorted(row.key for row in reader.all_rows()) == sorted(keys)
    assert sorted(row.key for row in reader.rows_by_key([*keys, "gone"])) == sorted(keys)
    assert {key: value["CASE WHEN t.other > 3 THEN 1 ELSE 0 END"] for key, value in reader.values(keys).items()} == {
        key: int(row["other"] > 3) for row, key in zip(rows, keys, strict=True)
    }
    assert reader.rows(keys[:3]) == dict(zip(keys[:3], rows[:3], strict=True))


@pytest.mark.parametrize("kinds", [("INTEGER", "VARCHAR(9)"), ("VARCHAR(9)", "CHAR(4)"), ("BIGINT", "DECIMAL(20,0)")])
def test_a_key_of_two_columns(engine: sa.Engine, kinds: tuple[str, str]) -> None:
    table = next(_names)
    values = [(first, f"{second}") for first in (1, 2, 10) for second in (1, 2, 3, 9, 10, 11)]
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {table} (a {kinds[0]}, b {kinds[1]}, unit VARCHAR(9), other INTEGER)")
        for number, (a, b) in enumerate(values):
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES ('{a}', '{b}', 'u', {number})")
    entity = things(table, ("a", "b"))
    with snapshot(engine) as connection:
        rows = list(sliced(connection, entity, 4))
        assert sorted(row["other"] for row in rows) == list(range(18))
        keys = [entity.ledger_key_of(row) for row in rows]
        for row, key in zip(rows, keys, strict=True):
            assert row_of_key(connection, entity, key) == row
        assert units_of_keys(connection, entity, [*keys, "1", "1/2/3", "7/7"]) == dict.fromkeys(keys, "u")
    checks = {"from": table, "key": ["a", "b"], "unit": "unit", "resources": {"main": {"when": "other > 3"}}}
    reader = LegacyReader(engine, entity, EntityChecks.model_validate(checks))
    assert sorted(row.key for row in reader.rows_by_key(keys)) == sorted(keys) == sorted(reader.values(keys))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO {table} VALUES ('1', '1', 'u', 99)")
    with (
        snapshot(engine) as connection,
        pytest.raises(SourceError, match="a and b of thing is not unique: 19 rows, 18"),
    ):
        count_by_unit(connection, entity, ["u"])


TEXTS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).filter(
        lambda t: fault_of(t) is None
    ),
    min_size=1,
    max_size=12,
    unique=True,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=TEXTS)
def test_any_text_comes_back_by_itself_and_brings_nothing_else(engine: sa.Engine, keys: list[str]) -> None:
    entity = things(fill(engine, "VARCHAR(60)", keys))
    with snapshot(engine) as connection:
        assert set(units_of_keys(connection, entity, keys)) == set(keys)
        for number, key in enumerate(keys):
            assert [row["other"] for row in stream_keys(connection, entity, ["u"], [key])] == [number]
    found = LegacyReader(engine, entity, None).rows_by_key(keys)
    assert sorted(row.key for row in found) == sorted(keys)


def test_units_of_numbers_and_of_padded_text(engine: sa.Engine) -> None:
    for kind, unit in (("INTEGER", "1"), ("CHAR(8)", "north")):
        table = next(_names)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"CREATE TABLE {table} (id INTEGER, unit {kind})")
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES (1, '{unit}'), (2, '{unit}')")
        entity = things(table)
        with snapshot(engine) as connection:
            assert count_by_unit(connection, entity, [unit, "another"]) == {unit: 2}
            statement, values = rows_of(connection.dialect.name, entity, [unit], None, None)
            assert [entity.unit_of(row) for row in stream(connection, statement, values)] == [unit, unit]
            assert units_of_keys(connection, entity, ["1"]) == {"1": unit}
        reader = LegacyReader(engine, entity, None)
        assert reader.count_by_unit() == {unit: 2}
        assert {row.unit for row in reader.all_rows()} == {unit}


@pytest.mark.parametrize("stray", ["North", "north "])
def test_a_unit_that_only_the_engine_takes_for_the_plan_s_is_a_stray(engine: sa.Engine, stray: str) -> None:
    table = next(_names)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {table} (id INTEGER, unit VARCHAR(8))")
        connection.exec_driver_sql(f"INSERT INTO {table} VALUES (1, 'north'), (2, '{stray}')")
    with snapshot(engine) as connection, pytest.raises(SourceError, match=f"1 row .* does not name: '?{stray}'?[.]"):
        count_by_unit(connection, things(table), ["north"])


def test_a_key_that_the_manifest_cannot_keep_is_told_before_the_run(engine: sa.Engine) -> None:
    entity = things(fill(engine, "VARCHAR(600)", ["é" * 501, "ok"]))
    with snapshot(engine) as connection, pytest.raises(SourceError, match="A key id of thing has 1,002 bytes"):
        count_by_unit(connection, entity, ["u"])


def test_a_column_that_the_select_has_not_is_named(engine: sa.Engine) -> None:
    entity = things(fill(engine, "INTEGER", [1]), ("patientId",))
    with (
        snapshot(engine) as connection,
        pytest.raises(SourceError, match="no column patientId; it has id, unit, other"),
    ):
        count_by_unit(connection, entity, ["u"])


def test_quoted_and_reserved_column_names(engine: sa.Engine) -> None:
    table, quote = next(_names), engine.dialect.identifier_preparer.quote_identifier
    names = [quote(name) for name in ("patientId", "order", "Clinic Id")]
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE {table} ({names[0]} INTEGER, {names[1]} INTEGER, {names[2]} VARCHAR(9))"
        )
        connection.exec_driver_sql(f"INSERT INTO {table} VALUES (1, 2, 'u'), (1, 3, 'u')")
    path, sql = Path("thing.sql"), f"SELECT * FROM {table}"
    entity = SourceEntity("thing", path, ("patientId", "order"), "Clinic Id", "order", "Thing", sql, {})
    with snapshot(engine) as connection:
        assert len(list(sliced(connection, entity, 1))) == 2
        assert units_of_keys(connection, entity, ["1/2", "1/3"]) == {"1/2": "u", "1/3": "u"}
    reader = LegacyReader(engine, entity, None)
    assert [row.period for row in reader.rows_by_key(["1/3"])] == ["3"]


def test_number_and_text_of_one_column_are_one_key(engine: sa.Engine) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("only SQLite has several types in one column")
    for values in ([1, "1"], [2.0, "2"], [b"ab", "ab"]):
        entity = things(fill(engine, "", values))
        with snapshot(engine) as connection, pytest.raises(SourceError, match="not unique: 2 rows, 1 keys"):
            count_by_unit(connection, entity, ["u"])


def test_undecodable_keys_are_found_again_by_their_escape(engine: sa.Engine) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("the others check the encoding of what they store")
    table = next(_names)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {table} (id TEXT, unit TEXT, other INTEGER)")
        connection.exec_driver_sql(f"INSERT INTO {table} VALUES (CAST(x'4A6F73E9' AS TEXT), 'u', 1), ('ok', 'u', 2)")
        connection.exec_driver_sql(f"INSERT INTO {table} VALUES (CAST(x'410042' AS TEXT), 'u', 3)")
    entity = things(table)
    with snapshot(engine) as connection:
        rows = list(sliced(connection, entity, 1_000))
        keys = sorted(entity.ledger_key_of(row) for row in rows)
        assert keys == ["not-text:410042", "not-text:4a6f73e9", "ok"]
        assert units_of_keys(connection, entity, keys) == dict.fromkeys(keys, "u")
        assert [row["other"] for row in stream_keys(connection, entity, ["u"], [keys[1]])] == [1]
    assert sorted(row.key for row in LegacyReader(engine, entity, None).rows_by_key(keys)) == keys


OTHERWISE = {
    # The UNION's column counts as one of integers, so that what its texts are compared with becomes a number.
    "sqlite": ("INTEGER", "SELECT id, unit FROM {0} WHERE unit = 'v' UNION ALL SELECT CAST(id AS TEXT), unit FROM {0}"),
    # Where it keeps rows to order them, it cuts these texts off at 22 characters.
    "mariadb": ("DOUBLE", "SELECT CAST(id AS CHAR) AS id, unit FROM {0}"),
}


def test_what_an_engine_orders_otherwise_than_it_compares_is_not_cut(engine: sa.Engine) -> None:
    if engine.dialect.name not in OTHERWISE:
        pytest.skip("no such key is known there")
    kind, sql = OTHERWISE[engine.dialect.name]
    numbers = [number if kind == "INTEGER" else -(1 + number / ROWS) * 1e-99 for number in range(ROWS)]
    query = sql.format(fill(engine, kind, numbers))
    entity = SourceEntity("thing", Path("thing.sql"), ("id",), "unit", None, "Thing", query, {})
    with snapshot(engine) as connection:
        counts = count_by_unit(connection, entity, ["u"])
        assert cut(connection, entity, counts, ROWS) == [SliceSpec("thing", ("u",), None, None, ROWS)]
        with pytest.raises(SourceError, match=r"thing cannot be cut into slices by id: .* orders it .* compares it"):
            cut(connection, entity, counts, 2)


PRINTED = {
    "postgresql": ("INET", ["10.0.0.1", "10.0.0.0/8", "::1", "fe80::1/64"]),
    "sqlite": ("", [float("inf"), -float("inf"), -(2**63), 2**63 - 1, 0.5]),
    "mariadb": ("INET6", ["::1", "fe80::1"]),
}


def test_a_key_is_found_that_the_engine_writes_in_several_ways(engine: sa.Engine) -> None:
    kind, values = PRINTED[engine.dialect.name]
    entity = things(fill(engine, kind, values))
    with snapshot(engine) as connection:
        statement, bound = rows_of(engine.dialect.name, entity, ["u"], None, None)
        rows = list(stream(connection, statement, bound))
        assert len(rows) == len(values)
        for row in rows:
            assert row_of_key(connection, entity, entity.ledger_key_of(row)) == row
