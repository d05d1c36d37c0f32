"""Transform: staged rows through their mapping into validated FHIR Bundles. Deterministic to the byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from more_itertools import chunked

from medferry.apply.breaker import Breaker
from medferry.errors import StagingError
from medferry.fhir.bundle import Bounds, batch, conditional_update
from medferry.fhir.documents import Document, taken_out
from medferry.fhir.validate import problems
from medferry.manifest import runs
from medferry.manifest.runs import RunRow, SliceRow, SliceStage
from medferry.manifest.slice_lock import only_worker
from medferry.manifest.source_records import SourceRecord, count_lines, forget_slice, write_records
from medferry.manifest.staged_files import record_files
from medferry.manifest.unchanged import carry_over
from medferry.mapping.apply import MappedRow, apply_mapping
from medferry.mapping.context import MappingSettings
from medferry.mapping.declare import MappingSpec, Resource, Row
from medferry.mapping.outcomes import Disposition, Reason
from medferry.runtime.control import checkpoint
from medferry.runtime.environment import Environment, own_run
from medferry.runtime.hold import Hold
from medferry.runtime.options import RunOptions
from medferry.runtime.progress import Tally
from medferry.runtime.pulse import pulse_of
from medferry.runtime.staging import row_digest
from medferry.source.entity import SourceEntity
from medferry.source.keys import fault_of, ledger_key
from medferry.stages.key_slices import stop_share
from medferry.stages.replay import gone_records

_ROWS_AT_ONCE, _KEYS_AT_ONCE = 1_000, 10_000


def transform_slice(environment: Environment, run_id: str, slice_id: str) -> dict[str, int]:
    """Map, validate and stage one slice; returns the number of rows by disposition ("pending": to be loaded).

    A slice that was transformed before is left as it is. Raises StagingError, LeaseHeld, LeaseLost, SliceBusy,
    RunAborted, BreakerOpen.
    """
    run, options = own_run(environment, run_id)
    checkpoint(environment, run)
    with only_worker(environment.manifest, run_id, slice_id):
        with environment.manifest.begin() as connection:
            slice_ = runs.get_slice(connection, run_id, slice_id)
        done = runs.reached(slice_, SliceStage.TRANSFORMED)
        counts = {} if done else dict(_Transform(environment, run, options, slice_).carry_out())
        if not environment.migration.plan.retention.staged:
            environment.staging(run_id).discard_rows(slice_id)  # again, too: the worker before may have died here
        return counts


@dataclass(slots=True)
class _Stacker:
    """Collects entries into Bundles within bounds; the entries of one source record stay together."""

    bounds: Bounds
    entries: list[bytes] = field(default_factory=list)
    size: int = 0

    def add(self, entries: list[bytes], weight: int) -> list[bytes]:
        """Add a record's entries; returns the full Bundle's entries that had to make room (or none)."""
        full = len(self.entries) + len(entries) > self.bounds.entries or self.size + weight > self.bounds.bytes
        out = self.take() if full and self.entries else []
        self.entries += entries
        self.size += weight
        return out

    def take(self) -> list[bytes]:
        out, self.entries, self.size = self.entries, [], 0
        return out


@dataclass
class _Transform:
    """One slice on its way from staged rows to staged Bundles, by its only worker."""

    environment: Environment
    run: RunRow
    options: RunOptions
    slice: SliceRow
    twice: frozenset[str] = frozenset()
    """Keys of which there are several rows."""
    counts: Counter[str] = field(default_factory=Counter)
    bundles: int = 0
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        migration = self.environment.migration
        self.spec, self.entity = migration.specs[self.slice.entity], migration.entities[self.slice.entity]
        self.staging = self.environment.staging(self.run.id)
        self.bounds = Bounds(entries=self.options.batch_size)
        self.stacker = _Stacker(self.bounds)
        self.hold = Hold(self.environment, self.run, self.slice)
        self.breaker = Breaker(self.slice.entity, stop_share(self.run, self.slice, self.options))

    def carry_out(self) -> Counter[str]:
        """Returns the records by disposition.

        The keys were unique when the run was prepared; since then a join may have found a second row of one, and each
        would be created under the one name. Nobody knows which of them is the record, so it is set aside.
        """
        gone = self._all_rows()
        if not self.twice and (twice := self._keys_of_several_rows()):
            return _Transform(self.environment, self.run, self.options, self.slice, twice).carry_out()
        with self.hold.writing() as connection:
            records = gone_records(connection, self.run, self.slice, self.spec.version, sorted(gone))
            write_records(connection, self.run.id, records, [])
            record_files(connection, self.run.id, self.staging.written)
            runs.set_stage(connection, self.run.id, self.slice.id, SliceStage.TRANSFORMED, self.bundles)
        return self.counts

    def _all_rows(self) -> set[str]:
        """Map and stage everything; returns those of the slice's given keys that have no row."""
        with self.hold.writing() as connection:
            forget_slice(connection, self.run.id, self.slice.id, self.slice.entity)
        gone = set(self.slice.keys or ()) - self._carry_over()
        with pulse_of(self.environment, self.run, "transform", [self.slice], self.tally).beating() as pulse:
            for page in chunked(self.staging.read_rows(self.slice.id), _ROWS_AT_ONCE):
                pulse.heed()
                gone -= self._page(page)
        self._stage(self.stacker.take())
        return gone

    def _keys_of_several_rows(self) -> frozenset[str]:
        """Looked for where there are fewer records than rows."""
        with self.environment.manifest.begin() as connection:
            if count_lines(connection, self.run.id, self.slice.id) >= self.counts.total():
                return frozenset()
        rows = Counter(self.entity.ledger_key_of(row) for _, row in self.staging.read_rows(self.slice.id))
        rows.update(self.staging.read_keys(self.slice.id))
        return frozenset(key for key, number in rows.items() if number > 1)

    def _mapped(self, row: Row) -> MappedRow:
        key = self.entity.ledger_key_of(row)
        if key in self.twice:
            return MappedRow(key, Disposition.QUARANTINED, Reason.KEY_NOT_UNIQUE, self.entity.key[0])
        return map_row(self.spec, self.entity, row, self.environment.migration.settings)

    def _carry_over(self) -> set[str]:
        """What needs no work ends as it did before; returns the keys."""
        found: set[str] = set()
        systems = self.environment.migration.systems[self.slice.entity]
        for keys in chunked(self.staging.read_keys(self.slice.id), _KEYS_AT_ONCE):
            with self.hold.writing() as connection:
                carried = carry_over(connection, self.run, self.slice, systems, keys)
            if missing := len(keys) - carried.total():
                raise StagingError(
                    f"{missing} unchanged records of {self.slice.entity} have no line to carry over.",
                    "Start a new run: it stages them.",
                )
            self.counts.update(carried)
            self.breaker.count("", carried.total())
            found.update(keys)
        return found

    def _page(self, page: Sequence[tuple[bytes, Row]]) -> set[str]:
        """Map a page of rows and record what became of them; returns their keys."""
        records: list[SourceRecord] = []
        findings: list[tuple[str, str, str, str]] = []
        for line, row in page:
            mapped, entries, weight, documents = _staged(self._mapped(row), self.bounds)
            for document in documents:
                self.staging.write_document(self.slice.id, document.digest, document.content)
            records.append(self._ledger_line(line, row, mapped))
            findings += [(self.slice.entity, mapped.key, found.reason, found.field) for found in mapped.findings]
            self.counts[mapped.disposition] += 1
            self.breaker.count(mapped.reason)
            if self.breaker.cause:
                break
            self._stage(self.stacker.add(entries, weight))
        with self.hold.writing() as connection:
            write_records(connection, self.run.id, records, findings)
        self.tally.add(
            len(records),
            (each.disposition for each in records if each.disposition is not Disposition.PENDING),
            (each.reason for each in records),
        )
        self.breaker.check()
        return {record.key for record in records}

    def _stage(self, entries: list[bytes]) -> None:
        if entries:
            self.staging.write_bundle(self.slice.id, self.bundles, batch(entries))
            self.bundles += 1

    def _ledger_line(self, line: bytes, row: Row, mapped: MappedRow) -> SourceRecord:
        return SourceRecord(
            entity=self.slice.entity,
            key=mapped.key,
            unit=self.entity.unit_of(row),
            slice_id=self.slice.id,
            disposition=mapped.disposition,
            mapping_version=self.spec.version,
            reason=mapped.reason,
            field=mapped.field,
            place=mapped.place,
            source_digest=row_digest(line),
            fingerprint=self.environment.migration.fingerprint,
        )


def map_row(spec: MappingSpec, entity: SourceEntity, row: Row, settings: MappingSettings) -> MappedRow:
    """Map one row and validate what came out; an invalid resource rejects the row, naming FHIR paths only."""
    key = entity.key_of(row)
    fault = fault_of(key)
    if key is None or fault is not None:
        return MappedRow(ledger_key(key), Disposition.QUARANTINED, str(fault), entity.key[0])
    mapped = apply_mapping(spec, row, key, settings)
    for resource in mapped.resources:
        if found := problems(resource):
            place = f"{resource['resourceType']}: {'; '.join(found[:3])}"
            return MappedRow(
                mapped.key, Disposition.REJECTED, Reason.INVALID_RESOURCE, place=place[:500], findings=mapped.findings
            )
    return mapped


def _staged(mapped: MappedRow, bounds: Bounds) -> tuple[MappedRow, list[bytes], int, Sequence[Document]]:
    """The row's batch entries, their bytes, and what is uploaded by itself because these would be too many.

    A row that is too large even without its documents is rejected.
    """
    entries, weight = _entries(mapped.resources)
    if weight <= bounds.bytes:
        return mapped, entries, weight, ()
    resources, documents = taken_out(mapped.resources)
    entries, weight = _entries(resources)
    if weight <= bounds.bytes:
        return mapped, entries, weight, documents
    place = f"{weight:,} bytes, of which no attachment can be uploaded"
    rejected = MappedRow(mapped.key, Disposition.REJECTED, Reason.TOO_LARGE, place=place, findings=mapped.findings)
    return rejected, [], 0, ()


def _entries(resources: Sequence[Resource]) -> tuple[list[bytes], int]:
    """Batch entries, and their bytes in all."""
    entries = [conditional_update(resource) for resource in resources]
    return entries, sum(len(entry) + 1 for entry in entries)
