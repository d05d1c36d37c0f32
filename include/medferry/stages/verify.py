"""Verify: read the legacy database and Medplum again and account for every difference.

Shares nothing with transform and load but the plan and the manifest. Every check says "equal", "different" or "could
not check"; a run is proven only when all of them are equal.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from medferry.errors import MedferryError, VerificationFailed
from medferry.fhir.references import references
from medferry.manifest.accounting import AccountRow, accounts, extracted_rows
from medferry.manifest.checks import COULD_NOT_CHECK, CheckResult, compared, record_checks
from medferry.manifest.runs import RunRow, get_run
from medferry.manifest.tables import source_unit, target
from medferry.medplum.client import PAGE, MedplumClient
from medferry.plan.model import Acceptance
from medferry.source.database import snapshot
from medferry.source.slices import count_by_unit
from medferry.stages.environment import Environment
from medferry.stages.options import RunOptions

Progress = Callable[[str], None]
"""Called with the name of each entity whose check begins."""


def verify_run(environment: Environment, run_id: str, progress: Progress = lambda _: None) -> list[CheckResult]:
    """Run all checks of a run, record them and return them. Raises UnknownRun.

    A dry run wrote nothing: only its accounting against the source is checked.
    """
    with environment.manifest.begin() as connection:
        run = get_run(connection, run_id)
        rows = accounts(connection, run_id)
        extracted = extracted_rows(connection, run_id)
    options = RunOptions.model_validate(run.options)
    results = [*_accounting(run, rows, extracted, options.dry_run)]
    if options.sample is None:
        results += _source_counts(environment, run, rows)
    if not options.dry_run:
        results += _stale(environment, run)
        results += _acceptance(rows, environment.migration.plan.acceptance)
        results += _medplum(environment, run, options, progress)
    with environment.manifest.begin() as connection:
        record_checks(connection, run_id, results)
    return results


def require_equal(results: list[CheckResult]) -> None:
    """Raises VerificationFailed unless every check is "equal"."""
    bad = [result for result in results if result.status != "equal"]
    if bad:
        names = ", ".join(sorted({f"{result.name} of {result.entity} ({result.status})" for result in bad})[:8])
        raise VerificationFailed(
            f"{len(bad)} of {len(results)} checks are not equal: {names}.",
            "Open the reconciliation report; nothing was changed by the verification.",
        )


# -- the ledger against itself and the source ----------------------------------------------------------


def _accounting(run: RunRow, rows: list[AccountRow], extracted: dict[str, int], dry_run: bool) -> Iterator[CheckResult]:
    """eligible = successful + rejected + skipped + quarantined; nothing pending; no extracted row without a line."""
    for entity in run.entities:
        mine = [row for row in rows if row.entity == entity]
        eligible = sum(row.eligible for row in mine)
        bad = [f"unit {row.unit}: {row.pending} pending" for row in mine if not dry_run and not row.balanced]
        if eligible != extracted.get(entity, 0):
            bad.append(f"{extracted.get(entity, 0)} extracted, {eligible} in the ledger")
        yield compared("accounting", entity, eligible, bad)


def _source_counts(environment: Environment, run: RunRow, rows: list[AccountRow]) -> Iterator[CheckResult]:
    """The source's own count per unit, by a query of its own, against the ledger's."""
    ledger = {(row.unit, row.entity): row.eligible for row in rows}
    for name in run.entities:
        entity = environment.migration.entities[name]
        try:
            with snapshot(environment.source) as connection:
                counts = count_by_unit(connection, entity, environment.migration.plan.unit_ids)
        except MedferryError as error:
            yield CheckResult("source count", name, COULD_NOT_CHECK, 0, examples=[error.problem])
            continue
        pairs = {unit: (counts.get(unit, 0), ledger.get((unit, name), 0)) for unit in run.units}
        bad = [
            f"unit {unit}: {there} in the source, {here} in the ledger"
            for unit, (there, here) in pairs.items()
            if there != here
        ]
        yield compared("source count", name, sum(there for there, _ in pairs.values()), bad)


def _stale(environment: Environment, run: RunRow) -> Iterator[CheckResult]:
    """Resources of earlier runs whose source row has since vanished or is skipped now (deleted, merged away)."""
    now_there = sa.and_(
        source_unit.c.run_id == run.id, source_unit.c.entity == target.c.entity, source_unit.c.key == target.c.value
    )
    earlier = source_unit.alias("earlier")
    in_scope = sa.exists().where(
        earlier.c.entity == target.c.entity, earlier.c.key == target.c.value, earlier.c.unit.in_(run.units)
    )
    gone = sa.or_(source_unit.c.key.is_(None), source_unit.c.disposition == "skipped")
    for entity in run.entities:
        ours = sa.and_(target.c.migration == run.migration, target.c.entity == entity, in_scope)
        joined = target.outerjoin(source_unit, now_there)
        with environment.manifest.begin() as connection:
            number = connection.scalar(sa.select(sa.func.count()).select_from(target).where(ours)) or 0
            stale = connection.execute(
                sa.select(target.c.resource_type, target.c.medplum_id).select_from(joined).where(ours, gone)
            )
            names = [f"{resource_type}/{medplum_id}" for resource_type, medplum_id in stale]
        yield compared("loaded before, now gone from the source", entity, number, names)


def _acceptance(rows: list[AccountRow], limits: Acceptance) -> Iterator[CheckResult]:
    """The plan's thresholds, as shares of the eligible source units of the run."""
    eligible = sum(row.eligible for row in rows)
    for name, number, limit in (
        ("rejected", sum(row.rejected for row in rows), limits.max_rejected_share),
        ("quarantined", sum(row.quarantined for row in rows), limits.max_quarantined_share),
    ):
        over = [f"{number} of {eligible} {name}, at most {limit:.2%} accepted"] if number > limit * eligible else []
        yield compared(f"acceptance: {name}", "all", eligible, over)


# -- Medplum against the ledger ------------------------------------------------------------------------


def _medplum(environment: Environment, run: RunRow, options: RunOptions, progress: Progress) -> Iterator[CheckResult]:
    """Identifiers, versions and references of every resource under the run's identifier systems."""
    outside: dict[str, dict[str, set[str]]] = {}
    seen: set[str] = set()
    with environment.medplum(options) as client:
        for entity in run.entities:
            progress(entity)
            try:
                check, found, pointed = _compare_entity(environment, client, run, entity)
            except MedferryError as error:
                yield CheckResult("identifiers", entity, COULD_NOT_CHECK, 0, examples=[error.problem])
                continue
            yield from check
            seen |= found
            outside[entity] = pointed
        for entity, pointed in outside.items():
            yield _references(client, entity, pointed, seen)


def _compare_entity(
    environment: Environment, client: MedplumClient, run: RunRow, entity: str
) -> tuple[list[CheckResult], set[str], dict[str, set[str]]]:
    """Walk all resources of an entity's systems; returns checks, "Type/id" seen, and reference → its holders."""
    missing: list[str] = []
    unexpected: list[str] = []
    duplicate: list[str] = []
    changed: list[str] = []
    seen: set[str] = set()
    pointed: dict[str, set[str]] = defaultdict(set)
    number = 0
    for slot, resource_type in environment.migration.specs[entity].produces.items():
        system = environment.migration.naming.system(entity, slot)
        ours = _crosswalk(environment, run.migration, system)
        found: Counter[str] = Counter()
        for resource in _unique(client.search_all(resource_type, [("identifier", f"{system}|")])):
            value = next(i["value"] for i in resource["identifier"] if i.get("system") == system)
            here = f"{resource_type}/{resource['id']}"
            found[value] += 1
            seen.add(here)
            if value not in ours:
                unexpected.append(f"{system}|{value}")
            elif ours[value] != (resource["id"], resource["meta"]["versionId"]):
                changed.append(here)
            for reference in references(resource):
                pointed[reference["reference"]].add(here)
        number += len(ours)
        missing += [f"{system}|{value}" for value in ours.keys() - found.keys()]
        duplicate += [f"{system}|{value}" for value, times in found.items() if times > 1]
    checks = [
        compared("identifiers: missing in Medplum", entity, number, missing),
        compared("identifiers: unexpected in Medplum", entity, number, unexpected),
        compared("identifiers: more than once", entity, number, duplicate),
        compared("versions: changed since the load", entity, number, changed),
    ]
    return checks, seen, pointed


def _references(client: MedplumClient, entity: str, pointed: dict[str, set[str]], seen: set[str]) -> CheckResult:
    """Every reference is literal and its target exists."""
    asked: dict[str, list[str]] = defaultdict(list)
    bad: list[str] = []
    for reference in pointed.keys() - seen:
        resource_type, slash, medplum_id = reference.partition("/")
        if slash and "?" not in reference and ":" not in reference:
            asked[resource_type].append(medplum_id)
        else:
            bad += [f"{holder} → not literal" for holder in pointed[reference]]
    try:
        for resource_type, ids in asked.items():
            for start in range(0, len(ids), PAGE):
                some = ids[start : start + PAGE]
                gone = set(some) - client.by_id(resource_type, some).keys()
                bad += [f"{h} → {resource_type}/{i}" for i in gone for h in pointed[f"{resource_type}/{i}"]]
    except MedferryError as error:
        return CheckResult("references resolve", entity, COULD_NOT_CHECK, len(pointed), examples=[error.problem])
    return compared("references resolve", entity, len(pointed), bad)


def _crosswalk(environment: Environment, migration: str, system: str) -> dict[str, tuple[str, str]]:
    """Identifier value → (id, version) as the ledger has it."""
    columns = (target.c.value, target.c.medplum_id, target.c.version_id)
    statement = sa.select(*columns).where(target.c.migration == migration, target.c.system == system)
    with environment.manifest.begin() as connection:
        return {value: (medplum_id, version) for value, medplum_id, version in connection.execute(statement)}


def _unique(resources: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each resource once: a cursor walk may show one again when it changes on the way."""
    seen: set[str] = set()
    for resource in resources:
        if resource["id"] not in seen:
            seen.add(resource["id"])
            yield resource
