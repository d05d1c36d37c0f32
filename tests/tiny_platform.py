"""A tiny legacy platform for the core's tests: four tables with one row of every disposition in it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from medferry.plan.retention import Retention
from medferry.runtime.environment import Environment
from medferry.runtime.settings import Settings

MIGRATION = Path(__file__).parent / "tiny"

_SCHEMA = """
CREATE TABLE clinic (id INTEGER, parent_id INTEGER, name VARCHAR(100));
CREATE TABLE staff (id INTEGER, clinic_id INTEGER, family VARCHAR(100));
CREATE TABLE patient (id INTEGER, unit VARCHAR(20), clinic_id INTEGER, family TEXT, born VARCHAR(20),
                      sex VARCHAR(5), deleted_at TIMESTAMP NULL);
CREATE TABLE weight (id INTEGER, unit VARCHAR(20), patient_id INTEGER, kg DECIMAL(8, 2), taken_at TIMESTAMP NULL,
                     updated_at TIMESTAMP NULL)
"""

# The children come before their parents in key order, so that the order of keys is not the order of references.
_CLINICS = [(1, 3, "North"), (2, 3, "South"), (3, 4, "Group"), (4, None, "Holding")]
_STAFF = [(1, 1, "Okafor"), (2, 2, "Lindqvist")]
_PATIENTS = [
    (1, "north", 1, "Ada", "1970-02-03", "F", None),
    (2, "north", 1, "Ben", "1980-12-31", "M", None),
    (3, "north", 1, "Cid", "1990-01-01", "M", "2024-01-01 00:00:00"),  # skipped
    (4, "south", 2, "Dot", "1985-02-30", "F", None),  # quarantined: no such day
    (5, "south", 2, "Eve", "1999-09-09", "X", None),  # quarantined: no approved code
    (6, "south", 2, "F" * 3000, "1999-09-09", "F", None),  # rejected by Medplum: an indexed string of 3,000 bytes
    (7, "south", 99, "Gus", "2001-01-01", "M", None),  # quarantined: an orphan
    (8, "shared", 2, "Hal", "1900-01-01", "M", None),  # successful, its birth date a sentinel
]

EXPECTED = {
    ("shared", "clinic"): {"successful": 4},
    ("shared", "staff"): {"successful": 2},
    ("north", "patient"): {"successful": 2, "skipped": 1},
    ("south", "patient"): {"quarantined": 3, "rejected": 1},
    ("shared", "patient"): {"successful": 1},
    ("north", "weight"): {"successful": 20},
    ("south", "weight"): {"quarantined": 10},
    ("shared", "weight"): {"successful": 10},
}
"""Source records per (unit, entity) and disposition, as a person reads them off the rows above."""

RESOURCES = 4 + 2 * 2 + 3 + 30
"""FHIR resources that a whole load creates."""


def fill(url: str) -> None:
    """Create and fill the tables in the database at `url`."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in _SCHEMA.split(";"):
            connection.execute(sa.text(statement))
        _insert(connection, "clinic", _CLINICS)
        _insert(connection, "staff", _STAFF)
        _insert(connection, "patient", _PATIENTS)
        _insert(connection, "weight", list(_weights()))
    engine.dispose()


def copy_as(name: str, folder: Path) -> Path:
    """The tiny migration in `folder`, under a name and an identifier base of its own."""
    shutil.copytree(MIGRATION, folder, ignore=shutil.ignore_patterns("__pycache__"))
    plan = folder / "plan.yaml"
    text = plan.read_text().replace("name: tiny", f"name: {name}").replace("//tiny.example", f"//{name}.example")
    plan.write_text(text)
    return folder


def keeping(environment: Environment, retention: Retention) -> Environment:
    """The same platform, whose plan has another retention."""
    plan = environment.migration.plan.model_copy(update={"retention": retention})
    return replace(environment, migration=replace(environment.migration, plan=plan))


def variables(settings: Settings) -> dict[str, str]:
    """The MEDFERRY_* variables that say the same as `settings`."""
    values = {name: getattr(settings, name) for name in Settings.__slots__}
    return {f"MEDFERRY_{name.upper()}": str(value) for name, value in values.items() if isinstance(value, str | float)}


def _weights() -> list[tuple[int, str, int, str, str, str]]:
    rows = []
    for number in range(40):
        patient, unit = ((1, "north"), (2, "north"), (4, "south"), (8, "shared"))[number % 4]
        day = f"2024-05-{1 + number % 28:02d}"
        rows.append((number, unit, patient, f"{60 + number}.50", f"{day} 08:30:00", f"{day} 09:00:00"))
    return rows


def _insert(connection: sa.Connection, table: str, rows: list[tuple[object, ...]]) -> None:
    names = [f"v{i}" for i in range(len(rows[0]))]
    statement = sa.text(f"INSERT INTO {table} VALUES ({', '.join(':' + name for name in names)})")
    connection.execute(statement, [dict(zip(names, row, strict=True)) for row in rows])
