"""SQLite: each storage class, in columns of every declared type, arrives as the engine has it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from medferry.runtime.staging import dump_row, load_row
from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.types.sqlite import TYPES
from tests.source import catalogue


def read(engine: sa.Engine, table: str) -> list[Any]:
    with snapshot(engine) as connection:
        rows = list(stream(connection, sa.text(f"SELECT v FROM {table} ORDER BY n"), {}))
    staged = [load_row(dump_row(row)) for row in rows]
    assert staged == rows
    return [row["v"] for row in staged]


def same(value: Any, literal: str) -> bool:
    """Whether a value of a row is what the engine prints as a literal."""
    if value is None:
        return literal == "NULL"
    if isinstance(value, dict):
        return bool(literal == f"X'{base64.b64decode(value['base64']).hex().upper()}'")
    if isinstance(value, float):
        # SQLite keeps the sign of -0.0 where a column has no type, and prints it nowhere.
        return "." in literal + "e."[: "e" in literal] and repr(value or 0.0) == repr(float(literal))
    if isinstance(value, int):
        return literal == str(value)
    if value in ("Infinity", "-Infinity") and not literal.startswith("T"):
        return literal in {"Infinity": ("9.0e+999", "Inf"), "-Infinity": ("-9.0e+999", "-Inf")}[value]
    return bool(literal == "T" + value.encode("utf-8", "surrogateescape").hex().upper())


@pytest.mark.parametrize(
    ("value", "literal", "is_same"), [(-0.0, "0.0", True), (0.5, "0.5", True), (-0.5, "0.5", False)]
)
def test_the_sign_of_nothing_alone_may_differ(value: float, literal: str, is_same: bool) -> None:
    assert same(value, literal) is is_same


@pytest.mark.parametrize("kind", catalogue.SQLITE)
def test_a_value_arrives_as_the_engine_prints_it(tmp_path: Path, kind: str) -> None:
    owner, reader = sa.create_engine(f"sqlite:///{tmp_path}/x.db"), connect_engine(f"sqlite:///{tmp_path}/x.db")
    with owner.begin() as connection:
        catalogue.table_of(connection, "typed", kind, [*catalogue.SQLITE[kind], "NULL"])
        printed = catalogue.sqlite_text(connection, "typed", kind)
    found = read(reader, "typed")
    assert [pair for pair in zip(found, printed, strict=True) if not same(pair[0], str(pair[1]))] == []
    owner.dispose()
    reader.dispose()


def test_every_storage_class_is_tried(tmp_path: Path) -> None:
    classes = set[str]()
    engine = sa.create_engine(f"sqlite:///{tmp_path}/x.db")
    with engine.begin() as connection:
        for kind, values in catalogue.SQLITE.items():
            catalogue.table_of(connection, "typed", kind, values)
            classes |= set(connection.exec_driver_sql("SELECT typeof(v) FROM typed").scalars())
    engine.dispose()
    assert {kind.upper() for kind in classes} | {"NULL"} == {known.name for known in TYPES.values()}


def test_a_value_that_arrives_changed_is_found() -> None:
    for value, literal in (
        (None, "0"), (1, "1.0"), (1.0, "1"), ("1", "1"), (0.1, "0.10000000000000002"), ("AA==", "X'00'"),
        ({"base64": "AA=="}, "X'01'"), ("x", "T79"), ("Infinity", "-9.0e+999"),
    ):  # fmt: skip
        assert not same(value, literal)
