"""`medferry conflicts`: values go to the terminal of who asks, and nowhere else; the circle, by the commands alone."""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from medferry.cli.main import app
from medferry.manifest.conflicts import ConflictState, list_conflicts
from medferry.manifest.purges import PurgeReason
from medferry.manifest.tables_of_conflicts import conflict as table
from medferry.report.reconciliation import reconcile
from medferry.report.write import render_html
from medferry.store.values import FOLDER
from medferry.sync.cycle import cycle
from medferry.sync.status import status_of
from medferry.sync.wave import SyncedWave
from medferry.workflows.purge import find, purge, purge_after
from tests.sync.conftest import Write
from tests.sync.test_conflicts import BORN
from tests.sync.test_merge import User, rename
from tests.sync.test_merge import user as user
from tests.tiny_platform import variables

Call = Callable[..., Result]


@pytest.fixture
def medferry(wave: SyncedWave, monkeypatch: pytest.MonkeyPatch) -> Call:
    for name, value in variables(wave.environment.settings).items():
        monkeypatch.setenv(name, value)

    def call(*words: str) -> Result:
        return CliRunner().invoke(app, [*words, "-m", str(wave.environment.migration.folder)])

    return call


@pytest.fixture
def found(wave: SyncedWave, write: Write, user: User) -> int:
    """The number of a conflict about a family name and a birth date."""
    user.put(name=[{"family": "Canary-M"}], birthDate="1971-01-01")
    write(rename("Canary-L"), BORN)
    cycle(wave)
    with wave.environment.manifest.begin() as connection:
        [one] = list_conflicts(connection, wave.environment.migration.name)
    return one.id


def test_it_is_listed_shown_decided_and_applied(
    medferry: Call,
    wave: SyncedWave,
    user: User,
    found: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    listed = medferry("conflicts")
    assert (listed.exit_code, "name.family" in listed.output) == (0, True), listed.output
    assert "Canary" not in listed.output
    shown = medferry("conflicts", "show", str(found)).output
    assert all(word in shown for word in ("Canary-L", "Canary-M", "1971-01-01", "1972-02-02"))
    places = json.loads(medferry("conflicts", "show", str(found), "--json").output)["places"]
    assert {(one["legacy"], one["medplum"]) for one in places} == {
        ("Canary-L", "Canary-M"),
        ("1972-02-02", "1971-01-01"),
    }
    why = ("--by", "A. Person", "--reason", "Asked.")
    for wrong in (("--legacy", "--medplum", *why), why, ("--legacy",), ("--legacy", "--path", "gender", *why)):
        assert medferry("conflicts", "decide", str(found), *wrong).exit_code == 1
    assert "NoSuchConflict" in medferry("conflicts", "decide", "99", "--legacy", *why).output
    assert status_of(wave).conflicts == 1
    half = medferry("conflicts", "decide", str(found), "--legacy", "--path", "name.family", *why)
    assert (half.exit_code, "is open" in half.output) == (0, True), half.output
    assert "is decided" in medferry("conflicts", "decide", str(found), "--medplum", "--path", "birthDate", *why).output
    assert json.loads(medferry("conflicts", "list", "--json").output)[0]["decided"] == {
        "birthDate": "medplum",
        "name.family": "legacy",
    }
    assert medferry("sync", "pilot").exit_code == 0
    assert user.content.items() >= {"family": "Canary-L", "birthDate": "1971-01-01"}.items()
    assert json.loads(medferry("conflicts", "list", "--json").output) == []
    assert ConflictState.APPLIED in medferry("conflicts", "list", "--all").output
    assert "ConflictClosed" in medferry("conflicts", "decide", str(found), "--legacy", *why).output
    assert "Canary" not in caplog.text


def test_the_report_counts_conflicts_and_holds_no_value(wave: SyncedWave, found: int) -> None:
    with wave.environment.manifest.begin() as connection:
        [one] = list_conflicts(connection, wave.environment.migration.name)
        content = reconcile(connection, wave.environment.migration, "first None")
    page, written = render_html(content), json.dumps(content.as_json(), default=str)
    assert "1 open, 0 decided" in page and "birthDate, name.family" in page
    assert [line["id"] for line in content.as_json()["conflicts"]] == [found] == [one.id]
    assert "Canary" not in page + written and FOLDER not in page + written


def test_values_go_when_the_plan_no_longer_keeps_them(
    medferry: Call,
    wave: SyncedWave,
    write: Write,
    user: User,
    found: int,
) -> None:
    environment = wave.environment
    root = Path(environment.settings.staging_url.removeprefix("file://"))

    def files() -> int:
        return len([path for path in (root / FOLDER).rglob("*") if path.is_file()])

    def purged() -> list[int]:
        return [one.files for one in purge(environment, find(environment, None), "A") if one.folder == FOLDER]

    assert (files(), purged()) == (3, [])
    medferry("conflicts", "decide", str(found), "--medplum", "--by", "A. Person", "--reason", "Asked.")
    medferry("sync", "pilot")
    assert (files(), purged()) == (3, [])
    with environment.manifest.begin() as connection:
        connection.execute(sa.update(table).values(changed_at="2020-01-01T00:00:00.000Z"))
    assert (purged(), files(), purged()) == ([2], 1, [])
    assert "1971-01-01" not in medferry("conflicts", "show", str(found)).output
    write("UPDATE patient SET family = 'Canary-M', born = '1971-01-01' WHERE id = 1")
    medferry("sync", "pilot")  # the two are the same: what the mapping had made is needed no more
    assert (files(), user.content["family"]) == (0, "Canary-M")


def test_values_whose_conflict_a_kill_has_not_let_be_noted_go_by_a_person(
    medferry: Call,
    wave: SyncedWave,
    found: int,
) -> None:
    environment = wave.environment
    root = Path(environment.settings.staging_url.removeprefix("file://"))
    [left, young] = [root / environment.values.put(b"Canary-L").name for _ in range(2)]
    torn = left.with_name(f"{uuid.uuid4().hex}.part")
    torn.write_bytes(b"Canary")
    (root / FOLDER / "notes.txt").write_text("mine")
    for path in (root / FOLDER).rglob("*"):
        if path != young:
            os.utime(path, (0, 0))
    purge_after(environment, "r")
    assert left.exists()
    [one] = [one for one in find(environment, None) if one.folder == FOLDER]
    assert (one.outcome, one.files) == (PurgeReason.NO_CONFLICT, 2)
    one.remove()
    assert (left.exists(), torn.exists(), young.exists(), (root / FOLDER / "notes.txt").exists()) == (0, 0, 1, 1)
    shown = medferry("conflicts", "show", str(found)).output
    assert all(word in shown for word in ("Canary-L", "Canary-M", "1971-01-01"))
