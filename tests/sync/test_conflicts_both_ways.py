"""A conflict is one record whichever way sees it first; what refers to what was made anew by a decision follows it."""

from __future__ import annotations

import pytest

from medferry.apply.twins import References
from medferry.fhir.sides import Side
from medferry.manifest.conflict_decisions import ConflictClosed, decide
from medferry.manifest.conflicts import ConflictState
from medferry.manifest.runs import list_runs
from medferry.sync import carry_out, followers
from medferry.sync.aside import entities_of
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.wave import SyncedWave
from tests.sync.conftest import Write, written_back
from tests.sync.test_conflicts import conflicts, decided, only
from tests.sync.test_cycle import Killed, ends
from tests.sync.test_merge import User, rename, user
from tests.sync.test_reverse_cycle import looked_at_again

__all__ = ["user"]


def test_a_conflict_that_the_way_back_sees_first_is_the_same_record(wave: SyncedWave, write: Write, user: User) -> None:
    both = written_back(wave.environment, wave.id)
    back_cycle(both)
    user.rename("Baker")
    write(rename("Adair"))
    assert [one.reason for one in back_cycle(both).held] == ["conflict"]
    found = only(both, ConflictState.OPEN)
    assert (found.paths, found.medplum is not None, found.base is not None) == (("name.family",), True, True)
    assert ends(cycle(both)) == {"quarantined": 1}
    looked_at_again(both)
    before = len(runs_of(both))
    back_cycle(both)
    assert (conflicts(both), len(runs_of(both))) == ([found], before), "once, and no run for what is recorded"
    decided(both, Side.LEGACY)
    cycle(both)
    refused = pytest.raises(ConflictClosed, match=r"is applied: nothing is left to decide.*correct the field by hand")
    with both.environment.manifest.begin() as connection, refused:
        decide(connection, found, (), Side.MEDPLUM, "A. Person", "Thought better of.")


def runs_of(wave: SyncedWave) -> list[str]:
    with wave.environment.manifest.begin() as connection:
        return [run.id for run in list_runs(connection, wave.environment.migration.name, 99)]


@pytest.mark.parametrize(("killed", "untold"), [(False, False), (True, False), (False, True)])
def test_what_refers_to_a_resource_that_was_made_anew_follows_it(
    wave: SyncedWave, write: Write, user: User, monkeypatch: pytest.MonkeyPatch, killed: bool, untold: bool
) -> None:
    if untold:  # Medplum does not answer: all of what may refer to it is looked at
        monkeypatch.setattr(followers, "find_referrers", lambda *_: References({}, ("Observation?subject",)))

    def subjects() -> set[str]:
        system = wave.environment.migration.naming.system("weight")
        with wave.environment.medplum() as client:
            found = [list(client.search_all("Observation", [("identifier", f"{system}|{key}")])) for key in of_patient]
        return {each["subject"]["reference"] for some in found for each in some}

    with wave.environment.source.connect() as connection:
        of_patient = connection.exec_driver_sql("SELECT id FROM weight WHERE patient_id = 1").scalars().all()
    dead = f"Patient/{user.patient['id']}"
    assert of_patient and subjects() == {dead}
    with wave.environment.medplum() as client:
        client.batch([{"request": {"method": "DELETE", "url": dead}}], 100)
    write(rename("Adair"))
    cycle(wave)
    decided(wave, Side.LEGACY)
    if killed:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(carry_out, "_end", lambda *_: (_ for _ in ()).throw(Killed()))
            with pytest.raises(Killed):
                cycle(wave)
    cycle(wave)
    if not killed:
        assert subjects() == {dead}
    again = cycle(wave).records
    assert killed or (again > len(of_patient) if untold else again == len(of_patient))
    assert subjects() == {f"Patient/{user.patient['id']}"} != {dead}
    assert cycle(wave).records == 0 and entities_of(wave) == []
