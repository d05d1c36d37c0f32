"""One verification at a time of a subject, of one state of its records, with all its parts under one id."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from medferry.errors import LeaseLost
from medferry.governance.register import is_fault
from medferry.manifest import verifications
from medferry.manifest.subject import Subject
from medferry.manifest.tables import lease, unit_state, verified_part
from medferry.manifest.verifications import VerificationAtWork
from medferry.medplum.client import MedplumClient
from medferry.runtime.environment import Environment
from medferry.verification import run, standstill
from medferry.verification.recorder import CheckRecorder
from medferry.verification.run import ONE_STATE, verify_run, verify_subject
from medferry.verification.scope import VerificationScope
from medferry.verification.stored import StoredResourceCheck
from tests.verification.conftest import RUN, into
from tests.workflows.test_migrate import migrate


@pytest.fixture
def done(tiny: Environment) -> Environment:
    migrate(tiny, RUN)
    return tiny


def during(monkeypatch: pytest.MonkeyPatch, entity: str, act: object) -> None:
    """Call `act` when the resources of an entity begin to be compared, once."""
    examine, acts = StoredResourceCheck.examine, [act]

    def examined(self: StoredResourceCheck) -> int:
        if self.entity == entity and acts:
            acts.pop()()  # type: ignore[operator]
        return examine(self)

    monkeypatch.setattr(StoredResourceCheck, "examine", examined)


def test_another_is_refused_while_one_lives_and_another_subject_is_not(
    done: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def others() -> None:
        with pytest.raises(VerificationAtWork):
            verify_run(done, RUN)
        refused.append("run")
        verify_subject(done, Subject(units=("north",)))

    during(monkeypatch, "patient", others)
    assert not list(filter(is_fault, verify_run(done, RUN)))
    assert refused == ["run"]
    with done.manifest.begin() as connection:
        assert connection.execute(sa.select(lease)).all() == []


def test_one_whose_hold_was_lost_records_nothing_more(done: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken() -> None:
        with done.manifest.begin() as connection:
            verifications.acquire(connection, done.migration.name, RUN, "another")

    during(monkeypatch, "patient", taken)
    with pytest.raises(LeaseLost):
        verify_run(done, RUN)


def test_what_is_written_meanwhile_makes_it_prove_nothing(done: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    def written() -> None:
        with done.manifest.begin() as connection:
            own = sa.and_(unit_state.c.entity == "clinic", unit_state.c.key == "1")
            connection.execute(sa.update(unit_state).where(own).values(decided_at="2999-01-01T00:00:00.000Z"))

    during(monkeypatch, "weight", written)
    found = [one for one in verify_run(done, RUN) if is_fault(one)]
    assert [(one.name, one.entity) for one in found] == [(ONE_STATE, "all")]
    assert not [one for one in verify_run(done, RUN) if is_fault(one)]


@pytest.mark.parametrize(("key", "told"), [("1", True), ("2", False)])
def test_of_some_records_only_their_own_writes_count(
    done: Environment, monkeypatch: pytest.MonkeyPatch, key: str, told: bool
) -> None:
    """What a cutover verifies in its freeze is of one wave, while others are kept in step."""

    def written() -> None:
        with done.manifest.begin() as connection:
            own = sa.and_(unit_state.c.entity == "patient", unit_state.c.key == key)
            connection.execute(sa.update(unit_state).where(own).values(decided_at="2999-01-01T00:00:00.000Z"))

    during(monkeypatch, "patient", written)
    verdict = verify_subject(done, Subject(keys={"patient": ["1"]})).verdict
    assert (ONE_STATE in {one.name for one in verdict.unresolved}) is told


@pytest.mark.parametrize("why", ["old", "written"])
def test_parts_of_one_that_died_count_no_more_when_old_or_written_over(
    done: Environment, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    def dies() -> None:
        raise KeyboardInterrupt

    during(monkeypatch, "weight", dies)
    with pytest.raises(KeyboardInterrupt):
        verify_run(done, RUN)
    with done.manifest.begin() as connection:
        if why == "old":
            connection.execute(sa.update(verified_part).values(finished_at="2000-01-01T00:00:00.000Z"))
        else:
            connection.execute(sa.update(unit_state).values(decided_at="2999-01-01T00:00:00.000Z"))
    begun: list[str] = []
    assert not list(filter(is_fault, verify_run(done, RUN, into(begun))))
    assert len(begun) == 2 * len(done.migration.entities) + 3


@pytest.mark.parametrize("seconds", [60.0, verifications.PART_SECONDS + 60])
def test_what_was_read_before_a_long_standstill_is_read_again(
    done: Environment, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    times, begun = [0.0], list[str]()
    monkeypatch.setattr(standstill, "_clock", lambda: times[-1])

    def stands_still() -> None:
        with done.medplum() as client:
            [one, *_] = client.search_all("Observation", [("_fields", "id")])
            client.batch([{"request": {"method": "DELETE", "url": f"Observation/{one['id']}"}}], 100)
        times.append(seconds)

    examine, acts = run.examine_leftovers, [stands_still]

    def examined(scope: VerificationScope, client: MedplumClient, recorder: CheckRecorder) -> int:
        while acts:
            acts.pop()()
        return examine(scope, client, recorder)

    monkeypatch.setattr(run, "examine_leftovers", examined)
    found = {(one.name, one.entity) for one in filter(is_fault, verify_run(done, RUN, into(begun)))}
    whole = 2 * len(done.migration.entities) + 3
    if seconds < verifications.PART_SECONDS:
        assert (len(begun), found) == (whole, set())
    else:  # the part in which it stood still, too: part of it was read before
        assert len(begun) == whole - 2 + whole
        assert ("identifiers: missing in Medplum", "weight") in found


def test_it_does_not_end_without_all_its_parts(done: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> None:
        with done.manifest.begin() as connection:
            connection.execute(sa.delete(verified_part).where(verified_part.c.part == "source/patient"))

    during(monkeypatch, "weight", lost)
    with pytest.raises(verifications.VerificationIncomplete):
        verify_run(done, RUN)
