"""A dry run tells the truth: what a real one then makes of each record, apart from what only Medplum can tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from medferry.apply.breaker import BreakerOpen
from medferry.manifest import leases
from medferry.manifest.database import create_manifest
from medferry.manifest.foreseen import foreseen
from medferry.manifest.runs import RunStatus, SliceRow, finish_run, get_run
from medferry.manifest.tables import outcome, source_record
from medferry.mapping.outcomes import Disposition, Reason
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages import foresee
from medferry.stages.foresee import foresee_slice
from medferry.stages.prepare import prepare_run, scope_of
from medferry.stages.replay import Choice, prepare_replay
from medferry.workflows.migrate import RunInOneProcess

Line = tuple[str, str, str, str, str]
"""(entity, key, disposition, reason, place)."""

_ONLY_MEDPLUM = {Reason.SERVER_REJECTED}


def run(tiny: Environment, run_id: str, **options: object) -> None:
    """Without the verification, which judges what a run has made and not what it was told that it would make."""
    create_manifest(tiny.settings.manifest_url)
    scope = scope_of(tiny.migration, None, None)
    slices = prepare_run(tiny, run_id, "run", scope, RunOptions.model_validate(options))
    carry_out_all(tiny, run_id, slices)


def carry_out_all(tiny: Environment, run_id: str, slices: list[SliceRow]) -> None:
    acts = RunInOneProcess(tiny, run_id, slices, lambda *_: None)
    try:
        acts.stage()
        acts.load()
    finally:
        finish(tiny, run_id)


def finish(tiny: Environment, run_id: str) -> None:
    with tiny.manifest.begin() as connection:
        finish_run(connection, run_id, RunStatus.FAILED)
        leases.release(connection, run_id)


def lines(tiny: Environment, run_id: str) -> set[Line]:
    names = ("entity", "key", "disposition", "reason", "place")
    statement = sa.select(*(source_record.c[name] for name in names)).where(source_record.c.run_id == run_id)
    with tiny.manifest.begin() as connection:
        return {Line(row) for row in connection.execute(statement)}


def differences(dry: set[Line], real: set[Line]) -> Counter[str]:
    """By reason of the real run, the records of which a dry one told something else, for a cause that it could know."""
    told = {(entity, key): rest for entity, key, *rest in dry}
    found: Counter[str] = Counter()
    for entity, key, *rest in real:
        ready = rest[0] == Disposition.SUCCESSFUL or rest[1] in _ONLY_MEDPLUM
        if told.pop((entity, key), None) != ([Disposition.PENDING, "", ""] if ready else rest):
            found[rest[1]] += 1
    return found + Counter({"not there": len(told)})


def change(tiny: Environment, *statements: str) -> None:
    with tiny.source.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


_DIRT = (
    "INSERT INTO clinic VALUES (5, 98, 'Orphan'), (6, 5, 'Its child'), (7, 8, 'Ring'), (8, 7, 'Ring'), (9, 9, 'Self')",
    "INSERT INTO staff VALUES (3, 6, 'Of the child'), (4, 7, 'Of the ring')",
    "INSERT INTO patient VALUES (20, 'north', 6, 'Ida', '1970-01-01', 'F', NULL)",
    "INSERT INTO weight VALUES (100, 'north', 20, 70, '2024-05-01 08:30:00', NULL), "
    "(101, 'north', 3, 70, '2024-05-01 08:30:00', NULL)",
)
"""References that lead nowhere, at one, two and three removes, in a ring, to oneself, and to a row that is skipped."""


def test_what_a_dry_run_tells_comes_true(tiny: Environment) -> None:
    change(tiny, *_DIRT)
    run(tiny, "dry", dry_run=True, slice_rows=3, stop_at_share=1)
    run(tiny, "real", slice_rows=3, stop_at_share=1)
    dry, real = lines(tiny, "dry"), lines(tiny, "real")
    assert differences(dry, real) == {}
    open_ = {(entity, key) for entity, key, _, reason, _ in dry if reason == Reason.UNRESOLVED_REFERENCE}
    assert {("clinic", key) for key in "56789"} | {("staff", "3"), ("staff", "4"), ("patient", "20")} <= open_
    assert {("weight", "100"), ("weight", "101"), ("patient", "7")} <= open_
    with tiny.manifest.begin() as connection:
        assert {"created"} == set(connection.scalars(sa.select(outcome.c.action).where(outcome.c.run_id == "real")))


def test_what_only_medplum_refuses_is_the_one_difference_and_what_follows_from_it(tiny: Environment) -> None:
    """Patient 6 is refused by Medplum: its weight is ready in the dry run, and waits in the real one."""
    change(tiny, "INSERT INTO weight VALUES (102, 'south', 6, 70, '2024-05-01 08:30:00', NULL)")
    run(tiny, "dry", dry_run=True, stop_at_share=1)
    run(tiny, "real", stop_at_share=1)
    assert differences(lines(tiny, "dry"), lines(tiny, "real")) == {Reason.UNRESOLVED_REFERENCE: 1}


@contextmanager
def planted(monkeypatch: pytest.MonkeyPatch, fault: str) -> Iterator[None]:
    with monkeypatch.context() as patch:
        if fault == "no reference is judged":
            patch.setattr(foresee, "foreseen", lambda _connection, _run, names: set(names))
        elif fault == "what is quarantined counts as ready":
            patch.setattr(foresee, "never_resolved", lambda *_: [])
            patch.setattr(foresee, "waited_in_vain", lambda _: [])
        else:
            patch.setattr(foresee, "record_foreseen", lambda *_: None)
        yield


def test_a_dry_run_that_lies_is_found_out(tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    change(tiny, *_DIRT)
    faults = ("no reference is judged", "what is quarantined counts as ready", "nothing is noted")
    for fault in faults:
        with planted(monkeypatch, fault):
            run(tiny, fault, dry_run=True, stop_at_share=1)
    run(tiny, "real", stop_at_share=1)
    for fault in faults:
        assert differences(lines(tiny, fault), lines(tiny, "real")).total() > 5, fault


def test_what_the_crosswalk_has_may_be_referred_to(tiny: Environment) -> None:
    run(tiny, "first")
    change(tiny, "UPDATE patient SET sex = 'X' WHERE id = 1")  # quarantined from now on; its resource stays
    run(tiny, "dry", dry_run=True)
    run(tiny, "real")
    dry = lines(tiny, "dry")
    assert ("weight", "0", Disposition.PENDING, "", "") in dry
    assert differences(dry, lines(tiny, "real")) == {}


def test_a_dry_replay_goes_on_from_the_run_that_it_replays(tiny: Environment) -> None:
    run(tiny, "dry", dry_run=True)
    change(tiny, "UPDATE patient SET born = '1985-02-28' WHERE id = 4", "UPDATE patient SET clinic_id = 2 WHERE id = 7")
    slices = prepare_replay(tiny, "again", "dry", Choice(), RunOptions(dry_run=True))
    carry_out_all(tiny, "again", slices)
    told = Counter((entity, disposition) for entity, _, disposition, _, _ in lines(tiny, "again"))
    assert told["weight", Disposition.PENDING] == 10  # of patient 4; their patient was not in Medplum, nor could be
    assert told["patient", Disposition.PENDING] == 2  # their clinic is the first run's


def test_a_sample_tells_nothing_of_references(tiny: Environment) -> None:
    run(tiny, "dry", dry_run=True, sample=1)
    assert not [line for line in lines(tiny, "dry") if line[3] == Reason.UNRESOLVED_REFERENCE]


def test_it_stops_where_a_load_would_and_goes_on_when_told(tiny: Environment) -> None:
    change(tiny, "DELETE FROM patient WHERE id IN (1, 2)")
    for run_id, dry in (("dry", True), ("real", False)):
        with pytest.raises(BreakerOpen, match="of weight failed: unresolved-reference"):
            run(tiny, run_id, dry_run=dry)
    assert differences(lines(tiny, "dry"), lines(tiny, "real")) == {}


def test_judging_again_changes_nothing(tiny: Environment) -> None:
    change(tiny, *_DIRT)
    run(tiny, "dry", dry_run=True, stop_at_share=1)
    before = lines(tiny, "dry")
    with tiny.manifest.begin() as connection:
        row = get_run(connection, "dry")
        known = foreseen(connection, row, [(tiny.migration.naming.system("clinic"), key) for key in "156"])
    assert {key for _, key in known} == {"1"}
    options = RunOptions(dry_run=True)
    assert foresee_slice(tiny, row, options, "clinic-00000", lambda *_: None) == {}
    run(tiny, "dry")
    assert lines(tiny, "dry") == before
