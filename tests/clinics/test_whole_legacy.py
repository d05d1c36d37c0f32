"""The whole legacy database, row by row, on each engine, against the truth that its generator wrote.

The generator knows nothing of the mappings, and the mappings nothing of the generator.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from demo_clinics import catalogue, database
from demo_clinics.compare import differences
from demo_clinics.generate import fill
from demo_clinics.truth import read_expectations
from medferry.definition.migration import Migration
from medferry.source.database import connect_engine
from tests.clinics.whole import Outcome, migrate

SEED, PATIENTS, PACE = 7, 250, 4.0
"""Small, and dirty enough to hold every kind of dirt."""


@dataclass(frozen=True)
class Migrated:
    """A truth (the content of truth.json), its folder, and what the migration made of the same rows."""

    truth: dict[str, Any]
    folder: Path
    outcome: Outcome


@contextmanager
def legacy_url(engine: str, folder: Path) -> Iterator[str]:
    """The URL of an empty database. Skips the test where the engine is not installed."""
    if engine == "sqlite":
        yield f"sqlite:///{folder}/legacy.db"
        return
    try:
        with getattr(database, engine)() as server:
            yield server.url
    except database.BinariesMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Migrated]:
    folder = tmp_path_factory.mktemp(request.param)
    migration: Migration = request.getfixturevalue("migration")
    with legacy_url(request.param, folder) as url:
        legacy = connect_engine(url)
        fill(sa.create_engine(legacy.url), SEED, PATIENTS, pace=PACE, truth_path=folder / "truth.json")
        outcome = migrate(migration, legacy)
        legacy.dispose()
    yield Migrated(json.loads((folder / "truth.json").read_text(encoding="utf-8")), folder, outcome)


def test_every_kind_of_dirt_is_there(migrated: Migrated) -> None:
    dealt = {(entity, kind) for entity, kinds in migrated.truth["dirt"].items() for kind in kinds}
    assert dealt == {(kind.entity, kind.name) for kind in catalogue.KINDS}


def test_units_hold_the_rows_they_should(migrated: Migrated) -> None:
    counts = Counter((entity, row["unit"]) for (entity, _), row in migrated.outcome.rows.items())
    expected = {
        (entity, unit): sum(_number(reasons) for reasons in dispositions.values())
        for entity, units in migrated.truth["counts"].items()
        for unit, dispositions in units.items()
    }
    assert migrated.outcome.counts == counts == expected


def _number(reasons: int | dict[str, int]) -> int:
    return reasons if isinstance(reasons, int) else sum(reasons.values())


def test_every_row_ends_as_it_should(migrated: Migrated) -> None:
    expected = {(row["entity"], row["key"]): row for row in migrated.truth["rows"]}
    assert expected.keys() <= migrated.outcome.rows.keys()
    wrong = [
        (name, kept, row)
        for name, row in migrated.outcome.rows.items()
        for kept in [expected.get(name, {"disposition": "successful", "unit": row["unit"]})]
        if any(row.get(part) != kept.get(part) for part in ("unit", "disposition", "reason"))
    ]
    assert not wrong


def test_quarantine_names_the_column(migrated: Migrated) -> None:
    columns = {(kind.entity, kind.name): kind.field for kind in catalogue.KINDS}
    stopped = [row for row in migrated.truth["rows"] if row["disposition"] == "quarantined"]
    assert stopped
    for row in stopped:
        column = columns.get((row["entity"], row["kind"]))
        assert migrated.outcome.rows[row["entity"], row["key"]].get("field") == column, row


def test_findings_are_the_expected_ones(migrated: Migrated) -> None:
    # A local code carried over without a target is no dirt, nor is a declared null token: the truth has neither.
    found = {finding for finding in migrated.outcome.findings if finding[2] not in ("unmapped-code", "null-token")}
    assert found == {(f["entity"], f["key"], f["reason"], f["field"]) for f in migrated.truth["findings"]}


def test_resources_hold_what_they_should(migrated: Migrated) -> None:
    lines = list(read_expectations(migrated.folder / migrated.truth["expected"]))
    resources = migrated.outcome.resources
    assert {(line["entity"], line["key"], line["slot"]) for line in lines} == resources.keys()
    differing = [
        (line["entity"], line["key"], path)
        for line in lines
        for path in differences(line, resources[line["entity"], line["key"], line["slot"]])
    ]
    assert not differing


def test_comparison_finds_a_planted_difference(migrated: Migrated) -> None:
    line = next(iter(read_expectations(migrated.folder / migrated.truth["expected"])))
    resource = migrated.outcome.resources[line["entity"], line["key"], line["slot"]]
    assert differences(line, {**resource, "name": "Somebody else"}) == ["name: different"]


def test_dirty_demo_stays_within_its_acceptance(migration: Migration, tmp_path: Path) -> None:
    fill(sa.create_engine("sqlite://"), SEED, truth_path=tmp_path / "truth.json")
    counts = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))["counts"]
    for wave in migration.plan.waves:
        shares = _shares(counts, migration.plan.units_of_wave(wave.id))
        assert 0 < shares["rejected"] <= migration.plan.acceptance.max_rejected_share, wave.id
        assert 0 < shares["quarantined"] <= migration.plan.acceptance.max_quarantined_share, wave.id


def _shares(counts: dict[str, Any], units: list[str]) -> dict[str, float]:
    numbers: Counter[str] = Counter()
    for of_units in counts.values():
        for unit in units:
            for disposition, reasons in of_units.get(unit, {}).items():
                numbers[disposition] += _number(reasons)
    return {disposition: number / numbers.total() for disposition, number in numbers.items()}


def test_waves_take_every_clinic_once(migration: Migration, migrated: Migrated) -> None:
    units = {unit for of_units in migrated.truth["counts"].values() for unit in of_units}
    assert set(migration.plan.unit_ids) == units
    assert migration.plan.shared_units == ["shared"]
    assert sorted(unit for wave in migration.plan.waves for unit in wave.units) == sorted(units - {"shared"})
