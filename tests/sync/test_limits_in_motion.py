"""What moves excuses its own records: no limit of the plan, and no more rows of a unit than move in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medferry.governance.verdict import Verdict
from medferry.manifest.checks import CheckStatus
from medferry.plan.model import Limits
from medferry.sync.cycle import cycle
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import SyncedWave, synced_wave
from medferry.verification import acceptance, coverage, second_look
from medferry.verification.accounting import COUNT
from medferry.verification.second_look import FirstLook, SecondLook
from tests.sync.conftest import FREE, Write
from tests.sync.test_in_flight import faults, verdict

BAD = (
    "INSERT INTO patient VALUES (20,'north',1,'Bad','1985-02-30','F',NULL),(21,'north',1,'Bad2','1985-02-30','F',NULL)"
)
"""Two patients who cannot be born on that day: quarantined."""

Units = dict[str, set[str]]


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(second_look, "PATIENCE_SECONDS", 0.0)
    yield


def with_acceptance(wave: SyncedWave, **limits: Any) -> SyncedWave:
    plan = wave.environment.migration.plan
    accepted = plan.acceptance.model_copy(update=limits)
    migration = replace(wave.environment.migration, plan=plan.model_copy(update={"acceptance": accepted}))
    return SyncedWave(replace(wave.environment, migration=migration), wave.id)


def over(found: Verdict) -> set[tuple[str, str]]:
    names = (acceptance.ENTITY, acceptance.UNIT, coverage.SHARE)
    return {(name, entity) for name, entity in faults(found) if name in names}


def test_limits_count_whatever_moves(wave: SyncedWave, write: Write) -> None:
    """Of the same entity, of the unit, and of another wave."""
    sweep_wave(synced_wave(wave.environment, "rest"), FREE)
    none = Limits(max_quarantined_share=0.0, max_rejected_share=0.0)
    limits: dict[str, Any] = {"entities": {"patient": none}, "units": {"north": Limits(max_quarantined_share=0.0)}}
    limited = with_acceptance(wave, **limits, max_quarantined_share=0.75, min_compared_share=0.99)
    write(BAD)
    cycle(limited)
    quiet = over(verdict(limited))
    assert {(acceptance.ENTITY, "patient"), (acceptance.UNIT, "all"), (coverage.SHARE, "weight")} <= quiet
    write("UPDATE patient SET family = 'Moving' WHERE id = 7", "UPDATE weight SET kg = 1 WHERE unit = 'south'")
    assert over(verdict(limited)) == quiet, "another wave's"
    write(
        "UPDATE patient SET family = 'Moving' WHERE id = 1", "UPDATE weight SET kg = 1", "UPDATE staff SET family = 'x'"
    )
    found = verdict(limited)
    assert found.in_flight and over(found) == quiet


def looked_again(first: FirstLook, units: Units, before: list[str], after: list[str], there: int, here: int) -> str:
    def units_of(_: str, keys: Any) -> Units:
        return {key: units[key] for key in keys}

    again = SecondLook("patient", lambda _: None, units_of=units_of, first=first.seen, before={"patient": before})
    again.other_number(COUNT, "north", there, here)
    again.settle({"patient": after})
    [result] = again.results()
    return result.status


KEYS = [str(number) for number in range(6)]


@given(
    st.lists(st.sets(st.sampled_from(["", "north", "south"])), min_size=6, max_size=6),
    st.lists(st.sampled_from(KEYS)),
    st.lists(st.sampled_from(KEYS)),
    st.integers(0, 8),
    st.integers(0, 8),
)
def test_a_number_of_rows_is_excused_by_no_more_than_move_in_the_unit(
    units: list[set[str]], before: list[str], after: list[str], there: int, here: int
) -> None:
    if there == here:
        return
    first = FirstLook("patient", lambda _: None)
    first.other_number(COUNT, "north", there, here)
    placed = dict(zip(KEYS, units, strict=True))
    moving = {key for key in {*before, *after} if "north" in placed[key]}
    status = CheckStatus.IN_FLIGHT if abs(there - here) <= len(moving) else CheckStatus.DIFFERENT
    assert looked_again(first, placed, before, after, there, here) == status
    assert looked_again(FirstLook("patient", lambda _: None), placed, [], [], there, here) == CheckStatus.IN_FLIGHT, (
        "of one look alone"
    )


def test_a_limit_that_only_the_second_look_finds_counts_whatever_it_is_called() -> None:
    again = SecondLook("patient", lambda _: None, units_of=lambda *_: {}, before={"patient": ["patient"]})
    again.over_limit(acceptance.ENTITY, "patient", "2 of 6", "over the threshold")
    again.settle({"patient": ["patient"]})
    [result] = again.results()
    assert result.status == CheckStatus.DIFFERENT
