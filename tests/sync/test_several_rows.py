"""Several rows of one key in a cut: none is written, and one that is left is."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest.tables import unit_state
from medferry.sync.cycle import cycle
from medferry.sync.wave import SyncedWave
from tests.stages.identifiers import identifiers_in_medplum


def state(wave: SyncedWave) -> tuple[str, str]:
    statement = sa.select(unit_state.c.disposition, unit_state.c.reason).where(unit_state.c.key == "50")
    with wave.environment.manifest.begin() as connection:
        disposition, reason = connection.execute(statement).one()
        return disposition, reason


def test_a_new_record_of_several_rows_is_set_aside_until_one_is_left(wave: SyncedWave) -> None:
    with wave.environment.source.begin() as connection:
        for family in ("New", "Other"):
            row = f"VALUES (50, 'north', 1, '{family}', '1999-09-09', 'F', NULL)"
            connection.exec_driver_sql(f"INSERT INTO patient {row}")
    before = identifiers_in_medplum(wave.environment)
    cycle(wave)
    assert state(wave) == ("quarantined", "key-not-unique")
    assert identifiers_in_medplum(wave.environment) == before
    with wave.environment.source.begin() as connection:
        connection.exec_driver_sql("DELETE FROM patient WHERE family = 'Other'")
    cycle(wave)
    assert state(wave) == ("successful", "")
    assert set(identifiers_in_medplum(wave.environment).values()) == {1}
