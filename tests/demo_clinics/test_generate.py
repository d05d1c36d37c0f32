"""Same arguments, same rows and truth; the scale and the share of dirt are as promised."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import sqlalchemy as sa

from demo_clinics.generate import DEFAULT_PATIENTS, fill, generate
from demo_clinics.person import CANARY_EVERY
from demo_clinics.schema import METADATA
from demo_clinics.truth import Truth, expectations

from .conftest import read_tables


def _digest(folder: Path, seed: int) -> tuple[str, ...]:
    engine = sa.create_engine(f"sqlite:///{folder / 'legacy.db'}")
    fill(engine, seed, patients=25, pace=4, truth_path=folder / "truth.json")
    engine.dispose()
    files = [folder / "truth.json", folder / "truth.expected.ndjson.gz"]
    rows = repr(read_tables(f"sqlite:///{folder / 'legacy.db'}")).encode()
    return tuple(hashlib.sha256(content).hexdigest() for content in (*(f.read_bytes() for f in files), rows))


def test_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    one, two, other = (_digest(folder, seed) for folder, seed in zip(folders, (3, 3, 4), strict=True))
    assert one == two
    assert not set(one) & set(other)


def test_fill_refuses_a_database_with_its_tables() -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
    fill(engine, seed=1, patients=1)
    with pytest.raises(FileExistsError):
        fill(engine, seed=1, patients=1)


def test_default_scale_has_25_to_32_thousand_resources_and_3_to_5_percent_dirt() -> None:
    truth = Truth()
    resources = sum(1 for chart in generate(7, truth=truth) for record in chart.records for _ in expectations(record))
    assert 25_000 <= resources <= 32_000
    assert 0.03 <= truth.dirt.total() / truth.eligible() <= 0.05
    assert truth.eligible("patient") == DEFAULT_PATIENTS
    units = {unit for _, unit, _, _ in truth.counts}
    assert units == {"harbor", "hillside", "lakeview", "prairie", "shared"}


@pytest.mark.parametrize("clinics", [1, 2, 6])
def test_other_numbers_of_clinics(clinics: int) -> None:
    truth = Truth()
    for _ in generate(5, patients=30, clinics=clinics, truth=truth):
        pass
    assert truth.eligible("clinic") == clinics


def test_without_pace_everything_succeeds() -> None:
    truth = Truth()
    for _ in generate(5, patients=60, pace=0, truth=truth):
        pass
    assert truth.rows == truth.findings == []
    assert not truth.dirt


def test_canary_is_in_every_tenth_family_name_and_changes_nothing_else() -> None:
    plain, marked = (
        {r.key: r.row for c in generate(9, 60, canary=canary, pace=0) for r in c.records if r.entity == "patient"}
        for canary in (None, "Xanary")
    )
    with_canary = [key for key, row in marked.items() if "Xanary" in row["family_name"]]
    assert len(with_canary) == 60 // CANARY_EVERY
    for key, row in marked.items():
        assert {**row, "family_name": None} == {**plain[key], "family_name": None}


def test_all_tables_get_rows() -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
    fill(engine, seed=2, patients=40)
    with engine.connect() as connection:
        for table in METADATA.tables.values():
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() > 0, table.name
