"""A key of which rows come after the run was prepared is created by none of them: nobody knows which is the record."""

from __future__ import annotations

from collections import Counter

import pytest

from medferry.errors import SourceError, VerificationFailed
from medferry.manifest.subject import Subject
from medferry.mapping.outcomes import Reason
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_slice
from medferry.stages.prepare import RunScope, prepare_run
from medferry.stages.transform import transform_slice
from medferry.verification.run import verify_run, verify_subject
from medferry.workflows.finish import finish_run
from tests.stages.identifiers import identifiers_in_medplum
from tests.stages.test_replay import ends
from tests.tiny_platform import RESOURCES
from tests.workflows.test_migrate import migrate

ADA = "INSERT INTO patient SELECT id, unit, clinic_id, family{}, born, sex, deleted_at FROM patient WHERE id = 1"
ONE_ADA = "DELETE FROM patient WHERE id = 1 AND rowid > (SELECT MIN(rowid) FROM patient WHERE id = 1)"


def execute(tiny: Environment, statement: str) -> None:
    with tiny.source.begin() as connection:
        connection.exec_driver_sql(statement)


def run_while(tiny: Environment, run_id: str, statement: str) -> None:
    """A run of north's patients, each in a batch of its own, with a change after it was prepared."""
    slices = prepare_run(tiny, run_id, "run", RunScope(["north"], ["patient"]), RunOptions(batch_size=1))
    execute(tiny, statement)
    for slice_ in slices:
        extract_slice(tiny, run_id, slice_.id)
        transform_slice(tiny, run_id, slice_.id)
        load_slice(tiny, run_id, slice_.id)
    verify_run(tiny, run_id)
    with pytest.raises(VerificationFailed):
        finish_run(tiny, run_id)


@pytest.mark.parametrize("other", ["|| ' the second'", ""])
@pytest.mark.parametrize("loaded", [False, True])
def test_none_of_several_rows_is_written(tiny: Environment, loaded: bool, other: str) -> None:
    migrate(tiny, "before", units=None if loaded else ["shared"])
    run_while(tiny, "run", ADA.format(other))
    assert ends(tiny, "run")["patient", "1"] == f"quarantined {Reason.KEY_NOT_UNIQUE}"
    assert ends(tiny, "run")["patient", "2"] == "successful"
    found = identifiers_in_medplum(tiny)
    assert set(Counter(found.values())) == {1}
    assert verify_subject(tiny, Subject(units=("north",))).verdict.text() == "not proven"
    with pytest.raises(SourceError, match="not unique"):
        migrate(tiny, "refused")
    execute(tiny, ONE_ADA)
    migrate(tiny, "next")
    assert ends(tiny, "next")["patient", "1"] == "successful"
    assert Counter(identifiers_in_medplum(tiny).values()) == {1: RESOURCES}
