"""Says what is wrong after a load, by reading Medplum, the manifest and the logs itself. Independent of the loader.

Everything is compared with ``expected``: 0 missing, 0 extra, 0 duplicate identifiers, 0 wrong fields, 0 dangling
references, one version each, every source record in exactly one disposition, and no patient data in what was logged.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.faults.expected import Expected, Name, expected

TYPES = ("Organization", "Practitioner", "PractitionerRole", "Patient", "Observation")
SYSTEMS = {"clinic", "staff", "staff/role", "patient", "weight"}
SERVER_META = ("versionId", "lastUpdated", "author", "project", "compartment")
CANARY = "Zyxcanary"
"""In every patient's and clinician's name of the tiny platform; must be in no log and not in the manifest."""

Resource = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """Where to look."""

    base_url: str
    client_id: str
    client_secret: str
    source: Path
    manifest: str
    """A SQLite file, or the URL of a PostgreSQL database."""
    migration: str
    base: str
    logs: tuple[Path, ...]


@dataclass(frozen=True)
class Ledger:
    """One run's lines of the manifest."""

    status: str | None
    units: list[tuple[str, str, str, str]]
    targets: dict[Name, tuple[str, str]]
    leases: int


def problems(scene: Scene, run_id: str, replayed: str = "") -> list[str]:
    """Everything that is not as it must be after run `run_id` has finished; empty when all is well.

    Of a replay of the run `replayed`, both together have a line for every source record: the replay's own lines are
    those that are true now, and they must be exactly for the dead letters of the other.
    """
    want = expected(scene.source, scene.base, scene.migration)
    found = read_medplum(scene)
    ledger = read_ledger(scene, run_id)
    before = read_ledger(scene, replayed).units if replayed else []
    again = {unit[:2] for unit in ledger.units}
    ledger = replace(ledger, units=ledger.units + [unit for unit in before if unit[:2] not in again])
    return [
        *(_replay(before, again) if replayed else ()),
        *_existence(want, found),
        *_content(want, found),
        *_versions(scene, found),
        *_units(want, ledger),
        *_crosswalk(found, ledger, want),
        *_run_is_over(ledger),
        *_canaries(scene),
    ]


# -- Medplum -------------------------------------------------------------------------------------------


def read_medplum(scene: Scene) -> list[Resource]:
    """Every resource with the migration's tag or with an identifier of one of its systems."""
    found: dict[str, Resource] = {}
    with _client(scene) as http:
        for resource_type in TYPES:
            tokens = ",".join(f"{scene.base}/{path}|" for path in sorted(SYSTEMS))
            for query in ({"_tag": f"urn:medferry:migration|{scene.migration}"}, {"identifier": tokens}):
                for resource in _pages(http, resource_type, query):
                    found[resource["id"]] = resource
    return list(found.values())


def count_all(scene: Scene) -> dict[str, int]:
    """Resources of each type on the whole server, whoever wrote them."""
    with _client(scene) as http:
        answers = {t: http.get(f"fhir/R4/{t}", params={"_summary": "count"}).json() for t in TYPES}
    return {resource_type: answer["total"] for resource_type, answer in answers.items()}


def _client(scene: Scene) -> httpx.Client:
    form = {"grant_type": "client_credentials", "client_id": scene.client_id, "client_secret": scene.client_secret}
    answer = httpx.post(f"{scene.base_url}oauth2/token", data=form, verify=False).raise_for_status()
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    return httpx.Client(
        base_url=scene.base_url, headers=headers, timeout=60, verify=False
    )  # plain HTTP: no certificates


def _pages(http: httpx.Client, resource_type: str, query: dict[str, str]) -> Iterator[Resource]:
    url, parameters = f"fhir/R4/{resource_type}", {**query, "_count": "1000", "_sort": "_lastUpdated"}
    answer = http.get(url, params=parameters).raise_for_status().json()
    while True:
        yield from (entry["resource"] for entry in answer.get("entry", []))
        following = [link["url"] for link in answer.get("link", []) if link["relation"] == "next"]
        if not following:
            return
        answer = http.get(following[0]).raise_for_status().json()


def _name(resource: Resource) -> Name:
    first = (resource.get("identifier") or [{}])[0]
    return resource["resourceType"], str(first.get("system")), str(first.get("value"))


def _existence(want: Expected, found: list[Resource]) -> Iterator[str]:
    times = Counter(_name(resource) for resource in found)
    yield from (f"missing: {name}" for name in want.resources.keys() - times.keys())
    yield from (f"extra: {name}" for name in times.keys() - want.resources.keys())
    yield from (f"duplicate: {name} is there {n} times" for name, n in times.items() if n > 1)


def _content(want: Expected, found: list[Resource]) -> Iterator[str]:
    pointers = {f"{r['resourceType']}/{r['id']}": "{}?{}|{}".format(*_name(r)) for r in found}
    for resource in found:
        dangling = sorted({text for text in _references(resource) if text not in pointers})
        yield from (f"dangling: {_name(resource)} points at {text}" for text in dangling)
        wanted = want.resources.get(_name(resource))
        if wanted is not None and not dangling:
            there = _with_names(_owned(resource), pointers)
            wrong = sorted(e for e in wanted.keys() | there.keys() if wanted.get(e) != there.get(e))
            yield from (f"wrong field: {element} of {_name(resource)}" for element in wrong)


def _owned(resource: Resource) -> Resource:
    kept = {name: value for name, value in resource.items() if name != "id"}
    kept["meta"] = {name: value for name, value in resource["meta"].items() if name not in SERVER_META}
    return kept


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "reference" in value:
            yield str(value["reference"])
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def _with_names(value: Any, pointers: dict[str, str]) -> Any:
    if isinstance(value, dict):
        named = {name: _with_names(item, pointers) for name, item in value.items()}
        return named | {"reference": pointers[value["reference"]]} if "reference" in value else named
    return [_with_names(item, pointers) for item in value] if isinstance(value, list) else value


def _versions(scene: Scene, found: list[Resource]) -> Iterator[str]:
    """Rows were never changed, so a second version of anything was needless."""
    with _client(scene) as http:
        for start in range(0, len(found), 500):
            some = found[start : start + 500]
            entries = [{"request": {"method": "GET", "url": f"{r['resourceType']}/{r['id']}/_history"}} for r in some]
            bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
            answers = http.post("fhir/R4/", json=bundle).raise_for_status().json()["entry"]
            for resource, answer in zip(some, answers, strict=True):
                number = len(answer["resource"]["entry"])
                if number != 1:
                    yield f"versions: {_name(resource)} has {number}"


@dataclass(frozen=True)
class Edit:
    """What somebody else has made of a resource that was loaded: it must stay so."""

    name: Name
    medplum_id: str
    version: str


def edit(scene: Scene, name: Name, **elements: Any) -> Edit | None:
    """Change a resource as a user does; None where there is none yet, or more than one."""
    resource_type, system, value = name
    with _client(scene) as http:
        answer = http.get(f"fhir/R4/{resource_type}", params={"identifier": f"{system}|{value}"}).raise_for_status()
        found = [entry["resource"] for entry in answer.json().get("entry", [])]
        if len(found) != 1:
            return None
        changed = http.put(f"fhir/R4/{resource_type}/{found[0]['id']}", json=found[0] | elements).raise_for_status()
        return Edit(name, found[0]["id"], changed.json()["meta"]["versionId"])


def create(scene: Scene, resource: Resource) -> None:
    """Have a resource created, whatever is there already."""
    with _client(scene) as http:
        http.post(f"fhir/R4/{resource['resourceType']}", json=resource).raise_for_status()


def written_over(scene: Scene, edits: list[Edit]) -> list[str]:
    """Edits that are not what Medplum has now."""
    with _client(scene) as http:
        urls = {edit: f"fhir/R4/{edit.name[0]}/{edit.medplum_id}" for edit in edits}
        answers = {edit: http.get(url) for edit, url in urls.items()}
    return [
        f"written over: {edit.name}"
        for edit, answer in answers.items()
        if answer.status_code != 200 or answer.json()["meta"]["versionId"] != edit.version
    ]


# -- the manifest --------------------------------------------------------------------------------------


def read_ledger(scene: Scene, run_id: str) -> Ledger:
    """The manifest's tables, read as they are."""
    types = {"clinic": "Organization", "staff": "Practitioner", "patient": "Patient", "weight": "Observation"}
    runs = _select(scene.manifest, "SELECT status FROM run WHERE id = ?", run_id)
    units = _select(scene.manifest, "SELECT entity, key, disposition, reason FROM source_unit WHERE run_id = ?", run_id)
    sql = "SELECT resource_type, system, value, medplum_id, version_id, entity FROM target WHERE migration = ?"
    targets = {}
    for resource_type, system, value, medplum_id, version, entity in _select(scene.manifest, sql, scene.migration):
        assert resource_type in (types[entity], "PractitionerRole")
        targets[resource_type, system, value] = (medplum_id, version)
    [(leases,)] = _select(scene.manifest, "SELECT count(*) FROM lease WHERE run_id = ?", run_id)
    return Ledger(runs[0][0] if runs else None, [tuple(row) for row in units], targets, leases)


def _select(manifest: str, sql: str, value: str) -> list[Any]:
    if "://" in manifest:
        with psycopg.connect(manifest.replace("+psycopg", "")) as postgresql:
            return postgresql.execute(sql.replace("?", "%s"), [value]).fetchall()
    with sqlite3.connect(manifest) as connection:
        rows = connection.execute(sql, [value]).fetchall()
    connection.close()
    return rows


def _units(want: Expected, ledger: Ledger) -> Iterator[str]:
    ends: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for entity, key, disposition, reason in ledger.units:
        ends[entity, key].append((disposition, reason))
    yield from (f"unit without a line: {unit}" for unit in want.dispositions.keys() - ends.keys())
    yield from (f"unit that the source has not: {unit}" for unit in ends.keys() - want.dispositions.keys())
    for unit, there in ends.items():
        if unit in want.dispositions and there != [want.dispositions[unit]]:
            yield f"disposition: {unit} is {there}, not {want.dispositions[unit]}"


def _crosswalk(found: list[Resource], ledger: Ledger, want: Expected) -> Iterator[str]:
    yield from (f"crosswalk: {name} is missing" for name in want.resources.keys() - ledger.targets.keys())
    yield from (f"crosswalk: {name} is too much" for name in ledger.targets.keys() - want.resources.keys())
    for resource in found:
        place = (resource["id"], resource["meta"]["versionId"])
        if _name(resource) in ledger.targets and ledger.targets[_name(resource)] != place:
            yield f"crosswalk: {_name(resource)} has another id or version"


def _run_is_over(ledger: Ledger) -> Iterator[str]:
    if ledger.status != "succeeded":
        yield f"run: its status is {ledger.status}"
    if ledger.leases:
        yield f"run: {ledger.leases} leases are left"


def _replay(before: list[tuple[str, str, str, str]], again: set[tuple[str, str]]) -> Iterator[str]:
    dead = {unit[:2] for unit in before if unit[2] in ("rejected", "quarantined")}
    yield from (f"replay: {unit} is a dead letter and was left out" for unit in dead - again)
    yield from (f"replay: {unit} was no dead letter" for unit in again - dead)


# -- patient data --------------------------------------------------------------------------------------


def _canaries(scene: Scene) -> Iterator[str]:
    """The canary in a log, or in the files of a SQLite manifest."""
    files = [*scene.logs, *([] if "://" in scene.manifest else Path(scene.manifest).parent.glob("manifest.db*"))]
    for file in files:
        if CANARY.encode() in file.read_bytes():
            yield f"patient data: in {file.name}"
