"""A whole run whose staging area is an object store, alone and with several processes; its report there, too."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from medferry.errors import StagingError
from medferry.manifest.accounting import accounts
from medferry.manifest.database import create_manifest
from medferry.report.write import publish_report, write_report
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.runtime.systems import check_systems
from medferry.stages.prepare import scope_of
from medferry.store.place import StoreUnavailable
from medferry.workflows import parallel_staging
from medferry.workflows.migrate import execute_run
from tests.s3 import S3Server, s3_server
from tests.tiny_platform import EXPECTED

OPTIONS = RunOptions(slice_rows=10)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as found:
        yield found


@pytest.fixture
def stored(tiny: Environment, server: S3Server) -> Environment:
    """The tiny platform, whose staging area is in a bucket of its own."""
    settings = replace(tiny.settings, staging_url=f"s3://{server.bucket()}/area", store_options=server.options)
    create_manifest(settings.manifest_url)
    return Environment(tiny.migration, settings)


def run(stored: Environment, run_id: str) -> None:
    check_systems(stored, dry=False)
    execute_run(stored, run_id, "run", scope_of(stored.migration, None, None), OPTIONS, lambda *_: None)


@pytest.mark.parametrize("processes", [1, 4])
def test_a_run_ends_as_its_rows_say(stored: Environment, monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    """Forked processes have no thread of their parent's, by which it has asked the store already."""
    monkeypatch.setattr(parallel_staging, "WORTH_A_PROCESS", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: processes)
    run(stored, "r")
    with stored.manifest.begin() as connection:
        ends = {(row.unit, row.entity): row.successful for row in accounts(connection, "r")}
    assert ends == {place: found.get("successful", 0) for place, found in EXPECTED.items()}
    assert [folder.name for folder in stored.staging_area.folders()] == [], "what was staged goes when it is proven"


def test_a_run_that_the_store_stopped_goes_on_when_it_heals(stored: Environment, server: S3Server) -> None:
    check_systems(stored, dry=False)
    server.status = 503
    try:
        with pytest.raises(StoreUnavailable):
            run(stored, "r")
    finally:
        server.status = 0
    run(stored, "r")
    with stored.manifest.begin() as connection:
        assert sum(row.successful for row in accounts(connection, "r")) == 39


def test_what_vanished_from_the_store_is_told(stored: Environment, server: S3Server) -> None:
    staging = stored.staging("r")
    staging.write_rows("s", [b"{}"])
    server.filesystem.rm(stored.settings.staging_url, recursive=True)
    with pytest.raises(StagingError, match="cannot be read"):
        list(staging.read_rows("s"))


def test_the_report_in_the_store_is_the_one_on_a_disk(stored: Environment, server: S3Server, tmp_path: Path) -> None:
    run(stored, "r")
    url = f"{stored.settings.staging_url.removesuffix('/area')}/reports/r"
    page = publish_report(stored, "r", url)
    local = write_report(stored, "r", tmp_path)
    assert page == f"{url}/reconciliation.html"
    assert json.loads(server.filesystem.cat_file(page.replace(".html", ".json"))) == json.loads(local.json.read_text())
    assert b"<html" in server.filesystem.cat_file(page)
