"""A run over unchanged rows confirms what is there; whatever differs is extracted and loaded anew."""

from __future__ import annotations

import sqlite3
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import pytest
import sqlalchemy as sa

from medferry.errors import SourceUnavailable, VerificationFailed
from medferry.manifest.tables import outcome, slice_, source_record
from medferry.medplum.client import MedplumClient
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_slice
from medferry.stages.prepare import prepare_run, scope_of
from medferry.stages.transform import transform_slice
from tests.tiny_platform import EXPECTED, RESOURCES
from tests.workflows.test_migrate import dispositions, migrate

UNCHANGED = {"created": 0, "updated": 0, "unchanged": RESOURCES}


def repeated(tiny: Environment, run_id: str) -> set[str]:
    """Entities of which a slice was confirmed, not loaded."""
    with tiny.manifest.begin() as connection:
        mine = sa.and_(slice_.c.run_id == run_id, slice_.c.repeats != "")
        return set(connection.scalars(sa.select(slice_.c.entity).where(mine)))


def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that are sent from now on."""
    sent: list[int] = []
    post = MedplumClient.batch

    def counted(self: MedplumClient, entries: list[object], *args: object, **more: object) -> object:
        sent.append(len(entries))
        return post(self, entries, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(MedplumClient, "batch", counted)
    return sent


def change(tiny: Environment, sql: str) -> None:
    path = Path(sa.make_url(tiny.settings.source_url).database or "")
    with sqlite3.connect(path) as legacy:
        legacy.execute(sql)
    legacy.close()


def test_unchanged_rows_are_neither_staged_nor_sent_and_account_for_the_same(
    tiny: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(tiny, "first")
    assert repeated(tiny, "first") == set()
    sent = batches(monkeypatch)
    assert migrate(tiny, "second") == UNCHANGED
    assert sent == [1]  # the row that Medplum refused is tried again
    assert dispositions(tiny, "second") == EXPECTED
    once = repeated(tiny, "second")
    assert once >= {"clinic", "staff"}
    staged = Path(tiny.settings.staging_url) / "second" / "rows"
    assert {file.name.partition("-")[0] for file in staged.iterdir()} == set(tiny.migration.entities) - once
    assert migrate(tiny, "third") == UNCHANGED
    assert repeated(tiny, "third") == once
    with tiny.manifest.begin() as connection:
        columns = (source_record.c.entity, source_record.c.key, source_record.c.disposition, source_record.c.reason)
        ledgers = [
            sorted(map(tuple, connection.execute(sa.select(*columns).where(source_record.c.run_id == run))))
            for run in ("first", "third")
        ]
    assert ledgers[0] == ledgers[1]


def test_a_changed_row_has_its_slice_loaded(tiny: Environment) -> None:
    migrate(tiny, "first")
    change(tiny, "UPDATE clinic SET name = name || ' West' WHERE id = (SELECT min(id) FROM clinic)")
    assert migrate(tiny, "second") == {"created": 0, "updated": 1, "unchanged": RESOURCES - 1}
    assert "clinic" not in repeated(tiny, "second")
    assert "staff" in repeated(tiny, "second")


def test_a_resource_that_was_changed_or_deleted_in_medplum_is_found_as_ever(tiny: Environment) -> None:
    migrate(tiny, "first")
    with tiny.medplum() as client:
        [found] = client.by_identifier("Organization", tiny.migration.naming.system("clinic"), ["1"])
        whole = client.by_id("Organization", [found["id"]])[found["id"]]
        url = f"Organization/{found['id']}"
        client.batch([{"resource": {**whole, "name": "Changed"}, "request": {"method": "PUT", "url": url}}], 100)
    with pytest.raises(VerificationFailed):
        migrate(tiny, "second")
    assert dispositions(tiny, "second") != EXPECTED
    assert "clinic" not in repeated(tiny, "second")
    with tiny.manifest.begin() as connection:
        mine = sa.and_(source_record.c.run_id == "second", source_record.c.entity == "clinic")
        reasons = set(connection.scalars(sa.select(source_record.c.reason).where(mine)))
    assert reasons == {"", "target-changed"}


def test_another_version_of_medferry_loads_everything_again(tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(tiny, "first")
    monkeypatch.setattr("medferry.source.database.__version__", "999")
    assert migrate(tiny, "second") == UNCHANGED
    assert repeated(tiny, "second") == set()


def test_a_run_that_was_not_proven_is_not_repeated(tiny: Environment) -> None:
    migrate(tiny, "first")
    with tiny.manifest.begin() as connection:
        connection.execute(sa.text("UPDATE run SET status = 'failed'"))
    assert migrate(tiny, "second") == UNCHANGED
    assert repeated(tiny, "second") == set()


def test_a_slice_with_unresolved_references_is_tried_again(tiny: Environment) -> None:
    """What it refers to may have arrived meanwhile."""
    migrate(tiny, "first")
    with tiny.manifest.begin() as connection:
        mine = sa.and_(source_record.c.run_id == "first", source_record.c.reason == "unresolved-reference")
        waiting = set(connection.scalars(sa.select(source_record.c.entity).where(mine)))
    assert waiting
    migrate(tiny, "second")
    assert not waiting & repeated(tiny, "second")
    with tiny.manifest.begin() as connection:
        actions = connection.execute(sa.select(outcome.c.action).where(outcome.c.run_id == "second").distinct())
        assert set(actions.scalars()) == {"unchanged"}


def clinic(tiny: Environment) -> dict[str, object]:
    """The clinic of key 1 as Medplum has it."""
    with tiny.medplum() as client:
        [found] = client.by_identifier("Organization", tiny.migration.naming.system("clinic"), ["1"])
        return client.by_id("Organization", [found["id"]])[found["id"]]


def write(tiny: Environment, method: str, body: dict[str, object]) -> None:
    with tiny.medplum() as client:
        request = {"method": method, "url": f"Organization/{body['id']}"}
        client.batch([{"request": request} | ({"resource": body} if method == "PUT" else {})], 100)


def staged(tiny: Environment, run_id: str) -> str:
    """Prepare a run and stage all of it, as the tasks before its load do; returns the slice of the clinics."""
    slices = prepare_run(tiny, run_id, "run", scope_of(tiny.migration, None, None), RunOptions())
    for one in slices:
        extract_slice(tiny, run_id, one.id)
        transform_slice(tiny, run_id, one.id)
    return next(one.id for one in slices if one.entity == "clinic")


def test_a_confirmed_slice_may_be_loaded_again(tiny: Environment) -> None:
    migrate(tiny, "first")
    slice_id = staged(tiny, "second")
    assert load_slice(tiny, "second", slice_id) == {"successful": 4}
    assert load_slice(tiny, "second", slice_id) == {}
    assert migrate(tiny, "second") == UNCHANGED
    assert migrate(tiny, "second") == UNCHANGED


def test_a_source_that_fails_when_a_slice_is_staged_after_all_dead_letters_nothing(
    tiny: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(tiny, "first")
    write(tiny, "PUT", {**clinic(tiny), "alias": ["by somebody else"]})
    slice_id = staged(tiny, "second")
    with monkeypatch.context() as patched:
        lost = SourceUnavailable("The legacy database did not answer.", "")
        patched.setattr("medferry.stages.load.extract_locked", Mock(side_effect=lost))
        with pytest.raises(SourceUnavailable):
            load_slice(tiny, "second", slice_id)
    assert load_slice(tiny, "second", slice_id) == {"successful": 3, "quarantined": 1}
    with pytest.raises(VerificationFailed):
        migrate(tiny, "second")
    ends = [Counter(some) for (_, entity), some in dispositions(tiny, "second").items() if entity == "clinic"]
    assert sum(ends, Counter()) == {"successful": 3, "quarantined": 1}


def test_what_an_unproven_run_has_written_since_is_not_taken_for_the_same(tiny: Environment) -> None:
    """A, then B by a run that was not proven, then A again: Medplum must have A."""
    migrate(tiny, "first")
    name = clinic(tiny)["name"]
    change(tiny, "UPDATE clinic SET name = 'B' WHERE id = 1")
    migrate(tiny, "second")
    with tiny.manifest.begin() as connection:
        connection.execute(sa.text("UPDATE run SET fingerprint = 'other' WHERE id = 'second'"))
    assert clinic(tiny)["name"] == "B"
    with sqlite3.connect(sa.make_url(tiny.settings.source_url).database or "") as legacy:
        legacy.execute("UPDATE clinic SET name = ? WHERE id = 1", (name,))
    legacy.close()
    assert migrate(tiny, "third")["updated"] == 1
    assert clinic(tiny)["name"] == name


def test_what_refers_to_a_resource_that_was_created_again_is_written_anew(tiny: Environment) -> None:
    migrate(tiny, "first")
    old = clinic(tiny)
    write(tiny, "DELETE", old)
    counts = migrate(tiny, "second", overwrite=True)
    assert counts["created"] == 1
    assert counts["updated"] > 0
    assert clinic(tiny)["id"] != old["id"]
    assert not {"clinic", "staff"} & repeated(tiny, "second")
