"""The tiny platform whose patients and weights take births."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from medferry.definition.migration import Migration
from medferry.mapping import Columns, InverseContext, Resource, Row, inverse, legacy_table, new_rows
from medferry.plan.authority import AuthorityMatrix
from medferry.runtime.environment import Environment
from medferry.source.births import NewRows
from medferry.source.changes.engines import install
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.wave import SyncedWave

UNITS = {"clinic": {"1": "north", "2": "south"}}
PATIENTS = new_rows(unit="unit", key="(SELECT max(id) + 1 FROM patient)", unit_of=UNITS)
WEIGHTS = new_rows(unit="unit", key="(SELECT max(id) + 1 FROM weight)", columns=("patient_id",))


@inverse(
    entity="weight",
    tables=(legacy_table("weight", key="id", columns=("kg", "taken_at"), touched="updated_at"),),
    births=WEIGHTS,
)
def weight_back(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:
    taken = ctx.wall_time(resource.get("effectiveDateTime"), "taken_at", "effectiveDateTime", whole=True)
    columns = {
        "kg": ctx.required(ctx.number((resource.get("valueQuantity") or {}).get("value"), "kg", "valueQuantity"), "kg"),
        "taken_at": taken,
    }
    if row is None:
        columns["patient_id"] = ctx.key("patient", resource.get("subject"), "patient_id", "subject")
    return columns


def taking_births(migration: Migration, patients: NewRows = PATIENTS) -> Migration:
    """Patients and weights are written in both systems, and take births."""
    rule = {"domain": "people", "writer": "both", "accepted_by": "A. Owner", "reason": "both teams are at work"}
    matrix = AuthorityMatrix.model_validate({"domains": {"people": ["patient", "weight"]}, "rules": [rule]})
    inverses = {"patient": replace(migration.inverses["patient"], births=patients), "weight": weight_back}
    return replace(migration, inverses=inverses, plan=migration.plan.model_copy(update={"authority": matrix}))


def births_wave(wave: SyncedWave, patients: NewRows = PATIENTS) -> SyncedWave:
    """A wave in step that takes births from now on."""
    environment = wave.environment
    settings = replace(environment.settings, legacy_writer_url=environment.settings.source_url)
    taking = SyncedWave(Environment(taking_births(environment.migration, patients), settings), wave.id)
    install(environment.capture, taking.journal)
    assert not back_cycle(taking).born
    return taking


def rows(wave: SyncedWave, entity: str = "patient", beyond: int = 8) -> list[tuple[Any, ...]]:
    """The rows that came after those of the beginning."""
    columns = {"patient": "id, unit, clinic_id, family, born, sex", "weight": "id, unit, patient_id, kg, taken_at"}
    with wave.environment.source.connect() as connection:
        found: Sequence[Any] = connection.execute(
            sa.text(f"SELECT {columns[entity]} FROM {entity} WHERE id > {beyond} ORDER BY id")
        ).all()
    return [tuple(one) for one in found]
