"""A manifest of before a flip, restored after it: the gates say who is written, and nothing is written over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medferry.cutover.acts import Place
from medferry.cutover.proof import Unproven
from medferry.cutover.stages import STAGES, Stage
from medferry.manifest.cutovers import Direction
from medferry.runtime import claim
from medferry.runtime.continuing import OlderManifest, OtherSystem
from medferry.runtime.systems import accept_systems
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.wave import synced_wave
from tests.copied_manifest import copied_manifest
from tests.cutover.conftest import Clinic
from tests.cutover.test_stages import BEFORE, do, thaw
from tests.cutover.test_switch import family, in_medplum, legacy_writes, places


def test_a_flip_that_the_manifest_does_not_know_stands(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "_MARKED_FOR", 0.0)
    restored = copied_manifest(clinic.environment, tmp_path / "backup.db")
    older = replace(clinic, environment=restored)
    assert legacy_writes(clinic, 1, "Adair")
    do(clinic, *BEFORE, Stage.FLIP, Stage.OBSERVE)
    assert clinic.rename(1, "Baker") == 200

    wave = synced_wave(restored, "pilot")
    with pytest.raises(OlderManifest):
        cycle(wave)
    accept_systems(restored)
    cycle(wave)
    assert [one.reason for one in back_cycle(wave).held][:1] == ["conflict"], "both were written since the backup"
    assert (family(older, 1), in_medplum(older, 1)) == ("Adair", "Baker")
    assert places(older) == {Place.MEDPLUM} and not legacy_writes(older, 1, "Lost")
    with pytest.raises(Unproven, match="1 write"):
        do(older, *STAGES[Direction.BACK], direction=Direction.BACK)
    assert thaw(older, Direction.BACK).startswith("backed out") and places(older) == {Place.MEDPLUM}
    assert in_medplum(older, 1) == "Baker"


def test_what_is_closed_is_opened_whoever_has_the_claim(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whatever keeps a run from beginning: users wait."""
    monkeypatch.setattr(claim, "_MARKED_FOR", 0.0)
    copy = copied_manifest(clinic.environment, tmp_path / "backup.db")
    do(clinic, *BEFORE)
    assert places(clinic) == {Place.FROZEN}
    accept_systems(copy)
    clinic.environment.staging_area.claim("another manifest")
    with pytest.raises(OtherSystem):
        do(clinic, Stage.FLIP)
    assert thaw(clinic).startswith("backed out")
    assert places(clinic) == {Place.LEGACY} and legacy_writes(clinic, 1, "Adair")
