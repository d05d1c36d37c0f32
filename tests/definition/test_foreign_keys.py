"""References that are made of another column than the entity's key, told by the legacy database's own foreign keys."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from demo_clinics.schema import ENTITIES, METADATA
from medferry.definition.foreign_keys import check_references
from medferry.definition.migration import load_migration
from medferry.errors import DefinitionError
from medferry.source.database import connect_engine, snapshot
from tests.imagined_keys import imagine
from tests.tiny_platform import MIGRATION

_TABLES = """
CREATE TABLE clinic (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES clinic (id), name VARCHAR(9));
CREATE TABLE staff (id INTEGER PRIMARY KEY, clinic_id INTEGER REFERENCES clinic (id), family VARCHAR(9));
CREATE TABLE patient (id INTEGER PRIMARY KEY, mrn INTEGER NOT NULL UNIQUE, unit VARCHAR(9),
                      clinic_id INTEGER REFERENCES clinic (id), family VARCHAR(9), born VARCHAR(9), sex VARCHAR(9),
                      deleted_at VARCHAR(9));
CREATE TABLE card (number INTEGER PRIMARY KEY, patient_id INTEGER NOT NULL UNIQUE REFERENCES patient (id));
CREATE TABLE weight (id INTEGER PRIMARY KEY, unit VARCHAR(9), patient_id INTEGER REFERENCES patient (id),
                     kg INTEGER, taken_at VARCHAR(9), updated_at VARCHAR(9));
CREATE VIEW weighed AS SELECT id, unit, patient_id AS person, kg, taken_at, updated_at FROM weight
"""

_WEIGHT = "SELECT id, unit, patient_id, kg, taken_at, updated_at FROM weight"
_JOINED = (
    "SELECT w.id, w.unit, p.mrn AS patient_id, w.kg, w.taken_at, w.updated_at FROM weight w "
    "JOIN patient p ON p.id = w.patient_id"
)
_CALL = 'ctx.reference("patient", row["patient_id"])'
_CHECK = "{name: patient, sql: w.patient_id,"
_TOLD = (
    "is made of weight.patient_id, which refers to patient.id by a foreign key; the key of patient is made of "
    "patient.mrn, which may be another row's"
)


_PATIENT_ID = "patient_id INTEGER REFERENCES patient (id)"
_OTHERWISE = _TABLES.replace(_PATIENT_ID, "patient_id INTEGER").replace(
    "updated_at VARCHAR(9));", "updated_at VARCHAR(9), FOREIGN KEY (Patient_ID) REFERENCES Patient (ID));"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The tiny migration, whose patients have their number for a key, and weights that are checked by it."""
    made = Path(shutil.copytree(MIGRATION, tmp_path / "tiny", ignore=shutil.ignore_patterns("__pycache__")))
    edit(made, "entities/patient.sql", "-- key: id\n", "-- key: mrn\n")
    edit(made, "entities/patient.sql", "SELECT id,", "SELECT id, mrn,")
    return made


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    yield from legacy(f"sqlite:///{tmp_path_factory.mktemp('legacy')}/x.db")


def legacy(url: str, tables: str = _TABLES) -> Iterator[sa.Engine]:
    engine = connect_engine(url)
    made = sa.create_engine(engine.url)
    with made.begin() as connection:
        for statement in tables.split(";"):
            connection.exec_driver_sql(statement)
    made.dispose()
    yield engine
    engine.dispose()


def edit(folder: Path, name: str, *pairs: str) -> None:
    text = (folder / name).read_text()
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text)


def doubts(engine: sa.Engine, folder: Path, *entities: str) -> list[str]:
    migration = load_migration(folder)
    with snapshot(engine) as connection:
        return check_references(connection, migration, entities or [*migration.entities])


def test_the_tiny_migration_is_told_nothing(sqlite: sa.Engine) -> None:
    assert doubts(sqlite, MIGRATION) == []


def test_a_key_that_no_foreign_key_refers_to_is_refused_in_mapping_and_check(sqlite: sa.Engine, folder: Path) -> None:
    with pytest.raises(DefinitionError) as told:
        doubts(sqlite, folder)
    assert f"mappings/weight.py:14: the reference to patient {_TOLD}" in str(told.value)
    assert f"checks/weight.yaml:9: the reference that the check patient compares {_TOLD}" in str(told.value)
    assert "take patient.mrn by a JOIN in the SQL of weight" in str(told.value)
    assert doubts(sqlite, folder, "clinic", "staff", "patient") == []


_OF_WEIGHT, _OF_PATIENT = ("mappings/weight.py", _CALL), "entities/patient.sql"
_NUMBERED = "SELECT id, mrn, unit, clinic_id, family, born, sex, deleted_at FROM patient"
_JOINED_CHECK = ("checks/weight.yaml", "from: weight w\n", "from: weight w JOIN patient p ON p.id = w.patient_id\n")
_OTHER = "{name: status, sql: w.unit, path: status, compare: absent}"
_RIGHT_CHECK = ("checks/weight.yaml", _CHECK, "{name: patient, sql: p.mrn,")
_UNCHECKED = ("checks/weight.yaml", f"{_CHECK} path: subject, compare: reference, entity: patient}}", _OTHER)

RIGHT = {
    "the number is taken by a join": [("entities/weight.sql", _WEIGHT, _JOINED), _JOINED_CHECK, _RIGHT_CHECK],
    "the key is the column under another name": [(_OF_PATIENT, "SELECT id, mrn,", "SELECT id, id AS mrn,")],
    "the key is a cast": [(_OF_PATIENT, "SELECT id, mrn,", "SELECT id, CAST(id AS CHAR(9)) AS mrn,")],
    "the key is made of the column": [(_OF_PATIENT, "SELECT id, mrn,", "SELECT id, COALESCE(id, mrn) AS mrn,")],
    "the key is of a subquery": [(_OF_PATIENT, _NUMBERED, f"WITH p AS ({_NUMBERED}) SELECT p.id, p.id AS mrn, p.unit, "
                                  "p.clinic_id, p.family, p.born, p.sex, p.deleted_at FROM p")],
    "the key refers to the column": [(_OF_PATIENT, _NUMBERED, "SELECT p.id, c.patient_id AS mrn, p.unit, p.clinic_id, "
                                      "p.family, p.born, p.sex, p.deleted_at FROM patient p, card c")],
    "the code does not say the column, and the check is right": [
        (*_OF_WEIGHT, 'ctx.reference("patient", _number(row))'), _JOINED_CHECK, _RIGHT_CHECK,
    ],
    "the SELECT does not give the column": [
        (*_OF_WEIGHT, 'ctx.reference("patient", _number(row))'), _UNCHECKED,
        ("entities/weight.sql", _WEIGHT, "SELECT id, unit, kg, taken_at, updated_at FROM weight"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_told_nothing(sqlite: sa.Engine, folder: Path, name: str) -> None:
    for file, *pairs in RIGHT[name]:
        edit(folder, file, *pairs)
    assert doubts(sqlite, folder) == []


_RIGHT_BUT = [_JOINED_CHECK, _RIGHT_CHECK]
_BY_ROW = 'ctx.row.reference("patient", "patient_id")'
_THROUGH_A_VIEW = _WEIGHT.replace("patient_id", "person AS patient_id").replace("FROM weight", "FROM weighed")

REFUSED = {
    "by the row": [*_RIGHT_BUT, (*_OF_WEIGHT, _BY_ROW)],
    "by a keyword": [*_RIGHT_BUT, (*_OF_WEIGHT, 'ctx.reference("patient", key=row["patient_id"])')],
    "through a view": [*_RIGHT_BUT, ("entities/weight.sql", _WEIGHT, _THROUGH_A_VIEW)],
    "cast": [*_RIGHT_BUT, ("entities/weight.sql", " patient_id,", " CAST(patient_id AS CHAR(9)) AS patient_id,")],
    "a key that is cast": [*_RIGHT_BUT, (_OF_PATIENT, " mrn,", " CAST(mrn AS CHAR(9)) AS mrn,")],
    "one of two columns": [
        ("entities/patient.sql", "-- key: mrn", "-- key: unit, mrn"),
        ("checks/patient.yaml", "key: p.id", "key: [p.unit, p.mrn]"),
        (*_OF_WEIGHT, 'ctx.reference("patient", (row["unit"], row["patient_id"]))'),
        ("checks/weight.yaml", _CHECK, "{name: patient, sql: [w.unit, w.patient_id],"),
    ],
    "a check alone": [("entities/weight.sql", _WEIGHT, _JOINED)],
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_plain_column_for_a_plain_other_one_is_refused(sqlite: sa.Engine, folder: Path, name: str) -> None:
    for file, *pairs in REFUSED[name]:
        edit(folder, file, *pairs)
    with pytest.raises(DefinitionError, match=r"is made of weight\.patient_id, which refers to patient\.id"):
        doubts(sqlite, folder)


DOUBTED = {
    "the key is made of others": (
        [(_OF_PATIENT, " mrn,", " COALESCE(mrn, 0) AS mrn,")],
        "mappings/weight.py:14: the reference to patient is made of weight.patient_id, which refers to patient.id by a "
        "foreign key; the key of patient is made of patient.mrn: look whether that is the same value",
    ),
    "the reference is made of several": (
        [*_RIGHT_BUT, ("entities/weight.sql", " patient_id,", " COALESCE(patient_id, kg) AS patient_id,")],
        "mappings/weight.py:14: the reference to patient is made of weight.patient_id",
    ),
    "the key is of another table": (
        [(_OF_PATIENT, _NUMBERED, "SELECT p.id, c.number AS mrn, p.unit, p.clinic_id, p.family, p.born, p.sex, "
          "p.deleted_at FROM patient p JOIN card c ON c.patient_id = p.id")],
        "the key of patient is made of card.number",
    ),
    "neither code nor check says the column": (
        [(*_OF_WEIGHT, 'ctx.reference("patient", _number(row))'), _UNCHECKED],
        "mappings/weight.py: no check compares the reference to patient, and which column it is made of cannot be "
        "told: it would be wrong by weight.patient_id, which refers to patient.id",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DOUBTED)
def test_what_is_not_certain_is_told_and_not_refused(sqlite: sa.Engine, folder: Path, name: str) -> None:
    edits, words = DOUBTED[name]
    for file, *pairs in edits:
        edit(folder, file, *pairs)
    told = doubts(sqlite, folder)
    assert told and words in told[0] and all("weight" in line for line in told), told


def test_names_that_a_foreign_key_writes_otherwise_are_the_same(tmp_path: Path, folder: Path) -> None:
    for engine in legacy(f"sqlite:///{tmp_path}/x.db", _OTHERWISE):
        assert doubts(engine, MIGRATION) == []
        with pytest.raises(DefinitionError, match=r"weight\.patient_id, which refers to patient\.id"):
            doubts(engine, folder)


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
def test_the_servers_tell_their_foreign_keys(folder: Path, engine: str) -> None:
    try:
        with getattr(servers, engine)() as server:
            for source in legacy(server.url):
                assert doubts(source, MIGRATION) == []
                with pytest.raises(DefinitionError, match=r"weight\.patient_id, which refers to patient\.id"):
                    doubts(source, folder)
                for file, *pairs in RIGHT["the number is taken by a join"]:
                    edit(folder, file, *pairs)
                assert doubts(source, folder) == []
    except servers.BinariesMissing as missing:
        pytest.skip(str(missing))


def test_the_clinics_would_be_told_nothing_if_their_schema_had_foreign_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    imagine(monkeypatch, {key: (table, key) for table, key in ENTITIES.values()})
    migration, engine = load_migration("clinics"), sa.create_engine("sqlite://")
    by_mrn = replace(migration.entities["patient"], key=("mrn",))
    with engine.begin() as connection:
        METADATA.create_all(connection)
        assert check_references(connection, migration, [*migration.entities]) == []
        other = replace(migration, entities={**migration.entities, "patient": by_mrn})
        with pytest.raises(DefinitionError) as told:
            check_references(connection, other, [*migration.entities])
    assert "Correct these 24 places" in str(told.value)
    engine.dispose()


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
def test_an_account_that_may_read_views_alone_is_told_what_its_server_shows(folder: Path, engine: str) -> None:
    edit(folder, "entities/weight.sql", _WEIGHT, _THROUGH_A_VIEW)
    edit(folder, "checks/weight.yaml", "w.patient_id", "w.person", "from: weight w", "from: weighed w")
    try:
        with getattr(servers, engine)() as server:
            made = next(legacy(server.url))
            is_postgresql = engine == "postgresql"
            owner = made.url if is_postgresql else made.url.set(username="root")
            with sa.create_engine(owner).begin() as connection:
                connection.exec_driver_sql(f"CREATE USER viewer {'PASSWORD' if is_postgresql else 'IDENTIFIED BY'} 'x'")
                for table in ("clinic", "staff", "patient", "weighed"):
                    connection.exec_driver_sql(f"GRANT SELECT ON {table} TO viewer")
            url = made.url.set(username="viewer", password="x").render_as_string(hide_password=False)
            viewer = connect_engine(url)
            if is_postgresql:
                with pytest.raises(DefinitionError, match=r"weight\.patient_id, which refers to patient\.id"):
                    doubts(viewer, folder)
            else:  # it shows no SELECT of a view to who may not see it
                assert doubts(viewer, folder) == []
            viewer.dispose()
            made.dispose()
    except servers.BinariesMissing as missing:
        pytest.skip(str(missing))
