"""A unit is closed in Medplum by its users' policy, proven by a user's write that fails, and opened as it was."""

from __future__ import annotations

from typing import Any

import pytest

from medferry.cutover import medplum_gate
from medferry.cutover.medplum_gate import NeverProven, NotClosed, PolicyState
from medferry.cutover.probe import ProbeUnclear
from medferry.definition.gate import PROBE, tag_system
from medferry.errors import SettingsError
from medferry.medplum.access_policy import PolicyChanged, PolicyUnfit, closed, lets_write, with_closed, with_opened
from medferry.medplum.oauth import Token, TokenSource
from medferry.source.gate.gate import GateMoved
from tests.cutover.conftest import Clinic

Entry = dict[str, Any]
ALL: Entry = {"resourceType": "Patient"}
READONLY: Entry = {"resourceType": "Patient", "readonly": True}


def left_over(clinic: Clinic) -> list[Any]:
    system = tag_system(clinic.environment.migration.plan.base)
    return list(clinic.users.admin.search_all("Patient", [("_tag", f"{system}|{PROBE}")]))


# -- entries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "writes"),
    [
        (ALL, True),
        (READONLY, False),
        ({**ALL, "interaction": ["read"]}, False),
        ({**READONLY, "interaction": ["read", "delete"]}, True),
        ({**ALL, "interaction": []}, True),
    ],
)
def test_what_lets_write(entry: Entry, writes: bool) -> None:
    assert lets_write(entry) is writes
    assert not lets_write(closed(entry))


def test_opening_puts_back_exactly_what_closing_took() -> None:
    entries = [{**ALL, "criteria": "a"}, READONLY, {**ALL, "interaction": ["create", "read"]}, ALL, ALL]
    shut = with_closed(entries, [0, 1, 2, 3, 4])
    assert not any(map(lets_write, shut))
    assert with_opened(shut, entries) == entries
    assert with_opened(entries, entries) == entries
    added = [{"resourceType": "Task"}, *shut]
    assert with_opened(added, entries) == [{"resourceType": "Task"}, *entries]
    with pytest.raises(PolicyChanged):
        with_opened(shut[1:], entries)
    with pytest.raises(PolicyUnfit):
        closed({**ALL, "interaction": ["create"]})


# -- a policy --------------------------------------------------------------------------------------


def test_closed_it_refuses_the_next_request_and_opened_it_is_as_it_was(clinic: Clinic) -> None:
    gate, before = clinic.medplum(), clinic.entries
    assert clinic.rename(1, "Adair") == 200
    assert gate.close("north", 4) is True
    assert (gate.read("north").state, gate.read("north").epoch) == (PolicyState.CLOSED, 4)
    assert clinic.rename(1, "Baker") == 403
    assert gate.read("south").state is PolicyState.OPEN
    assert gate.close("north", 4) is False
    gate.open("north", 4)
    gate.open("north", 4)
    assert clinic.rename(1, "Clark") == 200
    assert clinic.entries == before
    assert left_over(clinic) == []


def test_who_was_overtaken_does_nothing(clinic: Clinic) -> None:
    gate = clinic.medplum()
    gate.close("north", 4)
    gate.close("north", 5)
    with pytest.raises(GateMoved, match="at epoch 5"):
        gate.open("north", 4)
    with pytest.raises(GateMoved):
        gate.close("north", 4)
    with pytest.raises(GateMoved):
        gate.open("north", 6)
    gate.open("north", 5)


def test_a_write_over_a_version_that_another_has_replaced_is_decided_anew(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, real = clinic.medplum(), medplum_gate.MedplumGate._put
    others = [0]

    def put(self: Any, rule: Any, read: Any, *args: Any) -> None:
        if not others[0]:
            others[0] += 1
            policy = clinic.users.read("AccessPolicy", clinic.policy)
            clinic.users.put({**policy, "name": "renamed meanwhile"})
        real(self, rule, read, *args)

    monkeypatch.setattr(medplum_gate.MedplumGate, "_put", put)
    gate.close("north", 1)
    assert gate.read("north").state is PolicyState.CLOSED
    assert clinic.users.read("AccessPolicy", clinic.policy)["name"] == "renamed meanwhile"


def test_a_probe_that_fails_in_any_case_proves_nothing(clinic: Clinic) -> None:
    gate = clinic.medplum()
    policy = clinic.users.read("AccessPolicy", clinic.policy)
    elsewhere = {**policy["resource"][0], "criteria": "Patient?organization=Organization/elsewhere"}
    clinic.users.put({**policy, "resource": [elsewhere]})
    with pytest.raises(ProbeUnclear, match="refused while the policy"):
        gate.close("north", 1)
    assert gate.read("north").state is PolicyState.OPEN
    clinic.users.put({**policy, "resource": with_closed(policy["resource"], [0])})
    with pytest.raises(NeverProven):
        gate.close("north", 1)


def test_another_way_in_is_found_by_the_probe(clinic: Clinic) -> None:
    gate = clinic.medplum()
    gate.close("north", 1)
    policy = clinic.users.read("AccessPolicy", clinic.policy)
    clinic.users.put({**policy, "resource": [*policy["resource"], {"resourceType": "Patient"}]})
    with pytest.raises(NotClosed):
        gate.prove_closed("north")
    assert left_over(clinic) == []


def test_what_cannot_be_looked_at_is_told(clinic: Clinic) -> None:
    gate = clinic.medplum()
    with pytest.raises(PolicyUnfit, match="names no policy of shared"):
        gate.read("shared")
    clinic.users.put({**clinic.users.read("AccessPolicy", clinic.policy), "resource": [{"resourceType": "Task"}]})
    with pytest.raises(PolicyUnfit, match="no entry"):
        gate.read("north")
    with pytest.raises(SettingsError, match="MEDFERRY_PROBE_WEST_CLIENT_ID"):
        clinic.environment.settings.probe("west")


def test_a_probe_keeps_its_token_as_users_do(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Medplum gives 160 a minute: a wave of a hundred policies would wait for the next minute with its units frozen."""
    fetched: list[str] = []
    real = TokenSource._fetch

    def fetch(source: TokenSource) -> Token:
        fetched.append(source._form["client_id"])
        return real(source)

    monkeypatch.setattr(TokenSource, "_fetch", fetch)
    gate, (probe, _) = clinic.medplum(), clinic.environment.settings.probes["north"]
    for epoch in (1, 2):
        gate.close("north", epoch)
        assert gate.read("north").state is PolicyState.CLOSED
        gate.open("north", epoch)
    assert fetched.count(probe) == 1
