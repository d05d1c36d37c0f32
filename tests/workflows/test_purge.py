"""What no run needs goes, at once or after the plan's days, and nothing else does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from medferry.errors import LeaseHeld, StagingError, VerificationFailed
from medferry.manifest import leases, runs
from medferry.manifest.purges import PurgeReason, purges_of
from medferry.manifest.runs import RunRow, RunStatus
from medferry.plan.retention import Retention
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.runtime.staging import Staging, StagingArea
from medferry.runtime.systems import check_staging
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_slice
from medferry.stages.prepare import prepare_run, scope_of
from medferry.stages.transform import transform_slice
from medferry.workflows import purge as purging
from medferry.workflows.purge import Found, Kept, NotAbandoned, find, purge
from tests.cli.conftest import medferry  # noqa: F401 -- a fixture
from tests.tiny_platform import keeping
from tests.workflows.test_migrate import migrate

DAY = 86_400
DRAWN = '<!doctype html>\n<meta name="generator" content="Medferry charts">Ada'
BEFORE_THE_MARK = """<!doctype html>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Charts to review</title>Ada"""


def staged(tiny: Environment) -> set[str]:
    """Every file of every run in the staging area, by its run and kind."""
    root = Path(tiny.settings.staging_url)
    files = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {"/".join(path.parts[:2]) for path in files if len(path.parts) > 1}


def outcomes(tiny: Environment, charts: Path | None = None, abandoned: tuple[str, ...] = ()) -> dict[str, object]:
    return {Path(one.folder).name: one.outcome for one in find(tiny, charts, abandoned)}


def told(result: object) -> str:
    return str(getattr(result, "output", ""))


def remove(tiny: Environment, abandoned: tuple[str, ...] = ()) -> list[Found]:
    return list(purge(tiny, find(tiny, None, abandoned), "ada"))


def stage(tiny: Environment, run_id: str, **options: object) -> list[str]:
    """Stage a run as its tasks would, and leave it there; returns its slices."""
    slices = prepare_run(tiny, run_id, "run", scope_of(tiny.migration, None, None), RunOptions.model_validate(options))
    check_staging(tiny)
    for one in slices:
        extract_slice(tiny, run_id, one.id)
        transform_slice(tiny, run_id, one.id)
    return [one.id for one in slices]


def killed(tiny: Environment, run_id: str) -> None:
    """Its leases have run out."""
    with tiny.manifest.begin() as connection:
        leases.release(connection, run_id)


def aged(tiny: Environment, days: float) -> None:
    """Let all runs have begun and ended so many days earlier."""
    with tiny.manifest.begin() as connection:
        for name in ("started_at", "finished_at"):
            shifted = f"strftime('%Y-%m-%dT%H:%M:%fZ', {name}, '-{days} days')"
            connection.exec_driver_sql(f"UPDATE run SET {name} = {shifted}")


def test_rows_go_when_they_are_transformed_and_bundles_when_they_are_proven(tiny: Environment) -> None:
    slices = stage(tiny, "r")
    assert staged(tiny) == {"r/bundles"}
    assert outcomes(tiny) == {"r": Kept.AT_WORK}
    migrate(tiny, "r")
    assert staged(tiny) == set()
    assert not (Path(tiny.settings.staging_url) / "r").exists()
    with tiny.manifest.begin() as connection:
        [line] = purges_of(connection, "tiny", 9)
    assert (line.folder, line.reason, line.person) == ("r", PurgeReason.PROVEN, "run r")
    assert line.files > 0
    assert line.done_at
    load_slice(tiny, "r", slices[-1])  # a task that was cleared finds nothing to do
    transform_slice(tiny, "r", slices[-1])
    killed(tiny, "r")
    migrate(tiny, "r")


def test_rows_of_a_worker_that_died_before_it_removed_them_go_with_the_next(
    tiny: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(Staging, "discard_rows", lambda *_: None)
        slices = stage(tiny, "r")
    assert staged(tiny) == {"r/rows", "r/unchanged", "r/bundles"}
    for slice_id in slices:
        transform_slice(tiny, "r", slice_id)
    assert staged(tiny) == {"r/bundles"}


def test_what_an_unproven_run_has_staged_stays_until_it_may_not_go_on(tiny: Environment) -> None:
    plan = tiny.migration.plan
    strict = plan.model_copy(update={"acceptance": plan.acceptance.model_copy(update={"max_rejected_share": 0.0})})
    with pytest.raises(VerificationFailed):
        migrate(replace(tiny, migration=replace(tiny.migration, plan=strict)), "r")
    assert staged(tiny) == {"r/bundles"}
    assert outcomes(tiny) == {"r": Kept.UNFINISHED}
    assert remove(tiny) == []
    migrate(tiny, "later")
    assert staged(tiny) == set()
    with tiny.manifest.begin() as connection:
        assert {line.folder: line.reason for line in purges_of(connection, "tiny", 9)} == {
            "r": PurgeReason.SUPERSEDED,
            "later": PurgeReason.PROVEN,
        }


def test_a_run_that_was_killed_goes_on_or_is_given_up_by_a_person(tiny: Environment) -> None:
    slices = stage(tiny, "r")
    with pytest.raises(NotAbandoned, match="is at work"):
        find(tiny, None, ["r"])
    with pytest.raises(runs.UnknownRun):
        find(tiny, None, ["no-such-run"])
    killed(tiny, "r")
    aged(tiny, 400)
    assert outcomes(tiny) == {"r": Kept.UNFINISHED}
    assert [one.outcome for one in remove(tiny, ("r",))] == [PurgeReason.ABANDONED]
    assert staged(tiny) == set()
    with pytest.raises(StagingError, match="start a new run"):
        load_slice(tiny, "r", slices[0])


def test_the_plan_keeps_what_is_over_for_its_days(tiny: Environment) -> None:
    week = keeping(tiny, Retention(staged=7))
    migrate(week, "r")
    assert staged(tiny) == {"r/rows", "r/unchanged", "r/bundles"}
    aged(week, 6.9)
    assert outcomes(week) == {"r": Kept.RETENTION}
    aged(week, 0.2)
    assert outcomes(week) == {"r": PurgeReason.PROVEN}
    assert [one.folder for one in remove(week)] == ["r"]
    assert (staged(tiny), remove(week)) == (set(), [])


def test_a_dry_run_s_bundles_may_be_looked_at_until_they_are_purged(tiny: Environment) -> None:
    migrate(tiny, "dry", dry_run=True)
    stage(tiny, "working", dry_run=True)
    assert staged(tiny) == {"dry/bundles", "working/bundles"}
    assert outcomes(tiny) == {"dry": PurgeReason.REHEARSED, "working": Kept.AT_WORK}
    assert outcomes(keeping(tiny, Retention(staged=1)))["dry"] == Kept.RETENTION
    aged(tiny, 1.1)
    assert outcomes(tiny)["working"] == PurgeReason.REHEARSED


def test_only_what_runs_have_staged_is_removed(tiny: Environment) -> None:
    migrate(keeping(tiny, Retention(staged=7)), "r")
    aged(tiny, 1)
    root = Path(tiny.settings.staging_url)
    (root / "r" / "notes.txt").write_text("mine")
    for folder in ("forgotten", "@values"):
        (root / folder / "rows").mkdir(parents=True)
        (root / folder / "rows" / "s.ndjson.gz.part").write_text("x")
    assert outcomes(tiny) == {"forgotten": PurgeReason.NO_RUN, "r": Kept.FOREIGN}
    purging.purge_after(tiny, "r")  # by itself a run removes only what is of runs
    assert outcomes(tiny) == {"forgotten": PurgeReason.NO_RUN, "r": Kept.FOREIGN}
    remove(tiny)
    assert (root / "@values" / "rows" / "s.ndjson.gz.part").exists()
    assert (root / "r" / "notes.txt").exists()
    assert not (root / "forgotten").exists()
    plan = tiny.migration.plan.model_copy(update={"name": "other"})
    other = replace(tiny, migration=replace(tiny.migration, plan=plan))
    (root / "r" / "notes.txt").unlink()
    assert outcomes(other) == {"r": Kept.OTHER_MIGRATION}


def test_a_folder_of_two_runs_goes_when_both_are_over(tiny: Environment) -> None:
    migrate(keeping(tiny, Retention(staged=7)), "r:1")
    stage(keeping(tiny, Retention(staged=7)), "r_1")
    aged(tiny, 1)
    assert outcomes(tiny) == {"r_1": Kept.AT_WORK}
    killed(tiny, "r_1")
    assert outcomes(tiny) == {"r_1": Kept.UNFINISHED}
    assert [one.outcome for one in remove(tiny, ("r_1",))] == [PurgeReason.PROVEN]


def test_a_purge_that_fails_is_in_the_ledger_and_the_next_ends_it(
    tiny: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise StagingError("Not all could be removed.")

    with monkeypatch.context() as failing:
        failing.setattr(StagingArea, "remove", fails)
        migrate(tiny, "r")  # is proven all the same
    assert staged(tiny) == {"r/bundles"}
    remove(tiny)
    with tiny.manifest.begin() as connection:
        lines = purges_of(connection, "tiny", 9)
        assert runs.get_run(connection, "r").status == RunStatus.SUCCEEDED
    assert [(line.person, bool(line.done_at)) for line in lines] == [("ada", True), ("run r", False)]


def test_charts_go_when_they_are_old(tiny: Environment, tmp_path: Path) -> None:
    check_staging_of_a_new_manifest(tiny)
    charts = tmp_path / "charts"
    for run_id, age in (("old", 31), ("new", 29)):
        (charts / run_id).mkdir(parents=True)
        for name in ("chart-0001.html", "index.html"):
            (charts / run_id / name).write_text(DRAWN)
            then = time.time() - age * DAY
            os.utime(charts / run_id / name, (then, then))
    (charts / "old" / "mine.txt").write_text("notes")
    (charts / "site").mkdir()
    for name in ("index.html", "chart-0001.html"):  # of somebody else
        (charts / "site" / name).write_text("<title>Our charts</title>")
        os.utime(charts / "site" / name, (1, 1))
    assert outcomes(tiny, charts) == {"old": PurgeReason.CHARTS, "new": Kept.RETENTION}
    list(purge(tiny, find(tiny, charts), "ada"))
    left = {path.relative_to(charts).as_posix() for path in charts.rglob("*") if path.is_file()}
    site = {"site/index.html", "site/chart-0001.html"}
    assert left == {"old/mine.txt", "new/chart-0001.html", "new/index.html", *site}


def test_a_page_that_is_another_by_now_stays(tiny: Environment, tmp_path: Path) -> None:
    check_staging_of_a_new_manifest(tiny)
    page = tmp_path / "charts" / "old" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(BEFORE_THE_MARK)
    os.utime(page, (1, 1))
    found = find(tiny, tmp_path / "charts")
    assert [one.outcome for one in found] == [PurgeReason.CHARTS]
    page.write_text("somebody else's")
    list(purge(tiny, found, "ada"))
    assert page.read_text() == "somebody else's"


def check_staging_of_a_new_manifest(tiny: Environment) -> None:
    prepare_run(tiny, "first", "run", scope_of(tiny.migration, None, None), RunOptions())
    check_staging(tiny)


def test_the_command_shows_first_and_removes_when_it_is_told(
    tiny: Environment,
    medferry: Callable[..., object],  # noqa: F811
) -> None:
    migrate(tiny, "dry", dry_run=True)
    shown = told(medferry("purge"))
    assert "would be removed" in shown
    assert staged(tiny) == {"dry/bundles"}
    assert "removed" in told(medferry("purge", "--apply"))
    assert staged(tiny) == set()
    assert "it was a dry run" in told(medferry("purge", "--done"))
    assert "Nothing is staged" in told(medferry("purge"))


def test_nothing_goes_from_under_a_run_that_is_at_work(tiny: Environment) -> None:
    """Whatever the plan's days are, and however late it is."""
    stage(tiny, "r")
    aged(tiny, 400)
    with tiny.manifest.begin() as connection, pytest.raises(LeaseHeld):
        run: RunRow = runs.get_run(connection, "r")
        leases.acquire(connection, "tiny", "other", [f"{run.units[0]}/{run.entities[0]}"])
    assert outcomes(tiny) == {"r": Kept.AT_WORK}
    migrate(tiny, "r")
