"""What no journal tells is swept within the freeze: a flip leaves nothing of it behind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from medferry.cutover import switch as switching
from medferry.cutover.acts import Act, Place
from medferry.cutover.machine import NotFlipped, Outcome
from medferry.sync.wave import synced_wave
from medferry.workflows.cutover import cut_over, prepare
from tests.cutover.conftest import Clinic
from tests.cutover.test_switch import choice, places
from tests.sync import conftest
from tests.sync.test_unreadable import GONE, kilograms


@pytest.fixture(autouse=True)
def without_triggers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are found by sweeps alone, and clocks agree: what was decided earlier is not verified again."""
    logged = "weight: {tables: {weight: id}}"
    assert logged in conftest.CAPTURE
    monkeypatch.setattr(conftest, "CAPTURE", conftest.CAPTURE.replace(logged, "weight: {method: sweep}"))
    monkeypatch.setattr("medferry.workflows.cutover_proof.APART", timedelta(0))


def before(monkeypatch: pytest.MonkeyPatch, act: Act, clinic: Clinic, *statements: str) -> None:
    """The legacy users' last writes come after the verification, just before an act."""
    does = switching._ACTS[act]

    def written(switch: Any) -> str:
        with clinic.environment.source.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        return does(switch)

    monkeypatch.setitem(switching._ACTS, act, written)  # type: ignore[arg-type]


def test_what_was_written_after_the_verification_is_brought(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(clinic.environment, "pilot", choice())
    columns = "unit, patient_id, 77, taken_at, updated_at"
    writes = (
        "UPDATE weight SET kg = 99 WHERE id = 0",
        f"INSERT INTO weight SELECT 400, {columns} FROM weight WHERE id = 0",
    )
    before(monkeypatch, Act.CLOSE_LEGACY, clinic, *writes)
    assert cut_over(clinic.environment, "pilot", choice()) is Outcome.FLIPPED
    found = kilograms(synced_wave(clinic.environment, "pilot"))
    assert (found["0"], found["400"]) == (99, 77)


def test_what_cannot_be_swept_keeps_all_from_moving(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(clinic.environment, "pilot", choice())
    before(monkeypatch, Act.FENCE, clinic, GONE)
    with pytest.raises(NotFlipped, match=r"cannot be read, .*: weight, .*kg"):
        cut_over(clinic.environment, "pilot", choice())
    assert places(clinic) == {Place.LEGACY}
