"""A wave out of its order is refused, whoever asks, unless a named person has decided that it goes first."""

from __future__ import annotations

import pytest

from medferry.cutover.acts import Act, Place
from medferry.cutover.gates import Gates
from medferry.cutover.stages import Stage
from medferry.errors import MedferryError
from medferry.governance.readiness import GateName
from medferry.manifest.consents import Consent
from medferry.manifest.cutovers import Direction
from medferry.source.changes.sweep import Throttle
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import synced_wave
from medferry.workflows.cutover import cut_over, told
from medferry.workflows.cutover_stages import perform_stage
from medferry.workflows.readiness import OutOfTurn, accept
from tests.cutover.conftest import Clinic
from tests.cutover.test_switch import choice

WHO, WHY = "A. Owner", "South's staff is trained, the pilot's is not."


def swept(clinic: Clinic) -> None:
    sweep_wave(synced_wave(clinic.environment, "rest"), Throttle(rows_per_second=1e9, latency=60))


def south(clinic: Clinic) -> Place:
    return Gates(clinic.environment, clinic.users.admin).places(["south"])["south"]


def test_the_second_wave_is_refused_and_nothing_is_closed(clinic: Clinic) -> None:
    swept(clinic)
    with pytest.raises(OutOfTurn, match="wave pilot comes before and is not flipped"):
        cut_over(clinic.environment, "rest", choice())
    with pytest.raises(OutOfTurn):  # as a DAG does it whose earlier tasks were marked as a success
        perform_stage(clinic.environment, "rest", Direction.FORTH, Stage.FREEZE, choice())
    acts: list[Act] = []
    with pytest.raises(OutOfTurn, match="readiness accept rest order"):
        told(clinic.environment, "rest", Direction.FORTH, choice(acts))
    assert Act.CLOSE_LEGACY in acts and south(clinic) is Place.BOTH


def test_a_named_person_lets_it_go_first(clinic: Clinic) -> None:
    swept(clinic)
    accept(clinic.environment, "rest", GateName.ORDER, Consent.ACCEPTED, WHO, WHY)
    told(clinic.environment, "rest", Direction.FORTH, choice())
    with pytest.raises(MedferryError) as refused:  # south has nothing but rows that cannot be loaded
        cut_over(clinic.environment, "rest", choice())
    assert not isinstance(refused.value, OutOfTurn)
