"""Random keys on each engine: their one text goes through slices, identifier, reference, replay and verification.

MEDFERRY_KEY_EXAMPLES asks for so many tables of each engine, new ones each time; without it there are the same 25.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medferry.definition.checks import Check, EntityChecks
from medferry.errors import SourceError
from medferry.fhir.references import parse_conditional
from medferry.mapping.context import Context, MappingSettings
from medferry.mapping.declare import MappingSpec
from medferry.mapping.identity import Naming
from medferry.mapping.values import zone_of
from medferry.source.count import count_by_unit
from medferry.source.database import snapshot, stream
from medferry.source.entity import SourceEntity
from medferry.source.lookup import row_of_key, stream_keys, units_of_keys
from medferry.source.slices import cut, rows_of
from medferry.verification.case import referred_key
from medferry.verification.legacy import LegacyReader

ASKED = int(os.environ.get("MEDFERRY_KEY_EXAMPLES", "0"))
SEARCH = settings(
    max_examples=ASKED or 25,
    derandomize=not ASKED,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
Strategy = st.SearchStrategy[Any]

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
BLANKS = st.sampled_from(["a", " a", "a ", "A", "a/b", "a\\/b", "\ta", "1", "1.0", "01", "a\n", "%s", ":x", "'", '"'])
PLAIN = st.text("abcXYZ0123-_/", min_size=1, max_size=8)
EXACT = st.floats(-(2.0**53) + 1, 2.0**53 - 1, allow_subnormal=False).map(lambda value: value or 0.0)
SINGLE = st.floats(-(2.0**24), 2.0**24, width=32, allow_subnormal=False).map(lambda value: value or 0.0)
MOMENTS = st.datetimes(*map(datetime.fromisoformat, ("1971-01-01", "2037-01-01")))


def whole(bits: int) -> Strategy:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@dataclass(frozen=True)
class KeyKind:
    """A column of a key: its type, its values, and the type of a column that refers to it."""

    sql: str
    values: Strategy
    foreign: str = ""


KINDS: dict[str, list[KeyKind]] = {
    "postgresql": [
        KeyKind("INTEGER", whole(32), "DOUBLE PRECISION"),
        KeyKind("BIGINT", whole(64), "NUMERIC(20,0)"),
        KeyKind("NUMERIC(38,0)", st.integers(-(10**37), 10**37)),
        KeyKind("NUMERIC(20,4)", st.decimals(-(10**15), 10**15, places=4)),
        KeyKind("REAL", SINGLE),
        KeyKind("DOUBLE PRECISION", EXACT),
        KeyKind("UUID", st.uuids(), "TEXT"),
        KeyKind("BYTEA", st.binary(max_size=20)),
        KeyKind("CHAR(10)", PLAIN),
        KeyKind("VARCHAR(30)", TEXT | BLANKS, "TEXT"),
        KeyKind("key_domain", TEXT | BLANKS),
        KeyKind("BOOLEAN", st.booleans()),
        KeyKind("BIT(1)", st.sampled_from("01")),
        KeyKind("DATE", st.dates()),
        KeyKind("TIMESTAMP", MOMENTS),
        KeyKind("TIMESTAMPTZ", MOMENTS.map(lambda moment: moment.replace(tzinfo=UTC))),
    ],
    "mariadb": [
        KeyKind("INTEGER", whole(32), "DOUBLE"),
        KeyKind("BIGINT UNSIGNED", st.integers(0, 2**64 - 1), "DECIMAL(20,0)"),
        KeyKind("INT(10) ZEROFILL", st.integers(0, 2**32 - 1)),
        KeyKind("DECIMAL(38,0)", st.integers(-(10**37), 10**37)),
        KeyKind("DECIMAL(20,4)", st.decimals(-(10**15), 10**15, places=4)),
        KeyKind("FLOAT", SINGLE),
        KeyKind("DOUBLE", EXACT.filter(lambda value: value == 0 or abs(value) > 1e-300)),
        KeyKind("UUID", st.uuids(version=4).map(str), "CHAR(36)"),
        KeyKind("INET6", st.ip_addresses(v=6).map(lambda address: address.compressed)),
        KeyKind("BINARY(16)", st.binary(min_size=16, max_size=16)),
        KeyKind("CHAR(10)", PLAIN, "VARCHAR(10)"),
        KeyKind("VARCHAR(30)", TEXT | BLANKS, "LONGTEXT"),
        KeyKind("VARCHAR(30) COLLATE utf8mb4_bin", TEXT | BLANKS),
        KeyKind("BIT(8)", st.integers(0, 255)),
        KeyKind("DATE", st.dates()),
        KeyKind("DATETIME(6)", MOMENTS),
        KeyKind("TIMESTAMP", MOMENTS.map(lambda moment: moment.replace(microsecond=0))),
    ],
    "sqlite": [
        KeyKind("INTEGER", whole(64)),
        KeyKind("INTEGER", whole(32), "REAL"),
        KeyKind("REAL", EXACT),
        KeyKind("TEXT", TEXT | BLANKS),
        KeyKind("TEXT COLLATE NOCASE", TEXT | BLANKS),
        KeyKind("BLOB", st.binary(max_size=20)),
        KeyKind("", whole(32) | TEXT | st.binary(max_size=5)),
    ],
}
NAMES = ["id", "patientId", "order", "select", "Key Part", "ünit", "GROUP", "x"]
UNITS = {"VARCHAR(9)": ["north", "south"], "CHAR(8)": ["north", "south"], "INTEGER": [1, 2]}
MADE = count()


@dataclass(frozen=True)
class Table:
    """A table with a key of some columns, and one whose rows refer to its rows."""

    name: str
    key: tuple[str, ...]
    kinds: tuple[KeyKind, ...]
    unit: str
    unit_kind: str
    rows: list[tuple[Any, ...]]

    @property
    def units(self) -> list[str]:
        return [str(unit) for unit in UNITS[self.unit_kind]]


@st.composite
def tables(draw: st.DrawFn, dialect: str) -> Table:
    names = draw(st.permutations(NAMES))
    kinds = draw(st.lists(st.sampled_from(KINDS[dialect]), min_size=1, max_size=3))
    one = st.tuples(*(kind.values for kind in kinds))
    named = one if len(kinds) > 1 else one.filter(lambda row: str(row[0]).strip() != "" and row[0] != b"")
    rows = draw(st.lists(named, min_size=1, max_size=9, unique=True))
    name = f"random_keys_{next(MADE)}"
    return Table(name, tuple(names[: len(kinds)]), tuple(kinds), names[-1], draw(st.sampled_from(sorted(UNITS))), rows)


def create(engine: sa.Engine, table: Table) -> None:
    quote = engine.dialect.identifier_preparer.quote_identifier
    columns = [f"{quote(name)} {kind.sql}" for name, kind in zip(table.key, table.kinds, strict=True)]
    foreign = [f"{quote(name)} {kind.foreign or kind.sql}" for name, kind in zip(table.key, table.kinds, strict=True)]
    values = ", ".join(f":v{place}" for place in range(len(table.key)))
    own = [sa.bindparam(f"v{place}", type_=sa.types.NullType()) for place in range(len(table.key))]
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE {table.name} ({', '.join(columns)}, {quote(table.unit)} {table.unit_kind}, n INTEGER)"
        )
        connection.exec_driver_sql(f"CREATE TABLE {table.name}_child (own INTEGER, {', '.join(foreign)})")
        for number, row in enumerate(table.rows):
            given = {f"v{place}": _bound(value) for place, value in enumerate(row)}
            unit = UNITS[table.unit_kind][number % 2]
            insert = sa.text(f"INSERT INTO {table.name} VALUES ({values}, :unit, :n)").bindparams(*own)
            connection.execute(insert, given | {"unit": unit, "n": number})
            child = sa.text(f"INSERT INTO {table.name}_child VALUES (:n, {values})").bindparams(*own)
            connection.execute(child, given | {"n": number})


def _bound(value: Any) -> Any:
    return value if isinstance(value, (int, float, str, bytes)) else str(value)


def entity_of(table: Table) -> SourceEntity:
    sql = f"SELECT * FROM {table.name}"
    return SourceEntity("clinic", Path("clinic.sql"), table.key, table.unit, None, "Clinic", sql, {})


def sliced(connection: sa.Connection, entity: SourceEntity, counts: dict[str, int]) -> list[dict[str, Any]]:
    """All rows, slice by slice, their bounds kept as the manifest does."""
    rows = []
    for one in cut(connection, entity, counts, 2):
        low, high = json.loads(json.dumps([one.low, one.high]))
        statement, values = rows_of(connection.dialect.name, entity, one.units, low, high)
        found = list(stream(connection, statement, values))
        assert len(found) == one.rows
        rows += found
    return rows


def referred(key: Sequence[Any]) -> str:
    """The identifier's value of a mapping's reference to the row of a key, as it stands in the row that refers."""
    specs = {name: _spec(name, refers) for name, refers in (("clinic", ()), ("patient", ("clinic",)))}
    naming = Naming("https://x.example", "m")
    context = Context(specs["patient"], "7", MappingSettings(naming, zone_of("UTC"), {}, specs))
    reference = context.reference("clinic", tuple(key))
    parsed = parse_conditional(reference["reference"]) if reference else None
    assert parsed is not None and parsed[1] == naming.system("clinic")
    return parsed[2]


def _spec(name: str, refers: tuple[str, ...]) -> MappingSpec:
    return MappingSpec(name, "1", "test", "approved", {"main": "Organization"}, refers, lambda *_: ())


@pytest.fixture(scope="module", autouse=True)
def _domain(engine: sa.Engine) -> None:
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE DOMAIN key_domain AS VARCHAR(30)")


@SEARCH
@given(data=st.data())
def test_a_key_is_one_text_everywhere(engine: sa.Engine, data: st.DataObject) -> None:
    table = data.draw(tables(engine.dialect.name))
    create(engine, table)
    entity = entity_of(table)
    try:
        with snapshot(engine) as connection:
            counts = count_by_unit(connection, entity, table.units)
    except SourceError as refused:
        assert "is not unique" in refused.problem
        assert {kind.sql.partition("(")[0] for kind in table.kinds} & {"VARCHAR", "CHAR", "", "TEXT COLLATE NOCASE"}
        return
    with snapshot(engine) as connection:
        rows = sliced(connection, entity, counts)
        keys = {entity.ledger_key_of(row): row for row in rows}
        assert sorted(row["n"] for row in keys.values()) == list(range(len(table.rows)))
        assert all(entity.key_of(row) == key for key, row in keys.items())
        assert units_of_keys(connection, entity, [*keys, "gone"]) == {
            key: str(UNITS[table.unit_kind][row["n"] % 2]) for key, row in keys.items()
        }
        for key, row in keys.items():
            assert list(stream_keys(connection, entity, table.units, [key])) == [row]
            assert row_of_key(connection, entity, key) == row
        assert row_of_key(connection, entity, f"{next(iter(keys))} ") is None
    _judge_verification(engine, table, keys)


def _judge_verification(engine: sa.Engine, table: Table, keys: dict[str, dict[str, Any]]) -> None:
    """What the checks read by SQL of their own has the same keys, and so has what refers to them."""
    quote = engine.dialect.identifier_preparer.quote_identifier
    own = [f"t.{quote(name)}" for name in table.key]
    checks = {"from": f"{table.name} t", "key": own, "unit": f"t.{quote(table.unit)}", "resources": {"main": {}}}
    reader = LegacyReader(engine, entity_of(table), EntityChecks.model_validate(checks))
    assert sorted(row.key for row in reader.all_rows()) == sorted(keys)
    assert sorted(row.key for row in reader.rows_by_key([*keys, "gone"])) == sorted(keys)
    assert reader.rows(list(keys)) == keys
    assert sum(reader.count_by_unit().values()) == len(keys)
    refers = {"name": "refers", "path": "subject", "compare": "reference", "entity": "clinic", "sql": own}
    of_child = {"from": f"{table.name}_child t", "key": "t.own", "resources": {"main": {"checks": [refers]}}}
    child = SourceEntity(
        "patient", Path("p.sql"), ("own",), "own", None, "P", f"SELECT own FROM {table.name}_child", {}
    )
    found = LegacyReader(engine, child, EntityChecks.model_validate(of_child)).values(
        [str(row["n"]) for row in keys.values()]
    )
    for key, row in keys.items():
        columns = found[str(row["n"])]
        assert referred_key(Check.model_validate(refers), columns) == key
        assert referred([columns[sql] for sql in own]) == key
