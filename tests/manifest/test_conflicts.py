"""A conflict is one line for its versions; what was decided about it holds for these alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa

from medferry.fhir.sides import Side
from medferry.manifest.conflict_decisions import ConflictClosed, UnknownPath, decide, sides_of
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
