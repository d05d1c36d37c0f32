"""A conflict is one line for its versions; what was decided about it holds for these alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa

from medferry.fhir.sides import Side
from medferry.manifest.conflict_decisions import (
    ConflictClosed,
    UnknownPath,
    decide,
    sides_of,
    supersede_gone,
    undone_records,
)
from medferry.manifest.conflict_values import drop_values, values_over
from medferry.manifest.conflicts import (
    WHOLE,
    Conflict,
    ConflictState,
    Direction,
    KeptValue,
    NewConflict,
    Versions,
    conflicts_of_names,
    find_conflict,
    list_conflicts,
    open_conflicts,
    record_conflict,
    set_applied,
    supersede,
)
from medferry.manifest.tables import run, target, unit_state

NAME = ("https://m/patient", "17")
NEW = NewConflict(
    migration="m",
    wave="pilot",
    unit="north",
    entity="patient",
    name=NAME,
    resource_type="Patient",
    medplum_id="abc",
    paths=("telecom.value", "birthDate"),
    direction=Direction.FORWARD,
    versions=Versions("v1", "d" * 64, "h" * 64),
    legacy=KeptValue("@values/ab/abc", "e" * 64),
    owner="data steward",
    due_days=7,
)


def recorded(manifest: sa.Engine, new: NewConflict = NEW) -> Conflict:
    with manifest.begin() as connection:
        return record_conflict(connection, new)


def found(manifest: sa.Engine, conflict_id: int) -> Conflict:
    with manifest.begin() as connection:
        conflict = find_conflict(connection, "m", conflict_id)
    assert conflict is not None
    return conflict


def test_the_same_conflict_found_again_is_the_same_line(manifest: sa.Engine) -> None:
    first = recorded(manifest)
    assert recorded(manifest) == first
    assert recorded(manifest, replace(NEW, direction=Direction.REVERSE, versions=Versions("v1", "d" * 64))) == first
    assert (first.paths, first.key, first.legacy) == (("birthDate", "telecom.value"), "17", NEW.legacy)
    assert (first.state, first.base, len(first.due)) == (ConflictState.OPEN, None, 10)
    with manifest.begin() as connection:
        assert open_conflicts(connection, "m") == [first] == open_conflicts(connection, "m", "pilot")
        assert open_conflicts(connection, "m", "rest") == open_conflicts(connection, "other") == []
        assert conflicts_of_names(connection, "m", [NAME, ("https://m/patient", "18")]) == {NAME: first}


@pytest.mark.parametrize(
    "versions",
    [Versions("v2", "d" * 64, "h" * 64), Versions("v1", "x" * 64, "h" * 64), Versions("v1", "d" * 64, "x" * 64)],
    ids=["Medplum's", "the row", "the mapping's"],
)
def test_newer_versions_supersede_it_and_what_was_decided(manifest: sa.Engine, versions: Versions) -> None:
    first = recorded(manifest)
    with manifest.begin() as connection:
        decide(connection, first, (), Side.LEGACY, "A. Person", "The row is right.")
    second = recorded(manifest, replace(NEW, versions=versions))
    assert (found(manifest, first.id).state, second.state) == (ConflictState.SUPERSEDED, ConflictState.OPEN)
    with manifest.begin() as connection:
        assert sides_of(connection, [second]) == {second.id: {}}
        with pytest.raises(ConflictClosed, match="superseded"):
            decide(connection, first, (), Side.LEGACY, "A. Person", "Again.")


def test_one_that_is_about_parts_of_a_value_gives_way_to_one_about_the_value(manifest: sa.Engine) -> None:
    """Once the parts of a value were merged one by one: what was decided of one of them says nothing of the value."""
    first = recorded(manifest, replace(NEW, paths=("code.text", "birthDate")))
    with manifest.begin() as connection:
        decide(connection, first, (), Side.MEDPLUM, "A. Person", "Medplum is right.")
    assert recorded(manifest, replace(NEW, paths=("birthDate",))) == found(manifest, first.id)
    second = recorded(manifest, replace(NEW, paths=("code", "birthDate")))
    assert (found(manifest, first.id).state, second.state) == (ConflictState.SUPERSEDED, ConflictState.OPEN)
    assert recorded(manifest, replace(NEW, paths=("code",))) == second
    assert recorded(manifest, replace(NEW, paths=("*",))) == second, "what is not certain now may be later"


def test_it_is_decided_when_each_of_its_paths_is_and_the_newest_decision_counts(manifest: sa.Engine) -> None:
    conflict = recorded(manifest)
    with manifest.begin() as connection:
        assert decide(connection, conflict, ["birthDate"], Side.LEGACY, "A", "x") is ConflictState.OPEN
        assert decide(connection, conflict, ["telecom.value"], Side.MEDPLUM, "A", "x") is ConflictState.DECIDED
        assert decide(connection, conflict, ["birthDate"], Side.MEDPLUM, "B", "y") is ConflictState.DECIDED
        sides = sides_of(connection, [conflict])[conflict.id]
        assert sides == {"birthDate": Side.MEDPLUM, "telecom.value": Side.MEDPLUM}
        with pytest.raises(UnknownPath, match="gender"):
            decide(connection, conflict, ["gender"], Side.LEGACY, "A", "x")


def test_what_is_applied_is_decided_no_more_and_found_anew_is_another(manifest: sa.Engine) -> None:
    conflict = recorded(manifest, replace(NEW, paths=()))
    assert conflict.paths == (WHOLE,)
    with manifest.begin() as connection:
        decide(connection, conflict, (), Side.LEGACY, "A", "x")
        set_applied(connection, {conflict.id: "v2"})
        supersede(connection, [conflict.id])
        with pytest.raises(ConflictClosed, match="applied"):
            decide(connection, conflict, (), Side.MEDPLUM, "A", "x")
        assert conflicts_of_names(connection, "m", [NAME]) == {}
        done = list_conflicts(connection, "m", [ConflictState.APPLIED])
    assert [(one.id, one.applied_version) for one in done] == [(conflict.id, "v2")]
    assert recorded(manifest).id != conflict.id


def test_of_several_that_find_it_at_once_there_is_one_line(manifest: sa.Engine) -> None:
    with ThreadPoolExecutor(4) as finders:
        ids = {one.id for one in finders.map(lambda _: recorded(manifest), range(8))}
    assert len(ids) == 1


def test_a_decision_is_due_until_a_run_that_began_after_it_has_tried(manifest: sa.Engine) -> None:
    conflict = recorded(manifest)

    def due(before: str = "2020") -> dict[str, str]:
        with manifest.begin() as connection:
            return undone_records(connection, "m", ["north"], before).get("patient", {})

    def tried(run_id: str, began: str) -> None:
        facts = {"kind": "sync_pilot", "status": "applied", "units": [], "entities": [], "options": {}}
        state = {"disposition": "quarantined", "reason": "target-changed", "source_digest": "", "mapping_version": ""}
        of = {"migration": "m", "entity": "patient", "key": "17", "unit": "north"}
        with manifest.begin() as connection:
            connection.execute(
                sa.insert(run).values(id=run_id, migration="m", fingerprint="", started_at=began, **facts)
            )
            connection.execute(sa.delete(unit_state))
            connection.execute(
                sa.insert(unit_state).values(**of, **state, fingerprint="", run_id=run_id, decided_at="2099")
            )

    assert due() == {}
    with manifest.begin() as connection:
        decide(connection, conflict, (), Side.LEGACY, "A", "x")
    assert due() == {"17": "north"}
    tried("before", "2000")  # it began before the decision, and need not have seen it
    assert due() == {"17": "north"}
    tried("after", "2098")
    assert (due(), due(before="2100")) == ({}, {"17": "north"})
    with manifest.begin() as connection:
        assert undone_records(connection, "m", ["south"], "2020") == {}
        set_applied(connection, {conflict.id: "v2"})
    assert due(before="2100") == {}


def test_values_are_over_but_for_the_base_of_the_next_merge(manifest: sa.Engine) -> None:
    kept = {name: KeptValue(f"@values/{name}", "e" * 64) for name in ("base", "legacy", "medplum")}
    conflict = recorded(manifest, replace(NEW, **kept))
    line = {"migration": "m", "system": NAME[0], "value": NAME[1], "entity": "patient", "resource_type": "Patient"}
    with manifest.begin() as connection:
        assert values_over(connection, "m", "2100") == []
        set_applied(connection, {conflict.id: "v2"})
        known = {"medplum_id": "abc", "version_id": "v2", "content_hash": "c", "wanted_hash": "w", "run_id": "r"}
        connection.execute(sa.insert(target).values(**line, **known))
        assert values_over(connection, "m", "2020") == []
        [over] = values_over(connection, "m", "2100")
        assert over.values.keys() == {"base", "medplum"}
        drop_values(connection, over)
        assert values_over(connection, "m", "2100") == []
        connection.execute(sa.update(target).values(wanted_hash=None))
        [rest] = values_over(connection, "m", "2100")
        assert rest.values == {"legacy": kept["legacy"]}
    assert found(manifest, conflict.id).legacy == kept["legacy"]


def test_of_a_row_that_is_gone_nothing_is_left_to_decide(manifest: sa.Engine) -> None:
    conflict = recorded(manifest)
    facts = {"disposition": "skipped", "source_digest": "", "mapping_version": "", "fingerprint": "", "run_id": "r"}
    of = {"migration": "m", "entity": "patient", "key": "17", "unit": "north", "decided_at": "2099"}
    with manifest.begin() as connection:
        connection.execute(sa.insert(unit_state).values(**of, **facts, reason="other"))
        supersede_gone(connection, "m")
        assert open_conflicts(connection, "m") == [conflict]
        connection.execute(sa.update(unit_state).values(reason="source-row-gone"))
        supersede_gone(connection, "m")
        assert open_conflicts(connection, "m") == []
