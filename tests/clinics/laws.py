"""Rows and edits for the laws of the inverse mappings; what of an edit came back is found by other code than theirs."""

from __future__ import annotations

import copy
import re
from datetime import datetime
from functools import cache
from typing import Any

from hypothesis import strategies as st

from medferry.definition.migration import Migration, load_migration
from medferry.fhir.footprint import footprint_of, get, shown
from medferry.mapping.apply import apply_mapping
from medferry.mapping.apply_inverse import apply_inverse, by_slot
from medferry.mapping.inverse import RowChanges
from tests.clinics.golden import CASES, load

clinics = cache(load_migration)
"""Not a fixture: what fails is printed with what it was given."""

Row = dict[str, Any]
Resource = dict[str, Any]

TABLES = {
    **{
        "sex_code": "sex",
        "marital_code": "marital_status",
        "language_code": "language",
        "class_code": "encounter_class",
    },
    **{"type_code": "appointment_type", "problem_code": "problem", "substance_code": "allergy", "drug_code": "drug"},
    **{"kind_code": "allergy_kind", "severity_code": "severity", "vaccine_code": "vaccine", "site_code": "body_site"},
    **dict.fromkeys(("weight_unit", "height_unit", "temperature_unit"), "vital_unit"),
    **{f"status_code:{name}": f"{name}_status" for name in ("appointment", "encounter", "problem", "allergy")},
    **{f"status_code:{name}": f"{name}_status" for name in ("prescription", "immunization")},
}
"""Column of codes → its code table."""

_TIMES = ("starts_at", "started_at", "ended_at", "recorded_at", "written_at", "taken_at")
_DAYS = ("birth_date", "onset_date", "deceased_on", "resolved_on", "given_on")
_NUMBERS = ("minutes", "refills", "quantity", "weight", "height", "temperature", "systolic", "diastolic", "heart_rate")
_KEYS = ("staff_id", "pcp_staff_id", "location_id", "encounter_id", "appointment_id", "patient_id")

texts = st.one_of(
    st.sampled_from(["N/A", "-", "", "  ", "García", "GarcÃ­a", " Anna ", "O'Neil; --", "a\x07b", "👩‍⚕️", "0000-00-00"]),
    st.text(min_size=1, max_size=12),
)  # fmt: skip
days = st.one_of(
    st.sampled_from(["1900-01-01", "9999-12-31", "0000-00-00", "2019", "2019-03", "2024-02-29", "2023-02-30", "soon"]),
    st.dates().map(str),
)
times = st.one_of(
    st.sampled_from(
        ["2024-03-10 02:30:00", "2024-03-10 01:30:00", "2024-11-03 01:30:00", "2024-11-03 02:10:00.5",
         "9999-12-31 00:00:00", "2024-07-01T12:00:00", "2024-07-01 12:00:00+02", "0000-00-00 00:00:00"]
    ),
    st.datetimes(datetime(1950, 1, 1), datetime(2090, 1, 1)).map(str),  # noqa: DTZ001 - a wall time
)  # fmt: skip
numbers = st.one_of(
    st.integers(0, 400),
    st.decimals(0, 400, places=2).map(str),
    st.floats(0, 400),
    st.sampled_from(["72.0", " 7 ", "1e2"]),
)  # fmt: skip


def codes(migration: Migration, table: str) -> st.SearchStrategy[str]:
    """The table's local codes, as people spell them, and some that it does not know."""
    known = [line.local_code for line in migration.tables[table].rows.values()]
    some = st.sampled_from(known)
    return st.one_of(
        some, some.map(str.lower), some.map(lambda code: f" {code} "), st.sampled_from(["??", "a  b", "N/A"])
    )


@st.composite
def strange_row(draw: st.DrawFn, migration: Migration) -> tuple[str, Row]:
    """An entity and a golden row of it in which some columns hold what such columns have been seen to hold."""
    case = draw(st.sampled_from([case for case in CASES if case.partition("/")[0] in migration.inverses]))
    entity, row = case.partition("/")[0], load(case)["row"]
    columns = sorted(migration.inverses[entity].columns)
    for column in draw(st.lists(st.sampled_from(columns), max_size=4, unique=True)):
        row[column] = draw(st.one_of(st.none(), values_of(migration, entity, column)))
    return entity, row


def values_of(migration: Migration, entity: str, column: str) -> st.SearchStrategy[Any]:
    table = TABLES.get(column) or TABLES.get(f"{column}:{entity}")
    if table:
        return codes(migration, table)
    for names, strategy in ((_TIMES, times), (_DAYS, days), (_NUMBERS, numbers)):
        if column in names:
            return strategy
    return st.integers(1, 10**6) if column in _KEYS else texts


def mapped(migration: Migration, entity: str, row: Row) -> dict[str, Resource]:
    """The resources of a row by slot; none of a row that becomes nothing."""
    key = migration.entities[entity].ledger_key_of(row)
    spec = migration.specs[entity]
    return dict(by_slot(spec, apply_mapping(spec, row, key, migration.settings).resources, migration.settings))


def back(migration: Migration, entity: str, row: Row, resources: dict[str, Resource]) -> RowChanges:
    key = migration.entities[entity].ledger_key_of(row)
    spec, inverse = migration.specs[entity], migration.inverses[entity]
    return apply_inverse(spec, inverse, row, key, resources, migration.settings)


def lost(edited: Resource, returned: Resource, before: Resource) -> set[str]:
    """The places of the footprint, as ``merge.shown`` writes them, in which the edit did not come back."""
    footprint = footprint_of(returned) | footprint_of(edited) | footprint_of(before)
    came, wanted, was = (get(resource, footprint) for resource in (returned, edited, before))
    return {
        shown(path)
        for path in footprint.tops
        if not _same(wanted.get(path), came.get(path)) and not (path not in wanted and _completes(shown(path)))
        and not (wanted.get(path) == was.get(path) and came.get(path) == was.get(path))
    }  # fmt: skip


def _completes(path: str) -> bool:
    """What the mapping says of a code or reference that was left open."""
    return bool(re.search(r"coding\[[^]]*\]$|\.(text|display|type)$", path))


def _same(one: Any, other: Any) -> bool:
    """Equal, but for an offset, and for the type of a reference or the codings that were left open."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() <= other.keys() and all(
            _same(one.get(name), other[name]) or (name in ("type", "display", "text", "coding") and name not in one)
            for name in other
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) <= len(other) and all(any(_same(item, found) for found in other) for item in one)
    if isinstance(one, str) and isinstance(other, str) and "T" in one and "T" in other:
        try:
            return datetime.fromisoformat(one) == datetime.fromisoformat(other)
        except (ValueError, TypeError):
            return one == other
    return bool(one == other)


def told(path: str, changes: RowChanges) -> bool:
    """Whether a report names the place, a part of it or one that it is in."""
    bare = re.sub(r"\.\d+|\[[^]]*\]", "", path)
    for loss in changes.cannot_express:
        named = re.sub(r"\.\d+|\[[^]]*\]", "", loss.path)
        if not named or named == bare or named.startswith(f"{bare}.") or bare.startswith(f"{named}."):
            return True
    return False


# -- edits -----------------------------------------------------------------------------------------

_INSTANTS = st.one_of(
    st.sampled_from(["2024-11-03T05:30:00Z", "2024-11-03T06:30:00Z", "2024-03-10T07:30:00+00:00"]),
    st.just("2024-06-01T10:00:00.123Z"),
    st.datetimes(datetime(1950, 1, 1), datetime(2090, 1, 1)).map(lambda d: d.replace(microsecond=0).isoformat() + "Z"),  # noqa: DTZ001
)  # fmt: skip
_ODD = st.sampled_from(["N/A", " Anna", "x" * 500, "a\x07b", "1900-01-01", "-", "GarcÃ­a", "2020"])
_ELSEWHERE = st.sampled_from(["Practitioner/123", "Practitioner?identifier=https://elsewhere|7"])


@st.composite
def edited(draw: st.DrawFn, migration: Migration, entity: str, resource: Resource) -> Resource:
    """A resource as somebody may leave it who can do anything with it but change whose and what it is."""
    found = copy.deepcopy(resource)
    for _ in range(draw(st.integers(1, 3))):
        names = sorted(name for name in found if name not in ("resourceType", "meta", "id"))
        _edit(draw, migration, found, draw(st.sampled_from(names)))
    return found


def _edit(draw: st.DrawFn, migration: Migration, within: Any, name: Any) -> None:
    """Change, remove or repeat what stands under a name, or something below it."""
    value = within[name]
    own = isinstance(value, dict) and value.get("system") in migration_systems(migration)
    if own:
        return
    action = draw(st.sampled_from(["below", "below", "below", "remove", "repeat"]))
    if action == "remove" and name != "identifier":
        within.pop(name)
    elif action == "repeat" and isinstance(value, list) and value and name != "identifier":
        value.append(copy.deepcopy(draw(st.sampled_from(value))))
    elif isinstance(value, dict) and "coding" in value and draw(st.booleans()):
        within[name] = draw(concepts(migration))
    elif isinstance(value, dict):
        if value:
            _edit(draw, migration, value, draw(st.sampled_from(sorted(value))))
    elif isinstance(value, list):
        if value:
            _edit(draw, migration, value, draw(st.integers(0, len(value) - 1)))
    else:
        within[name] = draw(_leaf(name, value))


def migration_systems(migration: Migration) -> set[str]:
    return {system for systems in migration.systems.values() for system in systems}


def _leaf(name: Any, value: Any) -> st.SearchStrategy[Any]:
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int | float):
        return st.one_of(st.integers(0, 400), st.decimals(0, 400, places=2).map(float))
    if name == "reference":
        return st.one_of(_ELSEWHERE, st.integers(1, 99).map(lambda key: re.sub(r"[^|]*$", str(key), str(value))))
    if "T" in value and value[:2].isdigit():
        return st.one_of(_INSTANTS, st.sampled_from(["2024-05-01", "2024-05"]))
    if value[:4].isdigit():
        return st.one_of(
            st.dates().map(str), st.sampled_from(["2019", "2019-03", "1900-01-01", "2024-05-01T10:00:00Z"])
        )
    return st.one_of(_ODD, st.text(st.characters(codec="utf-8"), min_size=1, max_size=12))


@st.composite
def concepts(draw: st.DrawFn, migration: Migration) -> Resource:
    """A CodeableConcept of any of the code tables, with the local coding, the standard one, both, or neither."""
    table = draw(st.sampled_from(sorted(migration.tables)))
    line = draw(st.sampled_from(list(migration.tables[table].rows.values())))
    local = {"system": migration.naming.code_system(table), "code": line.local_code}
    codings = [coding for coding in (line.target, local) if coding and draw(st.booleans())]
    text = draw(st.sampled_from([line.local_display, "other words", ""]))
    return {**({"coding": codings} if codings else {}), **({"text": text} if text else {"text": "words"})}
