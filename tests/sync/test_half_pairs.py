"""A program of Medplum's users cuts a name within an emoji: half a surrogate pair is told, and stops nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from medferry.medplum import client
from medferry.medplum.bundles import batch_body
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.wave import SyncedWave
from tests.sync.conftest import Write
from tests.sync.taking_births import births_wave, rows
from tests.sync.test_births import Users
from tests.sync.test_born_lines import killed_before_the_identifier
from tests.sync.test_cycle import ends
from tests.sync.test_merge import User, rename, user
from tests.sync.test_reverse_cycle import both, held, looked_at_again, rename_other, row

__all__ = ["both", "user"]

CUT = [{"family": "Bo\ud83d"}]


@pytest.fixture(autouse=True)
def as_others_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this program would not send, JavaScript does."""

    def body(entries: Sequence[dict[str, Any]], extended: bool) -> tuple[bytes, dict[str, str]]:
        bundle = {"resourceType": "Bundle", "type": "batch", "entry": list(entries)}
        try:
            return json.dumps(bundle).encode(), {"Content-Type": "application/fhir+json"}
        except TypeError:  # of this program's own
            return batch_body(entries, extended)

    real = client.read_outcomes
    monkeypatch.setattr(client, "batch_body", body)
    monkeypatch.setattr(client, "read_outcomes", lambda answer: real(answer.replace(b"\\ud83d", b"")))


def test_an_edit_is_held_back_alone(both: SyncedWave, write: Write, user: User) -> None:
    user.put(name=CUT)
    rename_other(both, "Bell")
    assert back_cycle(both).written == Counter(patient=1)
    told = {("1", "", "reads-otherwise")}
    assert (row(both)[0], row(both, 2)[0], held(both)) == ("Ada", "Bell", told)
    write("UPDATE patient SET sex = 'M' WHERE id = 1", "UPDATE weight SET kg = 70 WHERE id = 0")
    assert ends(cycle(both)) == Counter(successful=2, quarantined=1), "what is there cannot be merged, either"
    looked_at_again(both)
    back_cycle(both)
    assert held(both) == told
    write(rename("Adair"))
    cycle(both)
    user.put(name=[{"family": "Bo"}], birthDate="1971-01-01")
    looked_at_again(both)
    back_cycle(both)
    assert {reason for _, _, reason in held(both)} == {"conflict"}, "both sides have changed the name"


def test_a_birth_is_held_back_alone(wave: SyncedWave) -> None:
    taking = births_wave(wave)
    users = Users(taking)
    cut = users.create(name=CUT, identifier=None)
    users.create(identifier=None)
    assert back_cycle(taking).born == Counter(Patient=1)
    assert {(key, reason) for key, _, reason in held(taking)} == {(f"Patient/{cut}", "reads-otherwise")}
    users.send("PUT", f"Patient/{cut}", {**users.read("Patient", cut), "name": [{"family": "Bo"}]})
    back_cycle(taking)
    assert ([family for *_, family, _, _ in rows(taking)], held(taking)) == (["Ito", "Bo"], set())


def test_so_is_one_that_is_cut_before_it_has_its_identifier(wave: SyncedWave) -> None:
    taking = births_wave(wave)
    users, id_ = Users(taking), killed_before_the_identifier(taking)
    users.send("PUT", f"Patient/{id_}", {**users.read("Patient", id_), "name": CUT})
    rename_other(taking, "Bell")
    assert back_cycle(taking).written == Counter(patient=1)
    assert {(key, reason) for key, _, reason in held(taking)} == {(f"Patient/{id_}", "reads-otherwise")}
    users.send("PUT", f"Patient/{id_}", {**users.read("Patient", id_), "name": [{"family": "Bo"}]})
    looked_at_again(taking)
    back_cycle(taking)
    back_cycle(taking)
    assert ([family for *_, family, _, _ in rows(taking)], held(taking)) == (["Bo"], set())
