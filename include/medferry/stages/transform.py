"""Transform: staged rows through their mapping into validated FHIR Bundles. Deterministic to the byte."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import islice

from medferry.apply.breaker import Breaker
from medferry.fhir.bundle import Bounds, batch, conditional_update, identity
from medferry.fhir.validate import problems
from medferry.manifest import runs
from medferry.manifest.runs import RunRow, SliceRow
from medferry.manifest.source_records import SourceRecord, forget_slice, write_records
from medferry.manifest.workers import only_worker
from medferry.mapping.apply import MappedRow, apply_mapping
from medferry.mapping.context import MappingSettings
from medferry.mapping.declare import MappingSpec, Row
from medferry.mapping.outcomes import Disposition, Reason
from medferry.runtime.control import checkpoint
from medferry.runtime.environment import Environment, own_run
from medferry.runtime.hold import Hold
from medferry.runtime.options import RunOptions
from medferry.source.entity import SourceEntity
from medferry.stages.replay import gone_records

_ROWS_AT_ONCE = 1_000


@dataclass(slots=True)
class _Stacker:
    """Collects entries into Bundles within bounds; the entries of one source record stay together."""

    bounds: Bounds
    entries: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, entries: list[bytes], weight: int) -> list[bytes]:
        """Add a unit's entries; returns the full Bundle's entries that had to make room (or none)."""
        full = len(self.entries) + len(entries) > self.bounds.entries or self.size + weight > self.bounds.bytes
        out = self.take() if full and self.entries else []
        self.entries += entries
        self.size += weight
        return out

    def take(self) -> list[bytes]:
        out, self.entries, self.size = self.entries, [], 0
        return out


def transform_slice(environment: Environment, run_id: str, slice_id: str) -> dict[str, int]:
    """Map, validate and stage one slice; returns the number of rows by disposition ("pending": to be loaded).

    A slice that was transformed before is left as it is. Raises StagingError, LeaseHeld, LeaseLost, SliceBusy,
    RunAborted.
    """
    run, options = own_run(environment, run_id)
    checkpoint(environment, run)
    with only_worker(environment.manifest, run_id, slice_id):
        return transform_locked(environment, run, options, slice_id)


def transform_locked(environment: Environment, run: RunRow, options: RunOptions, slice_id: str) -> dict[str, int]:
    """The same, by the slice's only worker."""
    run_id = run.id
    with environment.manifest.begin() as connection:
        mine = runs.get_slice(connection, run_id, slice_id)
    if runs.reached(mine, "transformed"):
        return {}
    hold = Hold(environment, run, mine)
    with hold.writing() as connection:
        forget_slice(connection, run_id, slice_id, mine.entity)
    migration, staging = environment.migration, environment.staging(run_id)
    spec, entity = migration.specs[mine.entity], migration.entities[mine.entity]
    bounds = Bounds(entries=options.batch_size)
    stacker, counts, bundles = _Stacker(bounds), Counter[str](), 0
    breaker = Breaker(mine.entity, options.stop_at_share if mine.keys is None else 1.0)
    rows = staging.read_rows(slice_id)
    gone = set(mine.keys or ())
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        units: list[SourceRecord] = []
        findings: list[tuple[str, str, str, str]] = []
        for row in some:
            mapped, entries, weight = _staged(map_row(spec, entity, row, migration.settings), bounds)
            units.append(_ledger_line(mine, entity, spec, row, mapped))
            gone.discard(mapped.key)
            findings += [(mine.entity, mapped.key, found.reason, found.field) for found in mapped.findings]
            counts[mapped.disposition] += 1
            breaker.count(mapped.reason)
            if breaker.cause:
                break
            if full := stacker.add(entries, weight):
                staging.write_bundle(slice_id, bundles, batch(full))
                bundles += 1
        with hold.writing() as connection:
            write_records(connection, run_id, units, findings)
        breaker.check()
    if last := stacker.take():
        staging.write_bundle(slice_id, bundles, batch(last))
        bundles += 1
    with hold.writing() as connection:
        write_records(connection, run_id, gone_records(connection, run, mine, spec.version, sorted(gone)), [])
        runs.set_stage(connection, run_id, slice_id, "transformed", bundles)
    return dict(counts)


def map_row(spec: MappingSpec, entity: SourceEntity, row: Row, settings: MappingSettings) -> MappedRow:
    """Map one row and validate what came out; an invalid resource rejects the row, naming FHIR paths only."""
    mapped = apply_mapping(spec, row, str(row[entity.key]), settings)
    names = [identity(resource) for resource in mapped.resources]
    if len(set(names)) != len(names):
        return MappedRow(mapped.key, Disposition.QUARANTINED, Reason.MAPPING_ERROR, place="a slot was filled twice")
    for resource in mapped.resources:
        if found := problems(resource):
            place = f"{resource['resourceType']}: {'; '.join(found[:3])}"
            return MappedRow(
                mapped.key, Disposition.REJECTED, Reason.INVALID_RESOURCE, place=place[:500], findings=mapped.findings
            )
    return mapped


def _staged(mapped: MappedRow, bounds: Bounds) -> tuple[MappedRow, list[bytes], int]:
    """The row's batch entries and their bytes; a row too large for any request is rejected."""
    entries = [conditional_update(resource) for resource in mapped.resources]
    weight = sum(len(entry) + 1 for entry in entries)
    if weight > bounds.bytes:
        return MappedRow(mapped.key, Disposition.REJECTED, Reason.TOO_LARGE, findings=mapped.findings), [], 0
    return mapped, entries, weight


def _ledger_line(mine: SliceRow, entity: SourceEntity, spec: MappingSpec, row: Row, mapped: MappedRow) -> SourceRecord:
    return SourceRecord(
        entity=mine.entity,
        key=mapped.key,
        unit=str(row[entity.unit]),
        slice_id=mine.id,
        disposition=mapped.disposition,
        mapping_version=spec.version,
        reason=mapped.reason,
        field=mapped.field,
        place=mapped.place,
    )
