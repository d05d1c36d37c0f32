"""The register names every selected column, and says truly which of them the mappings read."""

from __future__ import annotations

import csv
from collections import defaultdict
from typing import Any

import pytest

from medferry.mapping.apply import apply_mapping
from medferry.source.slices import rows_of
from tests.synthea.sample import Sample

HEADER = ["entity", "column", "disposition", "target", "rule", "owner", "status", "note"]
READ = {"mapped", "transformed", "reference"}
UNREAD = {"key", "dropped"}


@pytest.fixture(scope="module")
def register(sample: Sample) -> list[dict[str, str]]:
    with (sample.migration.folder / "register.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == HEADER
        return list(reader)


class Watched(dict[str, Any]):
    """A row that remembers which of its columns were read."""

    def __init__(self, row: dict[str, Any]) -> None:
        super().__init__(row)
        self.read: set[str] = set()

    def __getitem__(self, column: str) -> Any:
        self.read.add(column)
        return super().__getitem__(column)


def test_every_selected_column_is_registered_once(sample: Sample, register: list[dict[str, str]]) -> None:
    assert {line["entity"] for line in register} == set(sample.migration.entities)
    for name, entity in sample.migration.entities.items():
        statement, values = rows_of("sqlite", entity, ["shared"], None, None)
        with sample.engine.connect() as connection:
            selected = list(connection.execute(statement, values).keys())
        registered = [line["column"] for line in register if line["entity"] == name]
        assert sorted(registered) == sorted(selected), name


def test_every_line_is_complete(register: list[dict[str, str]]) -> None:
    for line in register:
        assert line["disposition"] in READ | UNREAD, line
        assert line["rule"] and line["owner"] and line["status"] == "approved", line
        assert bool(line["target"]) != (line["disposition"] == "dropped"), line


def test_the_mappings_read_what_the_register_says(sample: Sample, register: list[dict[str, str]]) -> None:
    read: dict[str, set[str]] = defaultdict(set)
    for name, spec in sample.migration.specs.items():
        for row in map(Watched, sample.rows(name)):
            apply_mapping(spec, row, sample.migration.entities[name].ledger_key_of(row), sample.migration.settings)
            read[name] |= row.read
        keys = set(sample.migration.entities[name].key)
        said = {line["column"] for line in register if line["entity"] == name and line["disposition"] in READ}
        assert read[name] - keys == said, name
