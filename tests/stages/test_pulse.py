"""A load says how it ended, and an abort ends it while it waits for quota."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.manifest.database import create_manifest
from medferry.manifest.kinds import RunKind
from medferry.runtime.control import RunAborted, abort
from medferry.runtime.environment import Environment, own_run
from medferry.runtime.options import RunOptions
from medferry.runtime.systems import check_systems
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_session
from medferry.stages.prepare import prepare_run, scope_of
from medferry.stages.transform import transform_slice

RUN = "r1"


def staged(environment: Environment) -> list[str]:
    create_manifest(environment.settings.manifest_url)
    check_systems(environment, dry=False)
    scope = scope_of(environment.migration, None, None)
    slices = [one.id for one in prepare_run(environment, RUN, RunKind.WHOLE, scope, RunOptions(stop_at_share=1.0))]
    for slice_id in slices:
        extract_slice(environment, RUN, slice_id)
        transform_slice(environment, RUN, slice_id)
    return slices


def load(environment: Environment, slices: list[str]) -> None:
    run, options = own_run(environment, RUN)
    with load_session(environment, run, options) as session:
        session.load(slices)


def test_each_stage_tells_its_end(tiny: Environment, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "medferry.runtime.pulse")
    slices = staged(tiny)
    load(tiny, slices)
    told = [record.message for record in caplog.records]
    assert any(line.startswith("extract of patient, run r1: ") for line in told)
    assert any(line.startswith("transform of patient, run r1: ") and "3 quarantined" not in line for line in told)
    (last,) = [line for line in told if line.startswith("load of ")]
    assert last.startswith("load of 4 entities, run r1: ")
    assert "41 created" in last
    assert "main reasons: " in last
    assert "unresolved-reference" in last
    assert "Ada" not in " ".join(told)


def test_an_abort_ends_a_load_that_waits_for_quota(tiny: Environment, medplum: EmbeddedMedplum) -> None:
    slices = staged(tiny)
    medplum.inject({"kind": "throttle", "every": 1, "ms_before_next": 3_600_000, "path": "/fhir/R4"})
    ended: list[BaseException] = []

    def work() -> None:
        try:
            load(tiny, slices)
        except BaseException as error:  # noqa: BLE001 - looked at below
            ended.append(error)

    loading = threading.Thread(target=work, daemon=True)
    loading.start()
    time.sleep(1)
    abort(tiny, RUN)
    loading.join(60)
    medplum.inject()
    assert isinstance(ended[0], RunAborted)
