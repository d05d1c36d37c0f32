"""Source keys like no other text are looked for wherever keys are shown: found when shown plain, else nowhere."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from medferry.cli.main import app
from medferry.errors import MedferryError
from medferry.report.evidence import members_of
from medferry.report.write import write_report
from medferry.runtime.environment import Environment
from medferry.source.shown_keys import show_keys_by
from medferry.workflows.verify_in_step import verify_present
from tests.tiny_platform import MIGRATION, variables
from tests.workflows.test_migrate import migrate

FIRST, IMPOSSIBLE, ORPHAN, REFUSED, GONE, DOUBLED = range(8700001, 8700007)
NO_CLINIC = 8700099
MARK = "87000"
"""In every key that is planted."""
PEPPER = base64.b64encode(b"p" * 32).decode()


@pytest.fixture(autouse=True)
def shown_as_ever() -> Iterator[None]:
    yield
    show_keys_by(None)


def plant(url: str) -> None:
    rows = (
        (FIRST, 1, "Ida", "1970-02-03"),
        (IMPOSSIBLE, 1, "Jon", "1970-02-30"),
        (ORPHAN, NO_CLINIC, "Kim", "1970-02-03"),
        (REFUSED, 1, "F" * 3_000, "1970-02-03"),
        (GONE, 1, "Leo", "1970-02-03"),
        (DOUBLED, 1, "Mia", "1970-02-03"),
    )
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for key, clinic, family, born in rows:
            row = {"id": key, "clinic": clinic, "family": family, "born": born}
            connection.execute(
                sa.text("INSERT INTO patient VALUES (:id, 'north', :clinic, :family, :born, 'F', NULL)"), row
            )
    engine.dispose()


def disturb(platform: Environment) -> None:
    """Somebody changes one in Medplum and doubles another; a row is gone."""
    with platform.source.begin() as connection:
        connection.execute(sa.text("DELETE FROM patient WHERE id = :id"), {"id": GONE})
    system = platform.migration.naming.system("patient")
    with platform.medplum() as client:
        [changed] = client.by_name("Patient", system, [str(FIRST)])
        [doubled] = client.by_name("Patient", system, [str(DOUBLED)])
        whole = client.by_id("Patient", [changed["id"], doubled["id"]])
        put = {"method": "PUT", "url": f"Patient/{changed['id']}"}
        twin = {name: value for name, value in whole[doubled["id"]].items() if name != "id"}
        entries: list[dict[str, Any]] = [
            {"resource": {**whole[changed["id"]], "birthDate": "1900-01-01"}, "request": put},
            {"resource": twin, "request": {"method": "POST", "url": "Patient"}},
        ]
        client.batch(entries, 100)


def older(platform: Environment) -> None:
    """A verification of all, from before the setting."""
    show_keys_by(None)
    verify_present(platform)
    platform.settings.show_keys()


def failing(platform: Environment, run_id: str) -> str:
    try:
        migrate(platform, run_id, stop_at_share=1)
    except MedferryError as raised:
        return str(raised)
    return ""


def sinks_of(platform: Environment, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """Every place that shows keys, with all of its text."""
    plant(platform.settings.source_url)
    yield "first run", failing(platform, "first")
    disturb(platform)
    older(platform)
    yield "second run", failing(platform, "second")
    paths = write_report(platform, "second", folder / "report")
    yield "report, as a page", paths.html.read_text()
    yield "report, as JSON", paths.json.read_text()
    more = {"MEDFERRY_MIGRATION": str(MIGRATION), "MEDFERRY_PEPPER_FILE": str(folder / "pepper")}
    more["MEDFERRY_SHOW_KEYS"] = "digest" if platform.settings.digest_keys else "plain"
    (folder / "pepper").write_text(PEPPER)
    for name, value in {**variables(platform.settings), **more}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MEDFERRY_PEPPER_KEYS")
    monkeypatch.chdir(folder)
    with platform.manifest.begin() as connection:
        members = members_of(connection, platform.migration, "all", platform.migration.plan.unit_ids, {})
    yield "evidence", "".join(content.decode() for content in members.values())
    [digest] = CliRunner().invoke(app, ["key", "patient", str(ORPHAN)]).output.split()
    verify = ["verify", "--entity", "patient", "--key", str(FIRST), "--key", str(GONE)]
    yield "medferry dead-letters --json", CliRunner().invoke(app, ["dead-letters", "first", "--json"]).output
    history = ["history", "patient", digest if platform.settings.digest_keys else str(ORPHAN)]
    for command in (["dead-letters", "first"], history, verify, ["exceptions", "second"], ["heal"], ["leftovers"]):
        yield f"medferry {command[0]}", CliRunner().invoke(app, command).output


SHOWN = (
    *("report, as a page", "report, as JSON", "medferry dead-letters", "medferry dead-letters --json"),
    *("medferry history", "medferry verify", "medferry heal"),
)


@pytest.mark.parametrize("digest", [True, False], ids=["digest", "plain"])
def test_keys_are_shown_as_the_setting_says(
    tiny: Environment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    digest: bool,
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    caplog.set_level(logging.DEBUG)
    platform = Environment(tiny.migration, replace(tiny.settings, pepper_keys=PEPPER, digest_keys=digest))
    sinks = dict(sinks_of(platform, tmp_path, monkeypatch))
    sinks["log"] = caplog.text
    seen = {sink: text.count(MARK) for sink, text in sinks.items()}
    shown = {sink: text.count("key:") for sink, text in sinks.items()}
    assert all(sinks[sink].strip() for sink in SHOWN), "a sink that is empty proves nothing"
    if digest:
        assert {sink: number for sink, number in seen.items() if number} == {}
        assert all(shown[sink] for sink in SHOWN)
        assert "not shown: verify again" not in sinks["report, as a page"]
        letters = json.loads(sinks["medferry dead-letters --json"])["dead_letters"]
        assert platform.settings.pepper is not None
        nowhere = f"clinic key:{platform.settings.pepper.shown('clinic', str(NO_CLINIC))}"
        assert nowhere in [one["place"] for one in letters]
    else:
        assert all(seen[sink] for sink in SHOWN)
        assert not any(shown.values())
