"""What the way back finds and only the way forth can settle: a row that changed, a conflict that is to be recorded."""

from __future__ import annotations

from collections.abc import Collection

from medferry.manifest.conflicts import conflicts_of_names
from medferry.manifest.held_back import HeldReason
from medferry.source.database import snapshot
from medferry.sync.carry_out import OPTIONS, begin_run, carry_out
from medferry.sync.keys import present_in_wave
from medferry.sync.reverse_decide import Decision
from medferry.sync.wave import SyncedWave

_RECORDED = (HeldReason.CONFLICT, HeldReason.NO_BASE)
"""Why something is held back that the way forth records as a conflict."""


def settle_forth(wave: SyncedWave, decisions: Collection[Decision]) -> None:
    """Let the way forth settle the records of which that was decided.

    So a conflict is the same record whichever way sees it first; one that is recorded is left alone.
    """
    keys: dict[str, set[str]] = {}
    for one in _without_recorded(wave, [one for one in decisions if one.forth]):
        keys.setdefault(one.look.entity, set()).add(one.look.key)
    if not keys:
        return
    run_id = wave.new_run_id()
    with snapshot(wave.environment.source) as view:
        present = present_in_wave(wave, view, keys)
        if present:
            begin_run(wave, run_id, present, OPTIONS, view)
    if present:
        carry_out(wave, run_id)


def _without_recorded(wave: SyncedWave, decisions: Collection[Decision]) -> list[Decision]:
    names = [slot.name for one in decisions if _is_conflict(one) for slot in one.look.slots.values()]
    if not names:
        return [*decisions]
    with wave.environment.manifest.begin() as connection:
        live = conflicts_of_names(connection, wave.environment.migration.name, names)
    return [
        one for one in decisions if not (_is_conflict(one) and any(x.name in live for x in one.look.slots.values()))
    ]


def _is_conflict(decision: Decision) -> bool:
    return any(held.reason in _RECORDED for held in decision.held)
