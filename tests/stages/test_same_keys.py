"""Keys of another form would create every record a second time: the run is refused before it is written down."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from medferry.errors import VerificationFailed
from medferry.manifest.runs import find_run
from medferry.plan.model import LeftoverPolicy
from medferry.runtime.continuing import Renamed
from medferry.runtime.environment import Environment
from tests.verification.test_subject import legacy
from tests.workflows.test_migrate import migrate

PADDED = (
    "CREATE TABLE padded (id TEXT, clinic_id INTEGER, family TEXT)",
    "INSERT INTO padded SELECT printf('%04d', id), clinic_id, family FROM staff",
    "DROP TABLE staff",
    "ALTER TABLE padded RENAME TO staff",
)


def test_keys_of_another_form_are_refused(tiny: Environment) -> None:
    migrate(tiny, "first")
    legacy(tiny, *PADDED)
    with pytest.raises(
        Renamed, match=r"No row of staff has a key under which one was loaded \(2 and 2 were compared\)"
    ):
        migrate(tiny, "second")
    with tiny.manifest.begin() as connection:
        assert find_run(connection, "second") is None
    migrate(tiny, "dry", dry_run=True)
    plan = tiny.migration.plan.model_copy(update={"entity_leftovers": {"staff": LeftoverPolicy.KEEP}})
    by_name = Environment(replace(tiny.migration, plan=plan), tiny.settings)
    with suppress(VerificationFailed):
        migrate(by_name, "third")
    with by_name.manifest.begin() as connection:
        assert find_run(connection, "third") is not None


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM staff WHERE id = 2",
        "DELETE FROM staff",
        "INSERT INTO staff VALUES (3, 1, 'New')",
        "UPDATE staff SET id = 3 WHERE id = 2",
    ],
)
def test_rows_that_go_and_come_are_no_other_form(tiny: Environment, statement: str) -> None:
    migrate(tiny, "first")
    legacy(tiny, statement)
    with suppress(VerificationFailed):  # it tells what is gone
        migrate(tiny, "second")
    with tiny.manifest.begin() as connection:
        assert find_run(connection, "second") is not None


def test_a_unit_that_is_new_has_other_keys(tiny: Environment) -> None:
    migrate(tiny, "first", ["north"])
    assert migrate(tiny, "second", ["south"])["created"] == 0  # nothing of it can be loaded; nothing is refused
