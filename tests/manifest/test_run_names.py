"""A run by what an operator calls it: never another than the one that is meant."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.manifest import leases
from medferry.manifest.database import create_manifest, open_manifest
from medferry.manifest.dead_letters import Choice, newest_with_dead_letters
from medferry.manifest.run_names import AmbiguousRun, run_at_work, run_called
from medferry.manifest.runs import RunRow, RunStatus, UnknownRun, add_run, finish_run
from medferry.manifest.tables import unit_state
from medferry.mapping.outcomes import Disposition

SHOWN = "manual__2026-11-22T20:00:00+00:00"


@pytest.fixture
def manifest(tmp_path: Path) -> sa.Engine:
    url = f"sqlite:///{tmp_path}/manifest.db"
    create_manifest(url)
    return open_manifest(url)


def begun(connection: sa.Connection, *ids: str, migration: str = "m", kind: str = "wave") -> None:
    """Runs of these ids, the last the newest, that have not ended."""
    for number, run_id in enumerate(ids):
        at = f"2026-11-22T20:00:0{number}.000Z"
        add_run(connection, RunRow(run_id, migration, kind, RunStatus.RUNNING, ["u"], ["e"], {}, "f", at, None), [])


def test_the_id_of_its_dag_run_means_the_run(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        begun(connection, f"wave_a.{SHOWN}", f"wave_a.{SHOWN}.2", f"wave_a.{SHOWN}.x", "whole")
        begun(connection, f"wave_b.{SHOWN}", migration="other")
        assert run_called(connection, "m", f"wave_a.{SHOWN}").id == f"wave_a.{SHOWN}"
        assert run_called(connection, "m", SHOWN).id == f"wave_a.{SHOWN}.2"
        assert run_called(connection, "m", "whole").id == "whole"


@pytest.mark.parametrize("name", ["", "2", "manual", "%", SHOWN[:-1], "wave_a", "hole", f"wave_b.{SHOWN}"])
def test_what_is_no_name_of_a_run_finds_none(manifest: sa.Engine, name: str) -> None:
    with manifest.begin() as connection:
        begun(connection, f"wave_a.{SHOWN}", f"wave_a.{SHOWN}.2", "whole")
        begun(connection, f"wave_b.{SHOWN}", migration="other")
        with pytest.raises(UnknownRun):
            run_called(connection, "m", name)


def test_an_id_that_two_dags_have_is_not_guessed_at(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        begun(connection, "wave_a.first", "wave_b.first")
        with pytest.raises(AmbiguousRun, match=r"wave_b\.first, wave_a\.first"):
            run_called(connection, "m", "first")


def test_the_run_at_work_is_the_only_one_or_the_only_one_that_lives(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        begun(connection, "cut", kind="sync_a")
        with pytest.raises(UnknownRun):
            run_at_work(connection, "m")
        begun(connection, "killed", "alive")
        begun(connection, "foreign", migration="other")
        with pytest.raises(AmbiguousRun, match="alive, killed"):
            run_at_work(connection, "m")
        leases.acquire(connection, "m", "alive", ["u/e"])
        assert run_at_work(connection, "m").id == "alive"
        finish_run(connection, "alive", RunStatus.FAILED)
        assert run_at_work(connection, "m").id == "killed"


def test_dead_letters_are_of_the_run_that_decided_them(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        begun(connection, "old", "new", "newest")
        assert newest_with_dead_letters(connection, "m") is None
        for key, run_id, disposition, reason in (
            ("1", "old", Disposition.QUARANTINED, "impossible-date"),
            ("2", "new", Disposition.REJECTED, "server-rejected"),
            ("3", "newest", Disposition.SUCCESSFUL, ""),
        ):
            names = {"migration": "m", "entity": "e", "key": key, "unit": "u", "run_id": run_id, "reason": reason}
            told = {
                "disposition": disposition,
                "mapping_version": "1",
                "fingerprint": "f",
                "decided_at": "t",
                "source_digest": "",
            }
            connection.execute(sa.insert(unit_state).values(**names, **told))
        assert newest_with_dead_letters(connection, "m") == "new"
        assert newest_with_dead_letters(connection, "m", Choice(reasons=["impossible-date"])) == "old"
        assert newest_with_dead_letters(connection, "other") is None
