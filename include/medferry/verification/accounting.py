"""Accounting: every row of the legacy database, counted again, has one explained outcome in the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from more_itertools import chunked

from medferry.errors import MedferryError
from medferry.manifest.accounting import extracted_rows
from medferry.manifest.checks import PeriodCount
from medferry.manifest.crosswalk import Place, count_resources_of, left_behind, places_of, skipped_places
from medferry.manifest.leftover_acts import inactivated
from medferry.manifest.subject import (
    Record,
    count_by_disposition,
    present_by_unit,
    present_keys,
    records_by_key,
    unexplained_keys,
)
from medferry.plan.model import LeftoverPolicy
from medferry.verification.legacy import KEYS_AT_ONCE, LegacyReader, LegacyRow
from medferry.verification.recorder import CheckRecorder
from medferry.verification.scope import VerificationScope
from medferry.verification.source_rows import AS_LOADED, examine_source_rows

ACCOUNTING, COUNT, KEYS, ROWS = "accounting", "source count", "source keys", "source rows"
GONE = "loaded before, now gone from the source"
MOVED = "loaded before, now in a unit that nobody loads"

_BY_ITSELF = "Counted by the entity's own SQL, for want of checks: rows that it leaves out are not seen."


def examine_source(scope: VerificationScope, entity: str, recorder: CheckRecorder) -> None:
    """One entity's records against themselves and against the legacy database."""
    _explain(scope, entity, recorder)
    legacy = LegacyReader(scope.environment.source, scope.migration.entities[entity], scope.checks(entity))
    if scope.options.sample is None:
        _compare_source(scope, entity, legacy, recorder)
    if not scope.options.dry_run:
        _unless_silent(lambda: examine_source_rows(scope, entity, recorder), recorder, AS_LOADED)
    if scope.run is None:
        _skipped(scope, entity, recorder)
    elif not scope.options.dry_run:
        run_id = scope.run.id
        _unless_silent(lambda: _left_behind(scope, run_id, entity, legacy, recorder), recorder, GONE)


def examine_rows(scope: VerificationScope, recorder: CheckRecorder) -> None:
    """The subject has records at all: an empty database, or the wrong one, proves nothing."""
    if scope.run is None and scope.keys:
        return  # of each key is told whether anybody knows it
    with scope.environment.manifest.begin() as connection:
        counts = [count_by_disposition(connection, scope.records, entity) for entity in scope.entities]
    number = sum(sum(by.values()) for by in counts)
    recorder.equal(ROWS, number)
    recorder.expect(ROWS, "" if number else "The legacy database has no row of the subject.")


def _explain(scope: VerificationScope, entity: str, recorder: CheckRecorder) -> None:
    """eligible = successful + rejected + skipped + quarantined; nothing pending; no extracted row without a line."""
    pending_too = scope.run is not None and not scope.options.dry_run
    unexplained = 0
    for kind, keys in unexplained_keys(scope.environment.manifest, scope.records, entity, pending_too):
        unexplained += len(keys)
        for key in keys:
            recorder.different(ACCOUNTING, key, "disposition", kind)
    with scope.environment.manifest.begin() as connection:
        eligible = sum(count_by_disposition(connection, scope.records, entity).values())
        extracted = extracted_rows(connection, scope.run.id).get(entity, 0) if scope.run else eligible
    recorder.equal(ACCOUNTING, eligible - unexplained)
    if eligible != extracted:
        recorder.over_limit(ACCOUNTING, entity, f"{extracted} extracted, {eligible} in the ledger", "other number")


def _compare_source(scope: VerificationScope, entity: str, legacy: LegacyReader, recorder: CheckRecorder) -> None:
    """Number and keys of the source's rows; whatever the source does not answer could not be checked."""
    with scope.environment.manifest.begin() as connection:
        present = Counter(present_by_unit(connection, scope.records, entity))
    if scope.run is not None:
        _unless_silent(lambda: _count(scope, entity, legacy, present, recorder), recorder, COUNT)
        _unless_silent(lambda: _keys(scope, entity, legacy, present, recorder), recorder, KEYS)
        return

    def compare() -> None:
        vanished = _keys(scope, entity, legacy, present, recorder)
        _count(scope, entity, legacy, present - vanished, recorder)

    _unless_silent(compare, recorder, COUNT, KEYS, GONE)


def _unless_silent(examine: Callable[[], object], recorder: CheckRecorder, *names: str) -> None:
    try:
        examine()
    except MedferryError as error:
        for name in names:
            recorder.unchecked(name, 1, error.problem)


def _count(
    scope: VerificationScope, entity: str, legacy: LegacyReader, present: Counter[str], recorder: CheckRecorder
) -> None:
    """The source's own count per unit against the manifest's."""
    if entity in scope.keys:
        counts = dict(Counter(row.unit for row in legacy.rows_by_key(sorted(scope.keys[entity]))))
    else:
        counts = legacy.count_by_unit()
        _any_row(scope, entity, sum(counts.values()), recorder)
    planned = set(scope.migration.plan.unit_ids)
    for unit in sorted({*scope.units[entity], *(counts.keys() - planned)}):
        there, here = counts.get(unit, 0), present.get(unit, 0)
        if there == here:
            recorder.equal(COUNT, there)
        else:
            recorder.other_number(COUNT, unit, there, here)
    recorder.expect(COUNT, "" if legacy.checks else _BY_ITSELF)


def _any_row(scope: VerificationScope, entity: str, rows: int, recorder: CheckRecorder) -> None:
    """The entity has rows, in whatever unit, unless the plan says that it need not: else nothing of it is proven."""
    if rows:
        recorder.equal(ROWS, rows)
    elif entity not in scope.migration.plan.acceptance.may_be_empty:
        recorder.expect(ROWS, "The legacy database has no row of it in any unit; the plan may say may_be_empty.")


def _keys(
    scope: VerificationScope, entity: str, legacy: LegacyReader, present: Counter[str], recorder: CheckRecorder
) -> Counter[str]:
    """Each row of the source has its record, in its unit; and by unit, period and disposition the counts of them.

    Returns by unit how many records have no row any more, which is no fault of a subject that is judged as it is now.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    keys = scope.keys.get(entity)
    rows = legacy.all_rows() if keys is None else legacy.rows_by_key(sorted(keys))
    units, found, seen = scope.units[entity], 0, set[str]()
    elsewhere = {*scope.migration.plan.unit_ids} - units
    for group in chunked((row for row in rows if row.unit not in elsewhere), KEYS_AT_ONCE):
        with scope.environment.manifest.begin() as connection:
            records = records_by_key(connection, scope.records, entity, [row.key for row in group])
        found += sum(not record.gone for record in records.values())
        for row in group:
            record = records.get(row.key)
            counts[row.unit, row.period, _disposition(record)] += 1
            kind = _key_fault(row, record)
            recorder.judge(KEYS, row.key, "unit" if kind in ("other unit", "in no unit") else "", kind)
        seen.update(row.key for row in group if keys is not None)
    recorder.expect(KEYS)
    recorder.periods += [PeriodCount(entity, *line, number) for line, number in sorted(counts.items())]
    vanished = _rowless(scope, entity, legacy, recorder) if found != present.total() else Counter[str]()
    recorder.due(KEYS, (present - vanished).total())
    if keys is not None and scope.run is None:
        _nowhere(scope, entity, sorted(keys - seen), recorder)
    return vanished


def _disposition(record: Record | None) -> str:
    if record is None:
        return "missing"
    return "gone" if record.gone else record.disposition


def _key_fault(row: LegacyRow, record: Record | None) -> str | None:
    if record is None:
        return "not in the ledger"
    if record.gone:
        return "gone in the ledger"
    if not row.unit:
        return "in no unit"
    return "other unit" if record.unit != row.unit else None


def _rowless(scope: VerificationScope, entity: str, legacy: LegacyReader, recorder: CheckRecorder) -> Counter[str]:
    """Records without a row in their unit. That is a fault of a run; now, only of a resource that was left behind.

    Returns those that have no row at all, or one that nobody loads, by unit, where they are no fault.
    """
    vanished: Counter[str] = Counter()
    for units in present_keys(scope.environment.manifest, scope.records, entity):
        rows = {row.key: row.unit for row in legacy.rows_by_key(list(units))}
        moved = {key: unit for key, unit in rows.items() if scope.run is None and scope.nobody_loads(entity, unit)}
        for key in rows.keys() - moved.keys():
            if rows[key] not in scope.units[entity]:
                recorder.different(KEYS, key, "unit", "other unit")
        gone = [key for key in units if key not in rows]
        if scope.run is not None:
            for key in gone:
                recorder.different(KEYS, key, "", "not in the source")
            continue
        vanished.update(units[key] for key in (*gone, *moved))
        with scope.environment.manifest.begin() as connection:
            places = places_of(connection, scope.migration.name, entity, (*gone, *moved))
        _tell_gone(scope, entity, places, moved, recorder)
    return vanished


def _nowhere(scope: VerificationScope, entity: str, keys: Sequence[str], recorder: CheckRecorder) -> None:
    """Of the keys that were asked for, those that neither the source nor the manifest has."""
    with scope.environment.manifest.begin() as connection:
        known = records_by_key(connection, scope.records, entity, keys)
    for key in keys:
        if key not in known:
            recorder.different(KEYS, key, "", "unknown")


def _tell_gone(
    scope: VerificationScope, entity: str, places: Sequence[Place], moved: Mapping[str, str], recorder: CheckRecorder
) -> int:
    """Of rows that are gone, or that have `moved` to a unit (key → unit) that nobody loads: both by the plan's policy.

    Those that were inactivated are judged with the leftovers.
    """
    with scope.environment.manifest.begin() as connection:
        done = inactivated(connection, scope.migration.name, [place.partition("/")[2] for _, place in places])
    for key, place in places:
        name, field, kind = (MOVED, moved[key], "nobody loads it") if key in moved else (GONE, "", "gone")
        if place.partition("/")[2] in done:
            recorder.equal(name)
        elif scope.migration.plan.leftovers_of(entity) is LeftoverPolicy.KEEP:
            recorder.keep_by_policy(name)
        else:
            recorder.different(name, key, field, kind, place)
    return len(places)


def _left_behind(
    scope: VerificationScope, run_id: str, entity: str, legacy: LegacyReader, recorder: CheckRecorder
) -> None:
    """Resources of earlier runs whose source row has since vanished or is skipped now (deleted, merged away).

    A replay is about its own keys alone: what else there is, is none of its concern. A row that has moved to a unit
    that others load is theirs; of one that nobody loads Medplum keeps what was loaded, whatever becomes of the row.
    """
    units, whole = sorted(scope.units[entity]), entity not in scope.keys
    with scope.environment.manifest.begin() as connection:
        places, number = left_behind(connection, scope.migration.name, run_id, entity, units, whole)
        lines = records_by_key(connection, scope.records, entity, [key for key, _ in places])
    there = {row.key: row.unit for row in legacy.rows_by_key([key for key, _ in places if key not in lines])}
    moved = {key: unit for key, unit in there.items() if scope.nobody_loads(entity, unit)}
    left = [place for place in places if place[0] not in there or place[0] in moved]
    recorder.equal(GONE, number - _tell_gone(scope, entity, left, moved, recorder))


def _skipped(scope: VerificationScope, entity: str, recorder: CheckRecorder) -> None:
    """Resources of rows that are skipped now; those of rows that have vanished are found with the keys."""
    with scope.environment.manifest.begin() as connection:
        places = skipped_places(connection, scope.records, entity)
        number = count_resources_of(connection, scope.records, entity)
    recorder.equal(GONE, number - _tell_gone(scope, entity, places, {}, recorder))
