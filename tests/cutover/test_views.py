"""A wave is looked at anew with every cycle, by what is flipped: each look is another view of the same systems."""

from __future__ import annotations

from dataclasses import replace

from medferry.sync.wave import SyncedWave, with_flipped
from tests.cutover.conftest import Clinic

ENGINES = ("manifest", "source", "capture", "legacy_writer")


def test_to_look_at_what_is_flipped_opens_no_connection(clinic: Clinic) -> None:
    """A rollback looks several times a second while it waits: servers have a hundred connections."""
    environment = clinic.environment
    closed = clinic.gate.close(environment.capture, "north", 0, 60, 5)
    clinic.gate.shut(environment.capture, "north", closed.epoch)
    view = with_flipped(SyncedWave(environment, "pilot")).environment
    assert view.migration is not environment.migration
    assert [getattr(view, name) for name in ENGINES] == [getattr(environment, name) for name in ENGINES]
    other = replace(view, settings=replace(view.settings, source_url="sqlite://"))
    assert other.source is not view.source, "other settings are other systems"
