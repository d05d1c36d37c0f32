"""The mistakes that who writes or runs a first migration makes, by number, and the words that each deserves.

Each is really made, on the tiny platform. Right are words that name the place, say what is wrong and what to do, and,
of a run, what was written. Those that only Airflow lets one make (22, 26, 27) are in ``tests/dags/test_mistakes.py``;
wrong accounts of servers (19) in ``tests/source/test_faults.py``.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import Result

from medferry.cli.terminal import NOT_BEGUN, Bars
from medferry.manifest.database import open_manifest
from medferry.manifest.runs import list_runs
from medferry.runtime import pulse
from medferry.runtime.environment import Environment
from tests.tiny_platform import MIGRATION

Call = Callable[..., Result]

CHECK = ("plan", "check")
TRY = ("try", "patient", "--key", "1", "--json")
RUN = ("run", "--entity", "clinic", "--entity", "patient")

PLAN, SQL, MAPPING, CODES = "plan.yaml", "entities/patient.sql", "mappings/patient.py", "terminology/sex.csv"
HEADER = "local_code,local_display,system,code,display,status\n"
SKIPS = 'if row["deleted_at"]:\n        raise ctx.skip("soft-deleted")'


@dataclass(frozen=True)
class Mistake:
    """`edits` are (file, what stands there, what is put in its place); empty for all of it."""

    told: tuple[str, ...]
    edits: tuple[tuple[str, str, str], ...] = ()
    rows: str = ""
    variable: tuple[str, str] = ("", "")
    command: tuple[str, ...] = CHECK
    code: int = 1
    never: str = "Traceback"


def edited(file: str, old: str, new: str, *told: str, **more: object) -> Mistake:
    return Mistake(told, ((file, old, new),), **more)  # type: ignore[arg-type]


def stored(statement: str, *told: str, **more: object) -> Mistake:
    return Mistake(told, rows=statement, **more)  # type: ignore[arg-type]


def set_to(name: str, value: str, *told: str, **more: object) -> Mistake:
    return Mistake(told, variable=(name, value), **more)  # type: ignore[arg-type]


_WEIGHT = ("entities/weight.sql", "kg,", "kgs,", "entities/weight.sql:5", "no such column: kgs", "Correct the SQL")
_BAD_KEY = (SQL, "-- key: id", "-- key: patient_id", "entities/patient.sql: the SELECT of patient has no column")
_NO_NAME = "of units that the plan does not name"
_LINES = (MIGRATION / CODES).read_text().removeprefix(HEADER)
_REST = "  - {id: rest, title: Rest, units: [south]}\n"
_YIELD = "    yield ctx.resource("
_SILENT = "The legacy database did not answer"
_REFUSED = "Unauthorised: Medplum refused the client id and secret at 127.0.0.1:"

MISTAKES = {
    "01 a column mistyped, checked": edited(*_WEIGHT),
    "01 a column mistyped, tried": edited(*_WEIGHT, command=("try", "weight", "--key", "1"), never="no row"),
    "01 a column mistyped, run": edited(*_WEIGHT, NOT_BEGUN, command=("run", "--entity", "weight")),
    "01 a column that the way back needs": edited(SQL, "family,", "famly,", "patient.py:18: the SQL of patient gives"),
    "02 a key that is not selected, checked": edited(*_BAD_KEY, "patient_id; it has id, unit", "add it to the SELECT"),
    "02 a key that is not selected, tried": edited(*_BAD_KEY, command=TRY, never="no row"),
    "02 a key that is not selected, run": edited(*_BAD_KEY, NOT_BEGUN, command=RUN),
    "03 no key": edited(SQL, "-- key: id\n", "", "patient.sql:1: the key is missing", "'-- key: <column>'"),
    "03 no key, run": edited(SQL, "-- key: id\n", "", "the key is missing", NOT_BEGUN, command=RUN),
    "04 a unit that the plan does not name": stored(
        "UPDATE patient SET unit = 'harbour' WHERE id = 2", "1 row of patient belongs", "harbour", "Add the units"
    ),
    "04 a unit with a blank": stored("UPDATE patient SET unit = 'north ' WHERE id = 2", "does not name: 'north '."),
    "05 a unit in no wave": edited(PLAN, _REST, "", "unit south is in no wave: by waves it never moves", code=0),
    "06 no unit": stored(
        "UPDATE patient SET unit = NULL WHERE id = 2", "does not name: NULL (they have none)", never="None"
    ),
    "06 an empty unit": stored("UPDATE patient SET unit = '' WHERE id = 2", "does not name: ''."),
    "07 a key twice": stored(
        "UPDATE patient SET id = 1 WHERE id = 2", "The key id of patient is not unique: 8 rows, 7 keys", "another key"
    ),
    "07 no key in a row": stored(
        "UPDATE patient SET id = NULL WHERE id = 2", "1 of 8 rows of patient have no key (NULL in id)", "leave these"
    ),
    "08 a code twice": edited(CODES, "M,Male", "F,Male", "sex.csv:3: the local code 'F' appears twice", "Keep one"),
    "03 two keys": edited(
        SQL, "-- key: id\n", "-- key: id\n-- key: unit\n", "patient.sql:2: the key stands twice", "Keep one line"
    ),
    "08 no code": edited(CODES, "M,Male", ",Male", "sex.csv:3: there is no local code", "Fill it in"),
    "09 a code table without lines": edited(CODES, _LINES, "", "the code table sex has no line", code=0),
    "09 a code table in draft": edited(CODES, "approved", "draft", "the code table sex has no approved line", code=0),
    "09 no code table": edited(MAPPING, '"sex", row', '"sexes", row', "patient.py:13: there is no code table sexes"),
    "10 a tab": edited(PLAN, "  - {id: north", "\t- {id: north", "plan.yaml:11: there is a tab", "Put spaces"),
    "11 a number for a unit": edited(
        PLAN, "id: north", "id: 1", "plan.yaml:11: units.1.id: must be text", "reads 1 as a number", "put it in quotes"
    ),
    "12 a column that the row has not": edited(
        MAPPING, 'row["born"]', 'row["bron"]', "patient.py:12 NoSuchColumn", "column bron; did you mean born?",
        command=TRY, code=2,
    ),
    "12 the arguments turned round": edited(
        MAPPING, "(row: Row, ctx: Context)", "(ctx: Context, row: Row)", "patient.py:6", "takes row first, then ctx"
    ),
    "12 one argument": edited(
        MAPPING, "(row: Row, ctx: Context)", "(row: Row)", "patient.py:6", "takes two arguments, row and ctx"
    ),
    "12 an asynchronous mapping": edited(MAPPING, "def patient", "async def patient", "patient.py:6", "leave async"),
    "12 the file ends the program": edited(
        MAPPING, "@mapping", "raise SystemExit(3)\n\n\n@mapping", "patient.py:6: importing it raises SystemExit"
    ),
    "12 produces is no table": edited(
        MAPPING, 'produces={"main": "Patient"}', 'produces="Patient"', "patient.py:6", 'such as {"main": "Patient"}'
    ),
    "13 a resource returned": edited(
        MAPPING, _YIELD, "    return ctx.resource(", "patient.py:6 returns a dict: it must yield resources",
        command=TRY, code=2,
    ),
    "14 a bare dict": edited(
        MAPPING, _YIELD, "    yield dict(", "patient.py:10 yields a bare dict: make it with ctx.resource",
        command=TRY, code=2,
    ),
    "15 nothing from most rows": edited(
        MAPPING, SKIPS, 'if row["id"] > 1:\n        return', "7 of 8 records of patient became nothing",
        "raise ctx.skip(…)", command=RUN, never="test platform: proven",
    ),
    "16 a reference that is not declared": edited(
        MAPPING, 'references=("clinic",)', "references=()", "patient.py:14 MappingFault", "clinic",
        command=TRY, code=2,
    ),
    "16 a reference without a comma": edited(
        MAPPING, 'references=("clinic",)', 'references=("clinic")', "patient.py:6", "references is a tuple",
        '("clinic",)', never="unknown entity c",
    ),
    "16 a reference to nothing": edited(
        MAPPING, 'references=("clinic",)', 'references=("ward",)', "patient.py:1: it refers to the unknown entity ward"
    ),
    "17 a ring": edited(
        "mappings/clinic.py", 'references=("clinic",)', 'references=("clinic", "patient")',
        "in a ring: clinic → patient → clinic", "Leave one reference out",
    ),
    "18 SQL Server's words": edited(SQL, "SELECT id", "SELECT TOP 5 id", "patient.sql:3", 'near "5": syntax error'),
    "18 PostgreSQL's words": edited(SQL, "born, sex", "born::date AS born, sex", "patient.sql:3", "for this engine"),
    "18 Oracle's words": edited(SQL, "born, sex", "NVL(born, '') AS born, sex", "patient.sql:3", "function: NVL"),
    "19 no such file": set_to("MEDFERRY_SOURCE_URL", "sqlite:////nowhere/l.db", "There is no file /nowhere/l.db"),
    "19 a wrong port, checked": set_to("MEDFERRY_SOURCE_URL", "mysql://a:b@127.0.0.1:1/x", _SILENT, "host and port"),
    "19 a wrong port, tried": set_to(
        "MEDFERRY_SOURCE_URL", "mysql://a:b@127.0.0.1:1/x", _SILENT, command=TRY, never="no row"
    ),
    "20 a wrong secret": set_to(
        "MEDFERRY_MEDPLUM_CLIENT_SECRET", "wrong", _REFUSED, "(MEDFERRY_MEDPLUM_CLIENT_ID, MEDFERRY_MEDPLUM_CLIENT_SEC",
        "medplum_default", NOT_BEGUN, command=RUN, never="wrong",
    ),
    "20 a wrong id": set_to("MEDFERRY_MEDPLUM_CLIENT_ID", "wrong", _REFUSED, NOT_BEGUN, command=RUN),
    "20 no secret": set_to(
        "MEDFERRY_MEDPLUM_CLIENT_SECRET", "", "MEDFERRY_MEDPLUM_CLIENT_SECRET is not set", NOT_BEGUN, command=RUN
    ),
    "21 Medplum down": set_to(
        "MEDFERRY_MEDPLUM_BASE_URL", "http://127.0.0.1:1/", "token endpoint did not answer at 127.0.0.1:1",
        "MEDFERRY_MEDPLUM_BASE_URL", command=RUN,
    ),
    "20 an address without http": set_to(
        "MEDFERRY_MEDPLUM_BASE_URL", "127.0.0.1:8103", "The address of Medplum is not usable", "Write http(s)://host",
        NOT_BEGUN, command=RUN, never="draft",
    ),
    "20 the address of FHIR": set_to(
        "MEDFERRY_MEDPLUM_BASE_URL", "http://127.0.0.1:1/fhir/R4/", "ends with /fhir/R4", "the server's own address",
        NOT_BEGUN, command=RUN, never="refused",
    ),
    "23 a check's SQL": edited(
        "checks/patient.yaml", "sql: p.family", "sql: p.famly", "patient.yaml:8: the check family", "column: p.famly"
    ),
    "23 a check's SQL, run": edited(
        "checks/patient.yaml", "sql: p.family", "sql: p.famly", "patient.yaml:8: the check family", "column: p.famly",
        NOT_BEGUN, command=RUN,
    ),
    "23 a check of two columns, run": edited(
        "checks/patient.yaml", "sql: p.family", "sql: 'p.family, p.born'", "patient.yaml:8: the check family: its SQL "
        "gives 2 values in place of 1", NOT_BEGUN, command=RUN,
    ),
    "23 a check's condition": edited(
        "checks/patient.yaml", "when: p.deleted_at", "when: p.deleted", "patient.yaml:6: the condition of main"
    ),
    "23 a check's element": edited(
        "checks/patient.yaml", "path: birthDate", "path: birthdate",
        "patient.yaml:9: FHIR has no element birthdate in Patient; did you mean birthDate? What to do",
    ),
    "24 a status that is none": edited(
        MAPPING, 'owner="test",', 'owner="test", status="aproved",', "patient.py:6", "'aproved' is unknown", "approved"
    ),
    "24 a draft": Mistake(("in draft, approved by nobody: clinic, patient, staff, weight",), code=0),
    "25 a code for no value": edited(
        PLAN, "  sentinel_dates", "  null_tokens: [M]\n  sentinel_dates", "the code table sex has the code 'M'",
        "never maps", "source.column_null_tokens", code=0,
    ),
    "27 a migration that there is not": set_to(
        "MEDFERRY_MIGRATION", "clinik", "clinik: there is no such migration", "Name one of clinics"
    ),
}  # fmt: skip


@pytest.fixture
def migration(medferry: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny migration that the command line works on."""
    folder = Path(shutil.copytree(MIGRATION, tmp_path / "ehr", ignore=shutil.ignore_patterns("__pycache__")))
    monkeypatch.setenv("MEDFERRY_MIGRATION", str(folder))
    monkeypatch.setenv("COLUMNS", "1000")  # no word is broken
    return folder


def make(mistake: Mistake, folder: Path, tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, old, new in mistake.edits:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))
    if mistake.rows:
        with tiny.source.begin() as connection:
            connection.exec_driver_sql(mistake.rows)
    if mistake.variable[0]:
        monkeypatch.setenv(*mistake.variable)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_has_its_words(
    medferry: Call, migration: Path, tiny: Environment, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mistake = MISTAKES[name]
    make(mistake, migration, tiny, monkeypatch)
    shown = medferry(*mistake.command, code=mistake.code).output
    assert [words for words in mistake.told if words not in shown] == [], shown
    assert mistake.never not in shown
    if NOT_BEGUN in mistake.told and (manifest := Path(tiny.settings.manifest_url.removeprefix("sqlite:///"))).exists():
        with open_manifest(tiny.settings.manifest_url).begin() as connection:
            assert list_runs(connection, "tiny", 5) == [], manifest


def test_what_is_right_is_told_none_of_it(medferry: Call, migration: Path) -> None:
    shown = medferry(*CHECK).output
    words = [words for name, mistake in MISTAKES.items() if name != "24 a draft" for words in mistake.told]
    assert not [each for each in words if len(each) > len("medplum_default") and each in shown]


def test_a_medplum_that_is_down_is_told_before_anything_is_staged(
    medferry: Call, migration: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MEDFERRY_MEDPLUM_BASE_URL", "http://127.0.0.1:1/")
    medferry(*RUN, code=1)
    (told,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "did not answer at 127.0.0.1:1" in told.getMessage() and "asked again" in told.getMessage()


def test_what_a_run_waits_for_is_shown_while_it_waits(capsys: pytest.CaptureFixture[str]) -> None:
    """21, in the middle of a load: minutes went by without a word."""
    log = logging.getLogger(pulse.__name__)
    with Bars():
        log.info("load of patient: no record yet; waits for %s since 40 s", "Medplum, which keeps failing")
    assert "waits for Medplum, which keeps failing since 40 s" in capsys.readouterr().out
    log.info("nobody sees this")
    assert capsys.readouterr().out == ""


def test_of_several_migrations_one_is_named(medferry: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFERRY_MIGRATION", f"{MIGRATION},clinics")
    told = medferry("runs", code=1).output
    assert "lists several migrations" in told and "--migration" in told
    refused = medferry("runs", "--migration", str(MIGRATION), code=1).output
    assert "SharedByMigrations" in refused and "MEDFERRY_SOURCE_URL" in refused


def test_a_manifest_in_the_legacy_database_is_refused_and_not_made(
    medferry: Call, tiny: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for same in (tiny.settings.source_url, "sqlite:///legacy.db"):
        monkeypatch.setenv("MEDFERRY_MANIFEST_URL", same)
        told = medferry(*RUN, code=1).output
        assert "leads to the legacy database" in told and NOT_BEGUN in told
    with tiny.source.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sqlite_master WHERE name = 'run'").scalar() == 0


def test_every_number_has_its_mistake() -> None:
    elsewhere = {22, 26}
    assert {int(name[:2]) for name in MISTAKES} | elsewhere == set(range(1, 28))
