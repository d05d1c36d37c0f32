"""Identity: the identifiers in Medplum are those of the manifest, each once, and the manifest has every one it must."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from medferry.definition.checks import EntityChecks
from medferry.fhir.references import system_token
from medferry.manifest.crosswalk import find_targets
from medferry.manifest.tables import source_record, target
from medferry.medplum.client import PAGE, MedplumClient
from medferry.verification.ledger import dispositions
from medferry.verification.legacy import condition
from medferry.verification.pages import Page, WrittenResource
from medferry.verification.recorder import CheckRecorder
from medferry.verification.scope import Scope

MISSING, UNEXPECTED = "identifiers: missing in Medplum", "identifiers: unexpected in Medplum"
TWICE, OWN = "identifiers: more than once", "identifiers: as in the manifest"
MANIFEST = "manifest: resources of successful rows"
STRAY = "manifest: resources without a row"


def examine_page(
    page: Page,
    rows: dict[str, dict[str, Any]] | None,
    checks: EntityChecks | None,
    run_id: str,
    recorder: CheckRecorder,
) -> None:
    """Every successful row has the resources in the manifest that the legacy database says it must have.

    `rows` are the values of the checks' SQL; without checks one resource a row is all that is known. And of a row
    that is not successful this run has written nothing.
    """
    recorder.due(MANIFEST, len(page.successful))
    for key, disposition in page.units.items():
        held = {slot: found[key] for slot, found in page.written.items() if key in found}
        known = checks is not None and rows is not None and key in rows
        wanted = _wanted(checks, rows[key]) if checks and rows and key in rows else set(held)
        if disposition != "successful":
            ours = {slot for slot, written in held.items() if written.run_id == run_id}
            whole = bool(wanted) and wanted <= ours and (known or len(page.written) == 1)
            kind = "written all the same" if whole else "partly written" if ours else None
            recorder.judge(MANIFEST, key, disposition, kind)
        elif not known or not (wanted or held):
            recorder.judge(MANIFEST, key, "", None if held else "no resource")
        else:
            for slot in wanted | held.keys():
                kind = None if slot in wanted & held.keys() else "missing" if slot in wanted else "unexpected"
                recorder.judge(MANIFEST, key, slot, kind)


def _wanted(checks: EntityChecks, row: dict[str, Any]) -> set[str]:
    return {slot for slot, one in checks.resources.items() if row[condition(one.when)]}


def examine_strays(scope: Scope, entity: str, recorder: CheckRecorder) -> None:
    """The crosswalk has nothing that no row of any run became."""
    row = sa.exists().where(source_record.c.entity == target.c.entity, source_record.c.key == target.c.value)
    mine = (target.c.migration == scope.run.migration, target.c.entity == entity)
    columns = (target.c.value, target.c.resource_type, target.c.medplum_id)
    with scope.environment.manifest.begin() as connection:
        found = connection.execute(sa.select(*columns).where(*mine, ~row)).all()
    for key, resource_type, medplum_id in found:
        recorder.different(STRAY, key, "", "no row", f"{resource_type}/{medplum_id}")
    recorder.expect(STRAY)


def examine(written: WrittenResource, resource: dict[str, Any], recorder: CheckRecorder) -> None:
    """The resource carries its source identifier, once, and no other of that system."""
    values = values_of(resource, written.system)
    kind = None if values == [written.key] else "missing" if written.key not in values else "more than one"
    recorder.judge(OWN, written.key, f"identifier {written.slot}", kind, written.place)


def examine_system(
    client: MedplumClient, scope: Scope, entity: str, slot: str, read: int, missing: int, recorder: CheckRecorder
) -> None:
    """Whatever Medplum has under a slot's identifier system is in the manifest.

    `read` of the run's resources were looked for, of which `missing` were not there. When the server counts as many as
    must be there, and the manifest knows no others, nothing else can be there; otherwise they are walked and named.
    Raises MedferryError when Medplum does not answer.
    """
    system, resource_type = scope.systems(entity)[slot], scope.type_of(entity, slot)
    known = scope.targets_of(system)
    there = client.count(resource_type, [("identifier", system_token(system))])
    if known == read and there == read - missing:
        recorder.equal(UNEXPECTED, there)
        recorder.equal(TWICE, there)
        return
    seen = _walk(client, scope, system, resource_type, recorder)
    if seen < there:
        recorder.unchecked(UNEXPECTED, there - seen, "The server counts more resources than its walk shows.")
    if known > read:
        _others(client, scope, entity, slot, recorder)


def _walk(client: MedplumClient, scope: Scope, system: str, resource_type: str, recorder: CheckRecorder) -> int:
    """Compare each resource under a system with the crosswalk; returns how many there are."""
    seen = 0
    form = [("identifier", system_token(system)), ("_fields", "id,identifier")]
    for some in _groups(client.search_all(resource_type, form)):
        names = {one["id"]: values_of(one, system) for one in some}
        with scope.environment.manifest.begin() as connection:
            wanted = [(system, value) for values in names.values() for value in values]
            ours = find_targets(connection, scope.run.migration, wanted)
        seen += len(names)
        for medplum_id, values in names.items():
            for value in values:
                place, known = f"{resource_type}/{medplum_id}", ours.get((system, value))
                recorder.judge(UNEXPECTED, value, "identifier", "unexpected" if known is None else None, place)
                twice = known is not None and known.medplum_id != medplum_id
                recorder.judge(TWICE, value, "identifier", "another resource" if twice else None, place)
    return seen


def _others(client: MedplumClient, scope: Scope, entity: str, slot: str, recorder: CheckRecorder) -> None:
    """Resources of rows that are not in this run (an earlier wave's): they must still be there."""
    system, resource_type = scope.systems(entity)[slot], scope.type_of(entity, slot)
    after = ""
    while True:
        mine = (target.c.migration == scope.run.migration, target.c.system == system, target.c.value > after)
        statement = sa.select(target.c.value, target.c.medplum_id).where(*mine).order_by(target.c.value).limit(PAGE)
        with scope.environment.manifest.begin() as connection:
            names = {medplum_id: value for value, medplum_id in connection.execute(statement)}
        if not names:
            return
        after = list(names.values())[-1]
        form = [("_id", ",".join(names)), ("_fields", "id"), ("_count", str(PAGE))]
        found = {entry["resource"]["id"] for entry in client.search(resource_type, form).get("entry", [])}
        in_run = dispositions(scope, entity, list(names.values()))
        for medplum_id, value in names.items():
            if value not in in_run:
                kind = None if medplum_id in found else "missing"
                recorder.judge(MISSING, value, slot, kind, f"{resource_type}/{medplum_id}")


def values_of(resource: dict[str, Any], system: str) -> list[str]:
    """The values of a resource's identifiers of a system. Some types have one identifier, and not a list of them."""
    held = resource.get("identifier", [])
    listed = held if isinstance(held, list) else [held]
    return [str(one.get("value", "")) for one in listed if isinstance(one, dict) and one.get("system") == system]


def _groups(resources: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """By 500; a resource that a walk shows twice in one group counts once, and twice otherwise is no fault."""
    group: list[dict[str, Any]] = []
    for resource in resources:
        group.append(resource)
        if len(group) == PAGE // 2:
            yield group
            group = []
    if group:
        yield group
