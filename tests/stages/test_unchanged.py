"""A record whose row is what it was is neither staged nor written; whatever differs goes through all stages."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.definition.migration import load_migration
from medferry.errors import StagingError, VerificationFailed
from medferry.manifest import runs
from medferry.manifest.accounting import findings
from medferry.manifest.tables import outcome, source_record
from medferry.medplum.client import MedplumClient
from medferry.plan.retention import Retention
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.extract import extract_slice
from medferry.stages.prepare import prepare_run, scope_of
from medferry.stages.transform import transform_slice
from medferry.workflows.migrate import execute_run
from tests.tiny_platform import EXPECTED, RESOURCES, keeping
from tests.workflows.test_migrate import dispositions, migrate

ROWS = 4 + 2 + 8 + 40
TRIED_AGAIN = 1 + 1 + 10
"""Rows that the load decided and may decide otherwise: refused by Medplum, an orphan, and what refers to a patient
that was quarantined."""
UNCHANGED = {"created": 0, "updated": 0, "unchanged": RESOURCES}


@pytest.fixture
def tiny(tiny: Environment) -> Environment:
    """Rows are kept, to be counted."""
    return keeping(tiny, Retention(staged=7))


def staged(tiny: Environment, run_id: str) -> Counter[str]:
    """Entity → rows that the run has staged."""
    with tiny.manifest.begin() as connection:
        slices = runs.slices_of(connection, run_id)
    counts: Counter[str] = Counter()
    for slice_ in slices:
        counts[slice_.entity] += len(list(tiny.staging(run_id).read_rows(slice_.id)))
    return +counts


def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that are sent from now on."""
    sent: list[int] = []
    post = MedplumClient.batch

    def counted(self: MedplumClient, entries: list[object], *args: object, **more: object) -> object:
        sent.append(len(entries))
        return post(self, entries, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(MedplumClient, "batch", counted)
    return sent


def change(tiny: Environment, sql: str, *values: object) -> None:
    path = Path(sa.make_url(tiny.settings.source_url).database or "")
    with sqlite3.connect(path) as legacy:
        legacy.execute(sql, values)
    legacy.close()


def clinic(tiny: Environment) -> dict[str, object]:
    """The clinic of key 1 as Medplum has it."""
    with tiny.medplum() as client:
        [found] = client.by_name("Organization", tiny.migration.naming.system("clinic"), ["1"])
        return client.by_id("Organization", [found["id"]])[found["id"]]


def write(tiny: Environment, method: str, body: dict[str, object]) -> None:
    with tiny.medplum() as client:
        request = {"method": method, "url": f"Organization/{body['id']}"}
        client.batch([{"request": request} | ({"resource": body} if method == "PUT" else {})], 100)


def ledger(tiny: Environment, run_id: str) -> list[tuple[str, ...]]:
    names = ("entity", "key", "unit", "disposition", "reason", "field", "place", "mapping_version")
    columns = [source_record.c[name] for name in names]
    with tiny.manifest.begin() as connection:
        return sorted(map(tuple, connection.execute(sa.select(*columns).where(source_record.c.run_id == run_id))))


@pytest.mark.parametrize("options", [{}, {"slice_rows": 3}])
def test_unchanged_rows_are_neither_staged_nor_sent_and_account_for_the_same(
    tiny: Environment, monkeypatch: pytest.MonkeyPatch, options: dict[str, int]
) -> None:
    migrate(tiny, "first")
    assert staged(tiny, "first").total() == ROWS
    sent = batches(monkeypatch)
    assert migrate(tiny, "second", **options) == UNCHANGED
    assert sum(sent) == 1  # the row that Medplum refused is tried again
    assert dispositions(tiny, "second") == EXPECTED
    assert staged(tiny, "second").total() == TRIED_AGAIN
    assert migrate(tiny, "third", **options) == UNCHANGED
    assert staged(tiny, "third").total() == TRIED_AGAIN
    assert ledger(tiny, "third") == ledger(tiny, "second") == ledger(tiny, "first")
    with tiny.manifest.begin() as connection:
        assert findings(connection, "third") == findings(connection, "first") != []


def test_a_changed_row_alone_is_staged(tiny: Environment) -> None:
    migrate(tiny, "first")
    change(tiny, "UPDATE staff SET family = 'Okonkwo' WHERE id = 1")
    assert migrate(tiny, "second") == {"created": 0, "updated": 1, "unchanged": RESOURCES - 1}
    assert staged(tiny, "second")["staff"] == 1


def test_a_row_that_moves_to_another_unit_is_staged(tiny: Environment) -> None:
    migrate(tiny, "first")
    change(tiny, "UPDATE weight SET unit = 'south' WHERE id = 0")
    migrate(tiny, "second")
    assert dispositions(tiny, "second")["north", "weight"] == {"successful": 19}


def test_a_resource_that_was_changed_in_medplum_is_found_as_ever(tiny: Environment) -> None:
    migrate(tiny, "first")
    write(tiny, "PUT", {**clinic(tiny), "name": "Changed"})
    with pytest.raises(VerificationFailed):
        migrate(tiny, "second")
    assert staged(tiny, "second")["clinic"] == 1
    reasons = {line[1]: line[4] for line in ledger(tiny, "second") if line[0] == "clinic"}
    assert reasons == {"1": "target-changed", "2": "", "3": "", "4": ""}


def test_a_resource_that_was_deleted_in_medplum_is_found_as_ever(tiny: Environment) -> None:
    migrate(tiny, "first")
    write(tiny, "DELETE", clinic(tiny))
    with pytest.raises(VerificationFailed):
        migrate(tiny, "second")
    assert {line[4] for line in ledger(tiny, "second") if line[:2] == ("clinic", "1")} == {"target-deleted"}


def test_a_second_resource_of_an_unchanged_record_is_not_proven(tiny: Environment) -> None:
    """The load has nothing to do and sees it not; the verification does."""
    migrate(tiny, "first")
    twin = {name: value for name, value in clinic(tiny).items() if name not in ("id",)}
    with tiny.medplum() as client:
        client.batch([{"resource": twin, "request": {"method": "POST", "url": "Organization"}}], 100)
    with pytest.raises(VerificationFailed, match="more than once"):
        migrate(tiny, "second")


def test_another_version_of_medferry_stages_everything(tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(tiny, "first")
    monkeypatch.setattr("medferry.runtime.staging.__version__", "999")
    assert migrate(tiny, "second") == UNCHANGED
    assert staged(tiny, "second").total() == ROWS


def test_another_version_of_the_migration_stages_everything(tiny: Environment, tmp_path: Path) -> None:
    migrate(tiny, "first")
    folder = tmp_path / "tiny"
    shutil.copytree(tiny.migration.folder, folder)
    mapping = folder / "mappings" / "staff.py"
    mapping.write_text(mapping.read_text(encoding="utf-8") + "\n# Reviewed.\n", encoding="utf-8")
    later = keeping(Environment(load_migration(folder), tiny.settings), Retention(staged=7))
    assert migrate(later, "second") == UNCHANGED
    assert staged(later, "second").total() == ROWS


def test_a_run_that_was_not_proven_has_proven_its_records_all_the_same(tiny: Environment) -> None:
    """Each was read back when it was decided; what the verification finds is for people, not for a new load."""
    migrate(tiny, "first")
    with tiny.manifest.begin() as connection:
        connection.execute(sa.text("UPDATE run SET status = 'failed'"))
    assert migrate(tiny, "second") == UNCHANGED
    assert staged(tiny, "second").total() == TRIED_AGAIN


def test_what_waited_for_a_reference_arrives_with_it(tiny: Environment) -> None:
    migrate(tiny, "first")
    change(tiny, "UPDATE patient SET born = '1985-02-28' WHERE id = 4")
    counts = migrate(tiny, "second")
    assert (counts["created"], counts["updated"]) == (1 + 10, 0)
    assert dispositions(tiny, "second")["south", "weight"] == {"successful": 10}


def test_a_rehearsal_stages_everything_and_decides_nothing(tiny: Environment) -> None:
    migrate(tiny, "first")
    migrate(tiny, "rehearsal", dry_run=True)
    assert staged(tiny, "rehearsal").total() == ROWS
    assert migrate(tiny, "second") == UNCHANGED
    assert staged(tiny, "second").total() == TRIED_AGAIN


def test_what_a_later_run_has_written_is_not_taken_for_the_same(tiny: Environment) -> None:
    """A, then B, then A again: Medplum must have A."""
    migrate(tiny, "first")
    name = clinic(tiny)["name"]
    change(tiny, "UPDATE clinic SET name = 'B' WHERE id = 1")
    migrate(tiny, "second")
    assert clinic(tiny)["name"] == "B"
    change(tiny, "UPDATE clinic SET name = ? WHERE id = 1", name)
    assert migrate(tiny, "third")["updated"] == 1
    assert clinic(tiny)["name"] == name


def test_what_refers_to_a_resource_that_has_another_id_now_is_written_again(tiny: Environment) -> None:
    """Also by a later run, when the one that created it again had other entities in its scope."""
    migrate(tiny, "first")
    old = clinic(tiny)
    write(tiny, "DELETE", old)
    scope = scope_of(tiny.migration, None, ["clinic"])
    execute_run(tiny, "clinics", "run", scope, RunOptions(overwrite=True), lambda *_: None)
    assert clinic(tiny)["id"] != old["id"]
    counts = migrate(tiny, "second")
    assert (counts["created"], counts["updated"]) == (0, 1 + 2)  # a role and two patients refer to it
    assert migrate(tiny, "third") == UNCHANGED


def test_a_transform_may_be_done_again(tiny: Environment) -> None:
    """A worker that died had carried lines over already."""
    migrate(tiny, "first")
    slices = prepare_run(tiny, "second", "run", scope_of(tiny.migration, None, None), RunOptions())
    for slice_ in slices:
        extract_slice(tiny, "second", slice_.id)
        transform_slice(tiny, "second", slice_.id)
        with tiny.manifest.begin() as connection:
            runs.set_stage(connection, "second", slice_.id, runs.SliceStage.EXTRACTED)
        assert transform_slice(tiny, "second", slice_.id)
    assert migrate(tiny, "second") == UNCHANGED
    assert ledger(tiny, "second") == ledger(tiny, "first")
    with tiny.manifest.begin() as connection:
        actions = sa.select(outcome.c.action, sa.func.count()).where(outcome.c.run_id == "second")
        assert dict(connection.execute(actions.group_by(outcome.c.action)).all()) == {"unchanged": RESOURCES}


def test_a_line_that_cannot_be_carried_over_is_told(tiny: Environment) -> None:
    migrate(tiny, "first")
    [slice_] = [
        slice_
        for slice_ in prepare_run(tiny, "second", "run", scope_of(tiny.migration, None, None), RunOptions())
        if slice_.entity == "staff"
    ]
    extract_slice(tiny, "second", slice_.id)
    with tiny.manifest.begin() as connection:
        connection.execute(sa.text("DELETE FROM source_unit WHERE run_id = 'first' AND entity = 'staff' AND key = '1'"))
    with pytest.raises(StagingError, match="1 unchanged records of staff"):
        transform_slice(tiny, "second", slice_.id)
