"""Accounting: every row of the legacy database, counted anew, has one explained outcome in the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import sqlalchemy as sa

from medferry.errors import MedferryError
from medferry.manifest import source_records as source_units
from medferry.manifest.accounting import AccountRow, accounts, extracted_rows
from medferry.manifest.checks import record_periods
from medferry.manifest.dead_letters import accounts_now
from medferry.manifest.source_records import DISPOSITIONS, PENDING
from medferry.manifest.tables import source_record, target
from medferry.plan.model import Acceptance
from medferry.verification import ledger
from medferry.verification.legacy import KEYS_AT_ONCE, LegacyReader, LegacyRow
from medferry.verification.recorder import CheckRecorder
from medferry.verification.scope import Scope

ACCOUNTING, COUNT, KEYS = "accounting", "source count", "source keys"
GONE = "loaded before, now gone from the source"


def examine_source(scope: Scope, entity: str, recorder: CheckRecorder) -> None:
    """One entity's ledger against itself and against the legacy database."""
    with scope.environment.manifest.begin() as connection:
        rows = [row for row in accounts(connection, scope.run.id) if row.entity == entity]
        extracted = extracted_rows(connection, scope.run.id).get(entity, 0)
    _ledger(scope, entity, rows, extracted, recorder)
    if scope.options.sample is None:
        legacy = LegacyReader(
            scope.environment.source, scope.environment.migration.entities[entity], scope.checks(entity)
        )
        present = ledger.present_by_unit(scope, entity)
        recorder.due(KEYS, sum(present.values()))
        _each(COUNT, lambda: _count(scope, entity, legacy, present, recorder), recorder)
        _each(KEYS, lambda: _keys(scope, entity, legacy, sum(present.values()), recorder), recorder)
    if not scope.options.dry_run:
        _gone(scope, entity, recorder)


def examine_acceptance(scope: Scope, limits: Acceptance, recorder: CheckRecorder) -> None:
    """The plan's thresholds, as shares of the eligible source records of the run.

    A replay holds failures only: judged is what it has made of the whole run that it, or the run it replays, replays.
    """
    with scope.environment.manifest.begin() as connection:
        rows = [accounts_now(connection, scope.run)] if scope.run.replays else accounts(connection, scope.run.id)
    eligible = sum(row.eligible for row in rows)
    for name, number, limit in (
        ("rejected", sum(row.rejected for row in rows), limits.max_rejected_share),
        ("quarantined", sum(row.quarantined for row in rows), limits.max_quarantined_share),
    ):
        check = f"acceptance: {name}"
        recorder.expect(check, f"{number:,} of {eligible:,} {name}; at most {limit:.2%} accepted")
        if number > limit * eligible:
            recorder.different(check, scope.run.id, f"{number} of {eligible} {name}", "over the threshold")
        else:
            recorder.equal(check, eligible)


def _each(name: str, examine: Callable[[], None], recorder: CheckRecorder) -> None:
    try:
        examine()
    except MedferryError as error:
        recorder.unchecked(name, 1, error.problem)


def _ledger(scope: Scope, entity: str, rows: list[AccountRow], extracted: int, recorder: CheckRecorder) -> None:
    """eligible = successful + rejected + skipped + quarantined; nothing pending; no extracted row without a line."""
    eligible = sum(row.eligible for row in rows)
    disposition, reason = source_record.c.disposition, source_record.c.reason
    open_ends = {
        "unknown": ~disposition.in_((*DISPOSITIONS, PENDING)),
        "without a reason": sa.and_(disposition.in_(set(DISPOSITIONS) - {"successful"}), reason == ""),
    }
    if not scope.options.dry_run:
        open_ends["pending"] = disposition == PENDING
    unexplained = 0
    for kind, condition in open_ends.items():
        for keys in _ledger_keys(scope, entity, condition):
            unexplained += len(keys)
            for key in keys:
                recorder.different(ACCOUNTING, key, "disposition", kind)
    recorder.equal(ACCOUNTING, eligible - unexplained)
    if eligible != extracted:
        recorder.different(ACCOUNTING, entity, f"{extracted} extracted, {eligible} in the ledger", "other number")


def _ledger_keys(scope: Scope, entity: str, *conditions: sa.ColumnElement[bool]) -> Iterator[list[str]]:
    """The entity's source keys in the run, 1,000 at once."""
    after = ""
    while True:
        mine = (source_record.c.run_id == scope.run.id, source_record.c.entity == entity, source_record.c.key > after)
        statement = sa.select(source_record.c.key).where(*mine, *conditions).order_by(source_record.c.key)
        with scope.environment.manifest.begin() as connection:
            keys = list(connection.scalars(statement.limit(KEYS_AT_ONCE)))
        if not keys:
            return
        after = keys[-1]
        yield keys


def _count(scope: Scope, entity: str, legacy: LegacyReader, present: dict[str, int], recorder: CheckRecorder) -> None:
    """The source's own count per unit against the ledger's."""
    if entity in scope.keys:
        counts = dict(Counter(row.unit for row in legacy.rows_by_key(sorted(scope.keys[entity]))))
    else:
        counts = legacy.count_by_unit()
    planned = set(scope.environment.migration.plan.unit_ids)
    for unit in sorted({*scope.run.units, *(counts.keys() - planned)}):
        there, here = counts.get(unit, 0), present.get(unit, 0)
        if there == here:
            recorder.equal(COUNT, there)
        else:
            recorder.different(COUNT, f"unit {unit}", f"{there} in the source, {here} in the ledger", "other number")
    recorder.expect(COUNT)


def _keys(scope: Scope, entity: str, legacy: LegacyReader, eligible: int, recorder: CheckRecorder) -> None:
    """Each row of the source has its line, in its unit; and by unit, period and disposition the counts of them."""
    counts: Counter[tuple[str, str, str]] = Counter()
    wanted = scope.keys.get(entity)
    rows = legacy.all_rows() if wanted is None else legacy.rows_by_key(sorted(wanted))
    units = set(scope.run.units)
    found = 0
    for some in _groups(row for row in rows if row.unit in units):
        lines = ledger.dispositions(scope, entity, [row.key for row in some])
        found += sum(disposition != ledger.GONE for _, disposition in lines.values())
        for row in some:
            unit, disposition = lines.get(row.key, (None, "missing"))
            counts[row.unit, row.period, disposition] += 1
            kind = _key_fault(row, unit, disposition)
            recorder.judge(KEYS, row.key, "unit" if kind == "other unit" else "", kind)
    recorder.expect(KEYS)
    if found != eligible:
        _gone_since(scope, entity, legacy, recorder)
    with scope.environment.manifest.begin() as connection:
        record_periods(connection, scope.run.id, entity, [(*line, rows) for line, rows in sorted(counts.items())])


def _key_fault(row: LegacyRow, unit: str | None, disposition: str) -> str | None:
    if unit is None:
        return "not in the ledger"
    if disposition == ledger.GONE:
        return "gone in the ledger"
    return "other unit" if unit != row.unit else None


def _gone_since(scope: Scope, entity: str, legacy: LegacyReader, recorder: CheckRecorder) -> None:
    """Ledger lines whose row the source does not have any more, but for those that say so."""
    for keys in _ledger_keys(scope, entity, source_record.c.reason != source_units.GONE):
        there = {row.key for row in legacy.rows_by_key(keys)}
        for key in keys:
            if key not in there:
                recorder.different(KEYS, key, "", "not in the source")


def _gone(scope: Scope, entity: str, recorder: CheckRecorder) -> None:
    """Resources of earlier runs whose source row has since vanished or is skipped now (deleted, merged away).

    A replay is about its own keys alone: what else there is, is none of its concern.
    """
    here = sa.and_(
        source_record.c.run_id == scope.run.id,
        source_record.c.entity == target.c.entity,
        source_record.c.key == target.c.value,
    )
    earlier = source_record.alias("earlier")
    in_scope = sa.exists().where(
        earlier.c.entity == target.c.entity, earlier.c.key == target.c.value, earlier.c.unit.in_(scope.run.units)
    )
    ours = sa.and_(target.c.migration == scope.run.migration, target.c.entity == entity, in_scope)
    gone = source_record.c.disposition == "skipped"
    if entity not in scope.keys:
        gone = sa.or_(source_record.c.key.is_(None), gone)
    columns = (target.c.value, target.c.resource_type, target.c.medplum_id)
    statement = sa.select(*columns).select_from(target.outerjoin(source_record, here)).where(ours, gone)
    with scope.environment.manifest.begin() as connection:
        number = connection.scalar(sa.select(sa.func.count()).select_from(target).where(ours)) or 0
        found = [tuple(row) for row in connection.execute(statement)]
    for key, resource_type, medplum_id in found:
        recorder.different(GONE, key, "", "gone", f"{resource_type}/{medplum_id}")
    recorder.equal(GONE, number - len(found))


def _groups(rows: Iterable[LegacyRow]) -> Iterator[list[LegacyRow]]:
    pending = iter(rows)
    while some := list(islice(pending, KEYS_AT_ONCE)):
        yield some
