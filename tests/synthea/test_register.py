"""The register names every selected column, and says truly which of them the mappings read."""

from __future__ import annotations

import csv

import pytest

from medferry.mapping.apply import apply_mapping
from medferry.source.slices import rows_of
from tests.read_columns import watch_columns
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


def test_the_mappings_read_what_the_register_says(
    sample: Sample, register: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = watch_columns(monkeypatch)
    for name, spec in sample.migration.specs.items():
        read.clear()
        for row in sample.rows(name):
            apply_mapping(spec, row, sample.migration.entities[name].ledger_key_of(row), sample.migration.settings)
        keys = set(sample.migration.entities[name].key)
        said = {line["column"] for line in register if line["entity"] == name and line["disposition"] in READ}
        assert read - keys == said, name
