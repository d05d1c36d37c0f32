"""A broken definition stops before any write and names file, line and remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medferry.definition.migration import load_migration
from medferry.definition.outline import migration_folder
from medferry.errors import DefinitionError
from tests.tiny_platform import MIGRATION


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MIGRATION, tmp_path / "tiny"))


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


def add(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


BROKEN = {
    "no plan": (remove("plan.yaml"), "plan.yaml: there is no plan"),
    "yaml": (replace("plan.yaml", "units:", "units: ["), r"plan.yaml:\d+: this is not valid YAML"),
    "yaml in another encoding": (
        lambda folder: (folder / "plan.yaml").write_bytes("# caf\xe9\n".encode("latin-1")) and None,
        "plan.yaml: it is not UTF-8",
    ),
    "checks in another encoding": (
        lambda folder: (folder / "checks/patient.yaml").write_bytes("from: pati\xe9nt".encode("utf-16")) and None,
        "patient.yaml: it is not UTF-8",
    ),
    "an empty plan": (add("plan.yaml", ""), "the plan: must hold settings, each as 'name: value', and is empty"),
    "a unit as a word": (
        replace("plan.yaml", "  - {id: south, title: South clinic}", "  - south"),
        r"plan.yaml:\d+: units.2: must hold settings, each as 'name: value', and is a text",
    ),
    "a setting twice": (
        replace("plan.yaml", "source:", "acceptance: {max_rejected_share: 0.0}\nsource:"),
        r"plan.yaml:\d+: acceptance stands twice: what one of them says would be lost",
    ),
    "a setting twice in a place below": (
        replace("checks/patient.yaml", "name: family,", "name: family, name: other,"),
        r"patient.yaml:8: name stands twice",
    ),
    "unknown key": (replace("plan.yaml", "strategy:", "stratgy:"), "plan.yaml:.*strategy"),
    "strategy": (replace("plan.yaml", "phased", "slowly"), "plan.yaml:3: strategy"),
    "no zone": (replace("plan.yaml", "  time_zone: America/New_York\n", ""), "time_zone: is missing"),
    "zone": (replace("plan.yaml", "America/New_York", "America/Gotham"), "plan.yaml:7: source.time_zone.*IANA"),
    "wave": (replace("plan.yaml", "units: [north]", "units: [east]"), "plan.yaml:.*unknown unit east"),
    "domain": (
        replace("plan.yaml", "strategy:", "authority: {domains: {people: [patient, Bed]}}\nstrategy:"),
        "plan.yaml:3: the domain people names Bed, which is no entity",
    ),
    "a policy for a part of one value": (
        replace(
            "plan.yaml",
            "strategy:",
            "authority:\n  domains: {weights: [Observation]}\n  rules:\n    - domain: weights\n      writer: both\n"
            "      accepted_by: A\n      reason: For a month.\n"
            "      fields: [{paths: [status, valueQuantity.value], policy: legacy_wins}]\nstrategy:",
        ),
        "plan.yaml:10: authority has a policy for valueQuantity.value, a part of the valueQuantity of Observation",
    ),
    "a way back without a writer": (
        replace(
            "plan.yaml",
            "units: [north]}",
            "units: [north], sync: {schedule: '@daily', since: 2026-01-01, reverse: true}}",
        ),
        "plan.yaml:.*wave pilot is to be written back .* nothing to write",
    ),
    "deletions of no inverse": (
        replace("plan.yaml", "strategy:", "deleted_in_medplum: {weight: remove}\nstrategy:"),
        "plan.yaml:3: deleted_in_medplum names weight, which has no inverse",
    ),
    "inactivated without a mark": (
        replace("plan.yaml", "strategy:", "deleted_in_medplum: {patient: inactivate}\nstrategy:"),
        "plan.yaml:3: rows of patient are to be inactivated",
    ),
    "data of no entity": (
        replace(
            "plan.yaml",
            "strategy:",
            "data_required: {domains: {people: [beds]}, history: All of it., excluded: {}}\nstrategy:",
        ),
        "plan.yaml:3: the domain people of data_required names beds, which is no entity",
    ),
    "two waves": (replace("plan.yaml", "units: [north]", "units: [south]"), "unit south is in two waves"),
    "no key": (replace("entities/patient.sql", "-- key: id\n", ""), "patient.sql:1: the key is missing"),
    "setting": (replace("entities/patient.sql", "-- unit:", "-- units:"), "patient.sql:2: unknown setting 'units'"),
    "two statements": (replace("entities/patient.sql", "FROM patient", "FROM patient; DROP TABLE x"), "semicolon"),
    "not a select": (add("entities/patient.sql", "-- key: id\n-- unit: unit\nDELETE FROM patient"), "no SELECT"),
    "dialect": (add("entities/patient.oracle.sql", "SELECT 1"), "patient.oracle.sql: this file belongs to no entity"),
    "no mapping": (remove("mappings/patient.py"), "patient.py: the entity patient has no mapping"),
    "stray mapping": (add("mappings/bed.py", ""), "bed.py:1: it maps no entity"),
    "syntax": (
        replace("mappings/patient.py", "raise ctx", "raise raise ctx"),
        "patient.py:9: this is not valid Python",
    ),
    "import": (
        replace("mappings/patient.py", "import Iterator", "import Wrong"),
        "patient.py:1: importing it raises ImportError",
    ),
    "other entity": (replace("mappings/patient.py", 'entity="patient"', 'entity="person"'), "one mapping of patient"),
    "reference": (
        replace("mappings/patient.py", 'references=("clinic",)', 'references=("ward",)'),
        "unknown entity ward",
    ),
    "inverse of another entity": (
        replace("mappings/patient.py", '@inverse(entity="patient"', '@inverse(entity="clinic"'),
        "patient.py: an inverse without its mapping",
    ),
    "two inverses": (
        replace("mappings/patient.py", "@inverse(", "again = inverse(entity='patient', tables=())(id)\n\n\n@inverse("),
        "patient.py: an inverse without its mapping: it may hold one",
    ),
    "inverse without tables": (
        replace("mappings/patient.py", "tables=(legacy_table(", "tables=() and (legacy_table("),
        r"patient.py:\d+: the inverse names no table",
    ),
    "inverse of an unread column": (
        replace("mappings/patient.py", 'columns=("family",', 'columns=("family", "shoe_size",'),
        r"patient.py:\d+: the SQL of patient gives no column shoe_size",
    ),
    "inverse by an unread key": (
        replace("mappings/patient.py", 'key="id"', 'key="number"'),
        "the SQL of patient gives no column number",
    ),
    "inverse of the unit": (
        replace("mappings/patient.py", 'columns=("family",', 'columns=("family", "unit",'),
        "the inverse would change unit",
    ),
    "inverse with a column twice": (
        replace("mappings/patient.py", "tables=(", 'tables=(legacy_table("patient", key="id", columns=("born",)), '),
        "the column born is in two tables",
    ),
    "ring": (replace("mappings/clinic.py", 'references=("clinic",)', 'references=("weight",)'), "in a ring"),
    "code header": (replace("terminology/sex.csv", "local_code,", "code,"), "sex.csv:1: the header is wrong"),
    "code cells": (replace("terminology/sex.csv", "Male,approved", "Male"), "sex.csv:3: 5 cells instead of 6"),
    "code status": (replace("terminology/sex.csv", "draft", "maybe"), "sex.csv:4: unknown status 'maybe'"),
    "code twice": (replace("terminology/sex.csv", "M,Male", "F,Male"), "sex.csv:3: the local code 'F' appears twice"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_definition_names_the_place_and_the_remedy(folder: Path, name: str) -> None:
    breaking, told = BROKEN[name]
    breaking(folder)
    with pytest.raises(DefinitionError, match=told) as error:
        load_migration(folder)
    assert error.value.remedy


def test_an_unknown_migration_lists_the_known_ones() -> None:
    with pytest.raises(DefinitionError, match="there is no such migration"):
        load_migration("atlantis")


def test_levels_and_fingerprint(folder: Path) -> None:
    before = load_migration(folder)
    assert before.levels == [["clinic"], ["patient", "staff"], ["weight"]]
    (folder / "terminology/sex.csv").write_text((folder / "terminology/sex.csv").read_text() + "D,Diverse,,,,draft\n")
    assert load_migration(folder).fingerprint != before.fingerprint


def test_an_inverse_is_loaded_and_counts_in_the_fingerprint(folder: Path) -> None:
    before = load_migration(folder)
    assert list(before.inverses) == ["patient"]
    assert before.inverses["patient"].columns == {"family", "born", "sex", "clinic_id"}
    replace("mappings/patient.py", '"clinic_id"))', '"clinic_id"), touched="deleted_at")')(folder)
    assert load_migration(folder).fingerprint != before.fingerprint


def test_mappings_share_modules_of_their_own_folder(folder: Path) -> None:
    (folder / "mappings/_shared.py").write_text("VERSION = '9'\n")
    replace("mappings/patient.py", 'version="1"', "version=VERSION")(folder)
    replace("mappings/patient.py", "from medferry", "from ._shared import VERSION\nfrom medferry")(folder)
    assert load_migration(folder).specs["patient"].version == "9"
    assert load_migration(MIGRATION).specs["patient"].version == "1"


def test_a_list_of_one_is_that_one() -> None:
    for listed in ("clinics,", " clinics ", ",clinics"):
        assert migration_folder(listed) == migration_folder("clinics")
