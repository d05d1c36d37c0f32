"""Random keys on each engine: their one text goes through slices, identifier, reference, replay and verification.

MEDFERRY_KEY_EXAMPLES asks for so many tables of each engine, new ones each time; without it there are the same 25.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
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


LABELS = ["west", "east", "south", "North", "north pole", "10", "9", "Ost"]
"""In no order, neither of letters nor of numbers."""


def _clock(milliseconds: int) -> str:
    """A time as MariaDB holds it, beyond a day and below zero too."""
    sign, (seconds, fraction) = "-" if milliseconds < 0 else "", divmod(abs(milliseconds), 1_000)
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{fraction:03}"


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
        KeyKind("key_enum", st.sampled_from(LABELS)),
        KeyKind("key_enum_domain", st.sampled_from(LABELS)),
        KeyKind('VARCHAR(30) COLLATE "C"', TEXT | BLANKS),
        KeyKind("NAME", PLAIN),
        KeyKind("NUMERIC", st.decimals(-(10**9), 10**9, places=3) | st.sampled_from(["NaN", "Infinity"])),
        KeyKind("TIME", st.times()),
        KeyKind("TIMETZ", st.times().map(lambda time: f"{time}+02")),
        KeyKind("INTERVAL", st.integers(-(10**6), 10**6).map(lambda seconds: f"{seconds} seconds")),
        KeyKind("INET", st.ip_addresses().map(str)),
        KeyKind("CIDR", st.ip_addresses(v=4).map(str)),
        KeyKind("MACADDR", st.integers(0, 2**48 - 1).map(lambda number: f"{number:012x}")),
        KeyKind("BIT VARYING(9)", st.text("01", min_size=1, max_size=9)),
        KeyKind("INTEGER[]", st.lists(whole(32), max_size=3).map(lambda found: f"{{{','.join(map(str, found))}}}")),
        KeyKind("JSONB", whole(32).map(str)),
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
        KeyKind(f"ENUM({', '.join(map(repr, LABELS))})", st.sampled_from(LABELS)),
        KeyKind(
            f"ENUM({', '.join(map(repr, LABELS))}) CHARACTER SET latin1 COLLATE latin1_bin", st.sampled_from(LABELS)
        ),
        KeyKind(f"SET({', '.join(map(repr, LABELS))})", st.lists(st.sampled_from(LABELS), min_size=1).map(",".join)),
        KeyKind("YEAR", st.just(0) | st.integers(1901, 2155)),
        KeyKind("TIME(3)", st.integers(-3_000_000_000, 3_000_000_000).map(_clock)),
        KeyKind("BIT(64)", st.integers(0, 2**64 - 1)),
        KeyKind("BIGINT(20) ZEROFILL", st.integers(0, 2**64 - 1)),
        KeyKind("DECIMAL(20,4) ZEROFILL", st.decimals(0, 10**15, places=4)),
        KeyKind("INET4", st.ip_addresses(v=4).map(str)),
        KeyKind("VARBINARY(20)", st.binary(max_size=20)),
        KeyKind("TINYTEXT", TEXT | BLANKS),
        KeyKind("VARCHAR(30) COLLATE utf8mb4_unicode_nopad_ci", TEXT | BLANKS),
        KeyKind("VARCHAR(30) COLLATE utf8mb4_german2_ci", TEXT | BLANKS),
        KeyKind("VARCHAR(30) CHARACTER SET latin1", PLAIN | st.sampled_from(["é", "É", "ß", "ss", "a ", "A"])),
        KeyKind(
            "VARCHAR(900) COLLATE utf8mb4_unicode_ci", st.sampled_from("abcdefgh").map(lambda end: "k" * 700 + end)
        ),
    ],
    "sqlite": [
        KeyKind("INTEGER", whole(64)),
        KeyKind("INTEGER", whole(32), "REAL"),
        KeyKind("REAL", EXACT),
        KeyKind("TEXT", TEXT | BLANKS),
        KeyKind("TEXT COLLATE NOCASE", TEXT | BLANKS),
        KeyKind("BLOB", st.binary(max_size=20)),
        KeyKind("", whole(32) | TEXT | st.binary(max_size=5)),
        KeyKind("", whole(64) | EXACT | st.just(float("inf")) | TEXT | BLANKS),
        KeyKind("NUMERIC", whole(32) | EXACT | TEXT | st.binary(max_size=5)),
        KeyKind("INTEGER", whole(64) | TEXT | BLANKS),
        KeyKind("REAL", EXACT | TEXT),
        KeyKind("TEXT COLLATE RTRIM", TEXT | BLANKS),
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
def _made_types(engine: sa.Engine) -> None:
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE DOMAIN key_domain AS VARCHAR(30)")
            connection.exec_driver_sql(f"CREATE TYPE key_enum AS ENUM ({', '.join(map(repr, LABELS))})")
            connection.exec_driver_sql("CREATE DOMAIN key_enum_domain AS key_enum")


NEEDS = {
    "VARCHAR(30) COLLATE key_folding": (
        "CREATE COLLATION key_folding (provider = icu, locale = 'und-u-ks-level1', deterministic = false)"
    ),
    "CITEXT": "CREATE EXTENSION IF NOT EXISTS citext",
}
"""Types of PostgreSQL that not every build of it has, and what makes them."""
OF_EACH = [
    *((dialect, kind) for dialect, kinds in KINDS.items() for kind in kinds),
    *(("postgresql", KeyKind(sql, TEXT | BLANKS)) for sql in NEEDS),
]
EXPRESSIONS = {
    "postgresql": ["COALESCE({0}, {0})", "CAST({0} AS text)", 'CAST({0} AS text) COLLATE "C"'],
    "mariadb": ["COALESCE({0}, {0})", "IF(n < 0, NULL, {0})", "CONCAT({0})"],
    "sqlite": ["+{0}", "CAST({0} AS TEXT)", "COALESCE({0}, '')", "{0} || ''"],
}
"""What an entity's SQL may make of a column of its key."""


@pytest.mark.parametrize(("dialect", "kind"), [pytest.param(*one, id=f"{one[0]}-{one[1].sql}") for one in OF_EACH])
@settings(SEARCH, max_examples=ASKED or 4, phases=[Phase.generate])
@given(data=st.data())
def test_slices_hold_each_row_once(engine: sa.Engine, dialect: str, kind: KeyKind, data: st.DataObject) -> None:
    if engine.dialect.name != dialect:
        pytest.skip(f"a type of {dialect}")
    _require(engine, kind.sql)
    number = KeyKind("INTEGER", st.integers(1, 3))
    kinds = data.draw(st.sampled_from([(kind,), (kind, number), (number, kind), (kind, kind)]))
    few = 2 if kind.sql in ("BOOLEAN", "BIT(1)") else 7
    rows = data.draw(st.lists(st.tuples(*(one.values for one in kinds)), min_size=few, max_size=25, unique=True))
    table = Table(f"random_keys_{next(MADE)}", ("a", "b")[: len(kinds)], kinds, "unit", "VARCHAR(9)", rows)
    create(engine, table)
    read = data.draw(st.just("{0}") | st.sampled_from(EXPRESSIONS[dialect]))
    columns = ", ".join(f"{read.format(name)} AS {name}" for name in table.key)
    entity = replace(entity_of(table), sql=f"SELECT {columns}, unit, n FROM {table.name}")
    with snapshot(engine) as connection:
        try:
            counts = count_by_unit(connection, entity, table.units)
        except SourceError as refused:
            assert "is not unique" in refused.problem or "the manifest keeps at most" in refused.problem
            return
        assert sorted(row["n"] for row in sliced(connection, entity, counts)) == list(range(len(rows)))


def _require(engine: sa.Engine, sql: str) -> None:
    if sql in NEEDS:
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql(NEEDS.pop(sql))
        except sa.exc.DBAPIError:
            pytest.skip("this build of PostgreSQL has no such type")


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
