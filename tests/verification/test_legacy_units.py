"""The verification names a row's unit as the load does, whatever SQLite's column makes of a number."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.definition.checks import EntityChecks
from medferry.source.count import count_by_unit
from medferry.source.database import connect_engine, snapshot
from medferry.source.entity import SourceEntity
from medferry.verification.legacy import LegacyReader

ENTITY = SourceEntity("bed", Path("bed.sql"), ("id",), "unit", None, "Bed", "SELECT id, site AS unit FROM bed", {})
CHECKS = EntityChecks.model_validate({"from": "bed b", "key": "b.id", "unit": "b.site", "resources": {"main": {}}})


@pytest.mark.parametrize("checks", [CHECKS, CHECKS.model_copy(update={"unit": None}), None])
def test_a_whole_number_in_a_column_of_reals_is_the_same_unit(tmp_path: Path, checks: EntityChecks | None) -> None:
    url = f"sqlite:///{tmp_path}/legacy.db"
    with sa.create_engine(url).begin() as owner:
        owner.exec_driver_sql("CREATE TABLE bed (id INTEGER PRIMARY KEY, site REAL)")
        owner.exec_driver_sql("INSERT INTO bed VALUES (1, 3), (2, 4.5)")
    engine = connect_engine(url)
    reader = LegacyReader(engine, ENTITY, checks)
    with snapshot(engine) as connection:
        assert count_by_unit(connection, ENTITY, ["3", "4.5"]) == reader.count_by_unit() == {"3": 1, "4.5": 1}
    assert {row.key: row.unit for row in reader.all_rows()} == {"1": "3", "2": "4.5"}
