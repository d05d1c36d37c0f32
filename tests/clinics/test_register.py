"""The register names every column that the entities select, and says truly which of them the mappings read."""

from __future__ import annotations

import csv
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from medferry.definition.migration import Migration
from medferry.source.slices import rows_of
from tests.clinics.golden import CASES, apply, load
from tests.read_columns import watch_columns

HEADER = ["entity", "column", "disposition", "target", "rule", "owner", "status", "note"]
READ = {"mapped", "transformed", "reference"}
UNREAD = {"key", "dropped"}


@pytest.fixture(scope="module")
def register(migration: Migration) -> list[dict[str, str]]:
    with (migration.folder / "register.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == HEADER
        return list(reader)


def _lines(register: list[dict[str, str]], entity: str) -> Iterator[dict[str, str]]:
    return (line for line in register if line["entity"] == entity)


def test_register_names_every_selected_column_once(
    migration: Migration, register: list[dict[str, str]], empty_legacy: sa.Connection
) -> None:
    assert {line["entity"] for line in register} == set(migration.entities)
    for name, entity in migration.entities.items():
        statement, values = rows_of("sqlite", entity, ["shared"], None, None)
        selected = list(empty_legacy.execute(statement, values).keys())
        registered = [line["column"] for line in _lines(register, name)]
        assert sorted(registered) == sorted(selected), name


def test_every_line_is_complete(migration: Migration, register: list[dict[str, str]]) -> None:
    for line in register:
        where = f"{line['entity']}.{line['column']}"
        assert line["disposition"] in READ | UNREAD, where
        assert line["rule"] and line["status"] == "approved", where
        assert line["owner"] == migration.specs[line["entity"]].owner, where
        assert bool(line["target"]) == (line["disposition"] != "dropped"), where
        is_key = line["column"] in migration.entities[line["entity"]].key
        assert is_key == (line["disposition"] == "key"), where


def test_mappings_read_what_the_register_says(
    migration: Migration, register: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = watch_columns(monkeypatch)
    for name, entity in migration.entities.items():
        read.clear()
        for case in (case for case in CASES if case.startswith(f"{name}/")):
            apply(migration, name, load(case)["row"])
        said = {line["column"] for line in _lines(register, name) if line["disposition"] in READ}
        assert read - set(entity.key) == said, name


def test_references_are_those_of_the_mappings(migration: Migration, register: list[dict[str, str]]) -> None:
    for name, spec in migration.specs.items():
        referring = any(line["disposition"] == "reference" for line in _lines(register, name))
        assert referring == bool(spec.references), name
