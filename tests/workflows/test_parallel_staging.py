"""Staging in several processes: the same files, nothing written before, four readers, nobody outlives the parent."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from medferry.apply.breaker import BreakerOpen
from medferry.errors import SourceError, StagingError
from medferry.manifest.accounting import accounts
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.prepare import prepare_run, scope_of
from medferry.workflows import parallel_staging
from medferry.workflows.migrate import execute_run
from tests.tiny_platform import EXPECTED

OPTIONS = RunOptions(slice_rows=3, batch_size=2)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> int:
    """Every slice is worth a process, on a machine of six cores."""
    monkeypatch.setattr(parallel_staging, "WORTH_A_PROCESS", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    return 6


def stage(tiny: Environment, run_id: str) -> None:
    slices = prepare_run(tiny, run_id, "run", scope_of(tiny.migration, None, None), OPTIONS)
    parallel_staging.stage_slices(tiny, run_id, slices, lambda *_: None)


def staged_files(tiny: Environment, run_id: str) -> dict[str, str]:
    root = Path(tiny.settings.staging_url) / run_id
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def children() -> list[psutil.Process]:
    """Of this process, forked from it: they have its command line."""
    own = psutil.Process().cmdline()
    return [child for child in psutil.Process().children() if child.cmdline() == own]


def test_processes_stage_what_one_alone_stages(tiny: Environment, request: pytest.FixtureRequest) -> None:
    stage(tiny, "alone")
    request.getfixturevalue("processes")
    with tiny.manifest.begin() as connection:
        connection.exec_driver_sql("DELETE FROM lease")
        connection.exec_driver_sql("DELETE FROM unit_state")  # else what was decided is unchanged, and not staged
    stage(tiny, "together")
    assert staged_files(tiny, "together") == staged_files(tiny, "alone") != {}
    with tiny.manifest.begin() as connection:
        assert accounts(connection, "together") == accounts(connection, "alone")


def test_a_run_with_processes_ends_as_its_rows_say(tiny: Environment, processes: int) -> None:
    execute_run(tiny, "first", "run", scope_of(tiny.migration, None, None), OPTIONS, lambda *_: None)
    with tiny.manifest.begin() as connection:
        ends = {(row.unit, row.entity): row.successful for row in accounts(connection, "first")}
    assert ends == {place: found.get("successful", 0) for place, found in EXPECTED.items()}
    assert children() == []


def test_a_mapping_that_fails_in_the_last_entity_stops_a_run_before_its_first_write(
    tiny: Environment, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = tiny.migration.specs["weight"]

    def fails(*_: object) -> Iterator[dict[str, object]]:
        raise KeyError("kilograms")
        yield {}

    monkeypatch.setitem(tiny.migration.specs, "weight", type(weight)(**{**_fields(weight), "function": fails}))  # type: ignore[arg-type]
    options = RunOptions(slice_rows=30, stop_at_share=0.1)
    with pytest.raises(BreakerOpen, match="mapping-error"):
        execute_run(tiny, "first", "run", scope_of(tiny.migration, None, None), options, lambda *_: None)
    with tiny.medplum() as client:
        assert [client.count(kind) for kind in ("Organization", "Practitioner", "Patient", "Observation")] == [0] * 4
    assert children() == []


def _fields(spec: object) -> dict[str, object]:
    return {name: getattr(spec, name) for name in spec.__dataclass_fields__}  # type: ignore[attr-defined]


def test_four_slices_at_most_are_read_at_once(
    tiny: Environment, processes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each reader leaves a file while it reads, and notes how many it sees; the first ones wait for another to see."""
    places, seen, company = tmp_path / "readers", tmp_path / "seen", tmp_path / "company"
    places.mkdir()
    seen.mkdir()
    extract = parallel_staging.extract_slice

    def watched(environment: Environment, run_id: str, slice_id: str) -> int:
        mark = places / slice_id
        mark.touch()
        waits_until = time.monotonic() + 5
        while len(list(places.iterdir())) < 2 and not company.exists() and time.monotonic() < waits_until:
            time.sleep(0.01)
        company.touch()
        time.sleep(0.05)
        (seen / f"{slice_id}-{len(list(places.iterdir()))}").touch()
        try:
            return extract(environment, run_id, slice_id)
        finally:
            mark.unlink()

    monkeypatch.setattr(parallel_staging, "extract_slice", watched)
    stage(tiny, "first")
    most = max(int(path.name.rpartition("-")[2]) for path in seen.iterdir())
    assert 1 < most <= 4


def test_the_error_of_a_process_is_that_of_the_run(
    tiny: Environment, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> Iterator[object]:
        raise SourceError("The legacy database refused a query.", "Try it by hand.")

    slices = prepare_run(tiny, "first", "run", scope_of(tiny.migration, None, None), OPTIONS)
    monkeypatch.setattr("medferry.stages.extract.stream", refuses)
    with pytest.raises(SourceError) as caught:
        parallel_staging.stage_slices(tiny, "first", slices, lambda *_: None)
    assert (caught.value.problem, caught.value.remedy) == ("The legacy database refused a query.", "Try it by hand.")
    assert children() == []


def test_a_process_that_is_killed_is_told_and_the_run_goes_on_from_there(
    tiny: Environment, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slices = prepare_run(tiny, "first", "run", scope_of(tiny.migration, None, None), OPTIONS)
    with monkeypatch.context() as patched:
        patched.setattr(parallel_staging, "transform_slice", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(StagingError, match="was killed"):
            parallel_staging.stage_slices(tiny, "first", slices, lambda *_: None)
    parallel_staging.stage_slices(tiny, "first", slices, lambda *_: None)
    with tiny.manifest.begin() as connection:
        assert sum(row.eligible for row in accounts(connection, "first")) == 4 + 2 + 8 + 40


_PARENT = """
import os, sys, time
from medferry.workflows import parallel_staging
from medferry.definition.migration import load_migration
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.runtime.settings import Settings
from medferry.stages.prepare import prepare_run, scope_of

parallel_staging.WORTH_A_PROCESS = 1
os.cpu_count = lambda: 2
parallel_staging.transform_slice = lambda *_: time.sleep(600)
source, manifest, area, migration = sys.argv[1:]
here = Environment(load_migration(migration), Settings(source_url=source, manifest_url=manifest, staging_url=area))
slices = prepare_run(here, "first", "run", scope_of(here.migration, None, None), RunOptions(slice_rows=3))
parallel_staging.stage_slices(here, "first", slices, lambda *_: None)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_processes_die_with_their_parent(tiny: Environment, how: signal.Signals) -> None:
    settings = tiny.settings
    arguments = [settings.source_url, settings.manifest_url, settings.staging_url, str(tiny.migration.folder)]
    environment = {**os.environ, "PYTHONPATH": str(Path(parallel_staging.__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", _PARENT, *arguments], env=environment) as parent:
        family = _until(lambda: psutil.Process(parent.pid).children(), 2)
        parent.send_signal(how)
        parent.wait(30)
        _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []


def _until(look: object, number: int) -> list[psutil.Process]:
    for _ in range(600):
        found = look()  # type: ignore[operator]
        if len(found) == number:
            return list(found)
        time.sleep(0.05)
    raise AssertionError("the processes did not begin")


def test_no_connection_is_shared_with_the_processes(
    tiny: Environment, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's locks and PostgreSQL's streams belong to one process: pools are empty when it is forked."""
    checked: list[int] = []
    pool = parallel_staging.ProcessPoolExecutor

    def forked(*arguments: object, **options: object) -> object:
        checked.append(tiny.manifest.pool.checkedin() + tiny.source.pool.checkedin())  # type: ignore[attr-defined]
        return pool(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(parallel_staging, "ProcessPoolExecutor", forked)
    stage(tiny, "first")
    assert checked == [0]
