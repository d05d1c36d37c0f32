"""A row that moves between two waves at work is written by one of them at most, and by the next run in any case."""

from __future__ import annotations

from collections import Counter

import pytest

from medferry.manifest import runs
from medferry.mapping.outcomes import Reason
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_slice
from medferry.stages.prepare import RunScope, prepare_run
from medferry.stages.transform import transform_slice
from medferry.workflows.finish import finish_run
from tests.stages.identifiers import identifiers_in_medplum
from tests.stages.test_replay import ends
from tests.tiny_platform import RESOURCES
from tests.workflows.test_migrate import migrate

MOVED = ("patient", "1")


@pytest.fixture
def loaded(tiny: Environment) -> Environment:
    """What both waves refer to is there, and nothing of their own."""
    migrate(tiny, "shared", units=["shared"])
    return tiny


def prepare(tiny: Environment, unit: str) -> list[str]:
    slices = prepare_run(tiny, unit, "run", RunScope([unit], ["patient"]), RunOptions())
    return [slice_.id for slice_ in slices]


def stage(tiny: Environment, unit: str, ids: list[str]) -> None:
    for slice_id in ids:
        extract_slice(tiny, unit, slice_id)
        transform_slice(tiny, unit, slice_id)


def load(tiny: Environment, unit: str, ids: list[str]) -> None:
    for slice_id in ids:
        load_slice(tiny, unit, slice_id)


def move(tiny: Environment) -> None:
    with tiny.source.begin() as connection:
        connection.exec_driver_sql("UPDATE patient SET unit = 'south' WHERE id = 1")


def check(tiny: Environment) -> None:
    """Nothing is doubled, and the next run has it right."""
    for unit in ("north", "south"):
        finish_run(tiny, unit, failed=True)
    assert set(Counter(identifiers_in_medplum(tiny).values())) == {1}
    migrate(tiny, "next")
    assert Counter(identifiers_in_medplum(tiny).values()) == {1: RESOURCES}
    assert ends(tiny, "next")[MOVED] == "successful"


def test_both_leave_it_when_each_sees_the_other(loaded: Environment) -> None:
    north = prepare(loaded, "north")
    stage(loaded, "north", north)
    move(loaded)
    south = prepare(loaded, "south")
    stage(loaded, "south", south)
    load(loaded, "north", north)
    load(loaded, "south", south)
    for unit in ("north", "south"):
        assert ends(loaded, unit)[MOVED] == f"quarantined {Reason.AT_WORK_ELSEWHERE}"
    check(loaded)


def test_who_comes_later_leaves_it_to_who_is_loading_it(loaded: Environment) -> None:
    north = prepare(loaded, "north")
    stage(loaded, "north", north)
    move(loaded)
    load(loaded, "north", north)
    south = prepare(loaded, "south")
    stage(loaded, "south", south)
    load(loaded, "south", south)
    assert ends(loaded, "north")[MOVED] == "successful"
    assert ends(loaded, "south")[MOVED] == f"quarantined {Reason.AT_WORK_ELSEWHERE}"
    check(loaded)


def test_what_a_later_run_has_decided_is_left_as_it_is(loaded: Environment) -> None:
    north = prepare(loaded, "north")
    stage(loaded, "north", north)
    move(loaded)
    with loaded.manifest.begin() as connection:
        connection.exec_driver_sql("UPDATE lease SET expires_at = '2000-01-01T00:00:00.000Z' WHERE run_id = 'north'")
    south = prepare(loaded, "south")
    stage(loaded, "south", south)
    load(loaded, "south", south)
    finish_run(loaded, "south", failed=True)
    load(loaded, "north", north)
    assert ends(loaded, "south")[MOVED] == "successful"
    assert ends(loaded, "north")[MOVED] == f"quarantined {Reason.AT_WORK_ELSEWHERE}"
    with loaded.manifest.begin() as connection:
        assert runs.get_run(connection, "south").units == ["south"]
    check(loaded)
