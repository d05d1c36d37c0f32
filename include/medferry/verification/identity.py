"""Identity: the identifiers in Medplum are those of the manifest, each once, and the manifest has every one it must."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from more_itertools import chunked

from medferry.definition.checks import EntityChecks
from medferry.fhir.identifiers import NameParameter, parameter_of
from medferry.fhir.references import system_token
from medferry.manifest.crosswalk import count_resources, find_targets, resource_pages, strays
from medferry.manifest.subject import records_by_key
from medferry.mapping.outcomes import Disposition
from medferry.medplum.client import EXACT_BELOW, PAGE, MedplumClient
from medferry.verification.legacy import condition
from medferry.verification.pages import Page, WrittenResource
from medferry.verification.recorder import CheckRecorder
from medferry.verification.scope import VerificationScope

MISSING, UNEXPECTED = "identifiers: missing in Medplum", "identifiers: unexpected in Medplum"
TWICE, OWN = "identifiers: more than once", "identifiers: as in the manifest"
MANIFEST = "manifest: resources of successful rows"
STRAY = "manifest: resources without a row"

_AT_ONCE = PAGE // 2


def examine_page(
    page: Page, rows: dict[str, dict[str, Any]] | None, checks: EntityChecks | None, recorder: CheckRecorder
) -> None:
    """Every successful row has the resources in the manifest that the legacy database says it must have.

    `rows` are the values of the checks' SQL; without checks one resource a row is all that is known. Of a row that is
    not successful, the run that decided so has written nothing; and none is skipped that must have a resource.
    """
    recorder.due(MANIFEST, len(page.successful))
    for key, record in page.records.items():
        known = {slot: found[key] for slot, found in page.written.items() if key in found}
        declared = checks is not None and rows is not None and key in rows
        wanted = _wanted(checks, rows[key]) if checks and rows and key in rows else set(known)
        if record.disposition != Disposition.SUCCESSFUL:
            written = {slot for slot, resource in known.items() if resource.run_id == record.run_id}
            whole = bool(wanted) and wanted <= written and (declared or len(page.written) == 1)
            kind = "written all the same" if whole else "partly written" if written else None
            if kind is None and declared and wanted and record.disposition == Disposition.SKIPPED:
                kind = "skipped, yet must exist"
            recorder.judge(MANIFEST, key, record.disposition, kind)
        elif not declared or not (wanted or known):
            recorder.judge(MANIFEST, key, "", None if known else "no resource")
        else:
            for slot in wanted | known.keys():
                kind = None if slot in wanted & known.keys() else "missing" if slot in wanted else "unexpected"
                recorder.judge(MANIFEST, key, slot, kind)


def _wanted(checks: EntityChecks, row: dict[str, Any]) -> set[str]:
    return {slot for slot, resource in checks.resources.items() if row[condition(resource.when)]}


def examine_strays(scope: VerificationScope, entity: str, recorder: CheckRecorder) -> None:
    """The crosswalk has nothing that no row of any run became."""
    with scope.environment.manifest.begin() as connection:
        found = strays(connection, scope.migration.name, entity)
    for key, place in found:
        recorder.different(STRAY, key, "", "no row", place)
    recorder.expect(STRAY)


def examine(written: WrittenResource, resource: dict[str, Any], recorder: CheckRecorder) -> None:
    """The resource carries its source identifier (or name tag), once, and no other of that system."""
    values = values_of(resource, written.system)
    kind = None if values == [written.key] else "missing" if written.key not in values else "more than one"
    recorder.judge(OWN, written.key, f"identifier {written.slot}", kind, written.place)


def examine_system(
    client: MedplumClient,
    scope: VerificationScope,
    entity: str,
    slot: str,
    read: int,
    identified: int,
    recorder: CheckRecorder,
) -> None:
    """Whatever Medplum has under a slot's identifier system is in the manifest.

    `read` of the subject's resources were looked for, of which `identified` were seen with an identifier of the system.
    When the server counts just these, and the manifest knows no others, nothing else can be there; otherwise they are
    walked and named.
    Of some keys only what is under these. Raises MedferryError when Medplum does not answer.
    """
    system, resource_type = scope.systems(entity)[slot], scope.type_of(entity, slot)
    if scope.run is None and entity in scope.keys:
        for keys in chunked(sorted(scope.keys[entity]), _AT_ONCE):
            _judge_found(scope, system, resource_type, client.by_name(resource_type, system, keys), recorder)
        return
    with scope.environment.manifest.begin() as connection:
        known = count_resources(connection, scope.migration.name, system)
    there = client.count(resource_type, [(parameter_of(resource_type), system_token(system))])
    if known == read and there == identified and there < EXACT_BELOW:
        recorder.equal(UNEXPECTED, there)
        recorder.equal(TWICE, there)
        return
    _walk(client, scope, system, resource_type, recorder)
    if known > read and scope.run is not None:
        _others(client, scope, entity, slot, recorder)


def _walk(
    client: MedplumClient, scope: VerificationScope, system: str, resource_type: str, recorder: CheckRecorder
) -> None:
    """Compare each resource under a system with the crosswalk.

    The walk is believed, and not the server's count, which may be an estimate: it raises where it may miss any.
    """
    form = [(parameter_of(resource_type), system_token(system)), ("_fields", "id,identifier,meta")]
    for group in chunked(client.search_all(resource_type, form), _AT_ONCE):
        _judge_found(scope, system, resource_type, group, recorder)


def _judge_found(
    scope: VerificationScope,
    system: str,
    resource_type: str,
    resources: Sequence[dict[str, Any]],
    recorder: CheckRecorder,
) -> None:
    """Whether the crosswalk knows each of some resources under each of its identifiers of the system.

    A resource that a walk shows twice at once counts once, and twice otherwise is no fault.
    """
    names = {resource["id"]: values_of(resource, system) for resource in resources}
    with scope.environment.manifest.begin() as connection:
        identifiers = [(system, value) for values in names.values() for value in values]
        known = find_targets(connection, scope.migration.name, identifiers)
    for medplum_id, values in names.items():
        place = f"{resource_type}/{medplum_id}"
        for value in values:
            entry = known.get((system, value))
            recorder.judge(UNEXPECTED, value, "identifier", "unexpected" if entry is None else None, place)
            twice = entry is not None and entry.medplum_id != medplum_id
            recorder.judge(TWICE, value, "identifier", "another resource" if twice else None, place)


def _others(client: MedplumClient, scope: VerificationScope, entity: str, slot: str, recorder: CheckRecorder) -> None:
    """Resources of rows that are not in this run (an earlier wave's): they must still be there."""
    system, resource_type = scope.systems(entity)[slot], scope.type_of(entity, slot)
    for names in resource_pages(scope.environment.manifest, scope.migration.name, system):
        form = [("_id", ",".join(names)), ("_fields", "id"), ("_count", str(PAGE))]
        found = {entry["resource"]["id"] for entry in client.search(resource_type, form).get("entry", [])}
        with scope.environment.manifest.begin() as connection:
            in_run = records_by_key(connection, scope.records, entity, list(names.values()))
        for medplum_id, value in names.items():
            if value not in in_run:
                kind = None if medplum_id in found else "missing"
                recorder.judge(MISSING, value, slot, kind, f"{resource_type}/{medplum_id}")


def values_of(resource: dict[str, Any], system: str) -> list[str]:
    """The values of a resource's identifiers (of its tags, where its type has no identifiers) of a system.

    Some types have one identifier, and not a list of them. Read here by its own code, and not by the loader's.
    """
    if parameter_of(str(resource.get("resourceType"))) is NameParameter.TAG:
        meta, value = resource.get("meta"), "code"
        found = meta.get("tag", []) if isinstance(meta, dict) else []
    else:
        found, value = resource.get("identifier", []), "value"
    names = [each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict)]
    return [str(each.get(value, "")) for each in names if each.get("system") == system]
