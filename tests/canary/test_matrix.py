"""Sinks × kinds of column × kinds of failure: a value of each is looked for wherever none may be. Printed by the test.

One run takes rows in which one column holds a canary, and a mapping that does with it whatever a mapping may do. Source
keys are identifiers that stand in manifest and reports on purpose; they are none of the canaries.
"""

from __future__ import annotations

import base64
import json
import logging
import sqlite3
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from embedded_medplum.server import EmbeddedMedplum
from medferry.cli.main import app
from medferry.errors import MedferryError
from medferry.mapping.context import Context, MappingFault
from medferry.mapping.declare import Resource, Row
from medferry.report.write import write_report
from medferry.runtime.environment import Environment
from tests.tiny_platform import MIGRATION, variables
from tests.workflows.test_migrate import migrate

COLUMNS = {"family": "text", "born": "date", "sex": "code", "clinic_id": "foreign key"}
FAILURES = (
    "none",
    "the mapping raises",
    "another raises",
    "a generator ends",
    "a class is named",
    "our own fault",
    "the mapping says it",
    "a member's name",
    "no resource",
    "a reason",
    "a reason in lower case",
    "a look-up",
    "another's reference",
    "another's system",
    "Medplum refuses",
)
FIRST_KEY = 1_000
CELLS = {FIRST_KEY + number: cell for number, cell in enumerate(product(COLUMNS, FAILURES))}


def canary(column: str, failure: str) -> str:
    return f"Zq{list(COLUMNS).index(column)}{FAILURES.index(failure)}uill"


def plant(url: str) -> None:
    """A row for each cell: one of its columns holds the canary, the others are as they should be."""
    good = {"family": "Ada", "born": "1970-02-03", "sex": "F", "clinic_id": "1"}
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for key, (column, failure) in CELLS.items():
            row = {"id": key, "unit": "north", **good, column: canary(column, failure)}
            names = ", ".join(row)
            connection.execute(sa.text(f"INSERT INTO patient ({names}) VALUES (:{', :'.join(row)})"), row)
    engine.dispose()


def careless(row: Row, ctx: Context) -> Iterator[Resource]:
    """Does with a value what the row's cell says."""
    column, failure = CELLS.get(int(str(row["id"])), ("family", "none"))
    value = str(row[column])
    match failure:
        case "the mapping raises":
            raise ValueError(value)
        case "another raises":

            class Strange(BaseException): ...

            raise Strange(value)
        case "a generator ends":
            raise GeneratorExit(value)
        case "a class is named":
            raise type(value, (Exception,), {})(value)
        case "our own fault":
            raise MappingFault(value)
        case "the mapping says it":
            print(value, file=sys.stderr)  # noqa: T201
            print(value)  # noqa: T201
            warnings.warn(value, stacklevel=1)
            logging.getLogger("a.library").critical("%s", value)
        case "a member's name":
            yield ctx.resource(name=[{value: "x"}])
        case "no resource":
            yield value  # type: ignore[misc]
        case "a reason":
            raise ctx.quarantine(value, value)
        case "a reason in lower case":
            ctx.finding(value.lower(), value.lower())
            raise ctx.skip(value.lower())
        case "a look-up":
            ctx.required_code(value, row["sex"], value)
        case "another's reference":
            yield ctx.resource(
                generalPractitioner=[{"reference": f"Practitioner?identifier=https://y.example|{value}"}]
            )
            return
        case "another's system":
            yield ctx.resource(generalPractitioner=[{"reference": f"Practitioner?identifier=urn:{value}|1"}])
            return
        case "Medplum refuses":
            yield ctx.resource(name=[{"family": value + "F" * 3_000}])
            return
    yield ctx.resource(
        name=[{"family": ctx.text(row["family"], "family")}],
        birthDate=ctx.date(row["born"], "born"),
        gender=ctx.required_code("sex", row["sex"], "sex"),
        managingOrganization=ctx.reference("clinic", row["clinic_id"]),
    )


def dump(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump())


def files(folder: Path) -> tuple[str, str]:
    """Names and content of all files below."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return "\n".join(map(str, found)), "\n".join(path.read_bytes().decode("latin-1") for path in found)


@pytest.fixture
def careless_platform(tiny: Environment) -> Environment:
    plant(tiny.settings.source_url)
    key = base64.b64encode(b"k" * 32).decode()
    spec = replace(tiny.migration.specs["patient"], function=careless)
    migration = replace(tiny.migration, specs={**tiny.migration.specs, "patient": spec})
    return replace(tiny, migration=migration, settings=replace(tiny.settings, store_keys=key))


def sinks_of(
    platform: Environment, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[tuple[str, str]]:
    """Every place that a run leaves something in, with all of its text."""
    error = ""
    try:
        migrate(platform, "run", slice_rows=7, stop_at_share=1)
    except MedferryError as raised:
        error = "".join(traceback.format_exception(raised)) + repr(raised)
    yield "exception", error
    out, err = capfd.readouterr()
    yield "output of the process", out + err
    write_report(platform, "run", folder / "report")
    yield "report", files(folder / "report")[1]
    yield "manifest", dump(folder / "manifest.db")
    names, content = files(folder / "staging")
    yield "names of staged files", names
    yield "staged files, with a key", content
    for name, value in {**variables(platform.settings), "MEDFERRY_MIGRATION": str(MIGRATION)}.items():
        monkeypatch.setenv(name, value)
    for command in (["dead-letters", "run"], ["runs"], ["report", "run"], ["audit", "show"], ["exceptions", "run"]):
        monkeypatch.chdir(folder)
        yield f"medferry {command[0]}", CliRunner().invoke(app, command).output


def test_no_value_is_where_none_may_be(
    careless_platform: Environment,
    medplum: EmbeddedMedplum,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        sinks = dict(sinks_of(careless_platform, tmp_path, monkeypatch, capfd))
    sinks["log, at every level"] = caplog.text
    sinks["warnings"] = "\n".join(str(one.message) for one in warned)
    seen = {
        (sink, column, failure): text.lower().count(canary(column, failure).lower())
        for (sink, text), column, failure in product(sinks.items(), COLUMNS, FAILURES)
    }
    with capfd.disabled():
        print(table(sinks, seen))  # noqa: T201 -- the matrix is what this test is for
    assert all(text.strip() for sink, text in sinks.items() if sink not in MAY_BE_EMPTY), (
        "a sink that is empty proves nothing"
    )
    assert {cell: number for cell, number in seen.items() if number and cell not in IDENTIFIERS} == {}
    with careless_platform.medplum() as client:
        arrived = json.dumps(client.search("Patient", []))
    assert canary("family", "none") in arrived and canary("family", "the mapping says it") in arrived, (
        "the run did nothing"
    )


IDENTIFIERS = {
    (sink, "clinic_id", failure)
    for sink, failure in product(("manifest", "medferry dead-letters"), ("none", "the mapping says it"))
}
"""The key of a record that is not there: a source key, as all that stand in these two."""

MAY_BE_EMPTY = frozenset({"exception", "output of the process", "warnings"})


def table(sinks: Mapping[str, str], seen: Mapping[tuple[str, str, str], int]) -> str:
    """Sinks down, failures across: how often a canary was seen, of all kinds of column together, and of how many."""
    width = max(map(len, sinks))
    lines = [f"\n{'canaries seen':{width}}  " + "  ".join(FAILURES)]
    for sink in sinks:
        of_failure = [sum(seen[sink, column, failure] for column in COLUMNS) for failure in FAILURES]
        cells = "  ".join(f"{number:>{len(name)}}" for number, name in zip(of_failure, FAILURES, strict=True))
        lines.append(f"{sink:{width}}  {cells}")
    lines.append(f"kinds of column in each cell: {', '.join(COLUMNS.values())}")
    return "\n".join(lines)


def test_the_canary_is_found_where_it_is(tmp_path: Path) -> None:
    planted = tmp_path / "legacy.db"
    with closing(sqlite3.connect(planted)) as connection:
        connection.execute("CREATE TABLE patient (id, unit, family, born, sex, clinic_id)")
    plant(f"sqlite:///{planted}")
    found = dump(planted)
    assert all(found.count(canary(*cell)) == 1 for cell in CELLS.values())
    assert len({canary(*cell) for cell in CELLS.values()}) == len(CELLS)
