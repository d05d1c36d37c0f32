"""What is asked of the manifest costs the same behind 10,000 earlier runs as behind 10, in steps, not seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.manifest import leases, runs, unchanged
from medferry.manifest.bulk import append, upsert
from medferry.manifest.crosswalk import ConfirmedWrite, find_targets, record_confirmed
from medferry.manifest.database import create_manifest, open_manifest
from medferry.manifest.dead_letters import Choice, dead_letter_groups, dead_letters
from medferry.manifest.runs import RunRow
from medferry.manifest.source_records import SourceRecord, write_records
from medferry.manifest.subject import Records, records_by_key
from medferry.manifest.tables import attempt, outcome, run, slice_, source_record
from medferry.manifest.unit_state import states_of
from medferry.mapping.outcomes import Disposition
from medferry.source.slices import SliceSpec

FEW, MANY = 10, 10_000
KEYS = [str(number) for number in range(6)]
STEPS_AT_ONCE = 10
"""SQLite tells of every so many steps of its virtual machine."""

GROWTH = 1.5
"""Indexes are deeper, and no more."""
SOME_STEPS = 400


def new_run(run_id: str, number: int) -> RunRow:
    at = f"2026-01-01T00:00:00.{number:06}Z"
    return RunRow(run_id, "m", "sync", "succeeded", ["u"], ["patient"], {"dry_run": False}, "f", at, at)


def fill(manifest: sa.Engine, number: int) -> None:
    """`number` earlier runs that each decided, and wrote, the same few records; then one more in earnest."""
    names = ("id", "migration", "kind", "status", "units", "entities", "options", "fingerprint", "started_at")
    earlier = [new_run(f"run-{at:06}", at) for at in range(number)]
    with manifest.begin() as connection:
        connection.execute(
            sa.insert(run), [{**{name: getattr(row, name) for name in names}, "finished_at": "t"} for row in earlier]
        )
        slices = ("run_id", "id", "entity", "level", "units", "low", "high", "keys", "eligible", "stage")
        whole = ("patient-0", "patient", 0, '["u"]', "null", "null", "null", 6, "loaded")
        upsert(connection, slice_, slices, [(row.id, *whole) for row in earlier])
        columns = ("run_id", "entity", "key", "unit", "slice_id", "disposition", "mapping_version")
        lines = [
            (row.id, "patient", key, "u", "patient-0", "rejected" if key == "0" else "successful", "1")
            for row in earlier
            for key in KEYS
        ]
        upsert(connection, source_record, columns, lines)
        done = ("run_id", "system", "value", "entity", "slice_id", "action")
        upsert(
            connection,
            outcome,
            done,
            [(r.id, "s", key, "patient", "patient-0", "updated") for r in earlier for key in KEYS],
        )
        sent = ("run_id", "slice_id", "at", "system", "value", "action", "status", "reason")
        append(
            connection, attempt, sent, [(r.id, "p", "t", "s", key, "update", 200, "") for r in earlier for key in KEYS]
        )
        runs.add_run(connection, new_run("last", number), [])
        records = [
            SourceRecord(
                "patient", key, "u", "patient-0", end, "1", "server-rejected" if key == "0" else "", "", "", "d", "f"
            )
            for key in KEYS
            for end in [Disposition.REJECTED if key == "0" else Disposition.SUCCESSFUL]
        ]
        write_records(connection, "last", records, [])
        confirmed = [ConfirmedWrite("s", key, "patient", "Patient", f"id{key}", "v", "h", "updated") for key in KEYS]
        record_confirmed(connection, "m", "last", "patient-0", confirmed)


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[sa.Engine, sa.Engine]]:
    """Behind few earlier runs, and behind many."""
    made = []
    for number in (FEW, MANY):
        folder: Path = tmp_path_factory.mktemp(f"behind-{number}")
        url = f"sqlite:///{folder}/manifest.db"
        create_manifest(url)
        made.append(open_manifest(url))
        fill(made[-1], number)
    yield made[0], made[1]
    for engine in made:
        engine.dispose()


def steps(manifest: sa.Engine, ask: Callable[[sa.Engine], object]) -> int:
    """Steps of SQLite's virtual machine that a question takes."""
    count = 0

    def counted() -> int:
        nonlocal count
        count += STEPS_AT_ONCE
        return 0

    def begin(connection: sa.Connection) -> None:
        connection.connection.driver_connection.set_progress_handler(counted, STEPS_AT_ONCE)  # type: ignore[union-attr]

    sa.event.listen(manifest, "begin", begin)
    try:
        ask(manifest)
    finally:
        sa.event.remove(manifest, "begin", begin)
        manifest.dispose()
    return count


def asked(question: Callable[[sa.Connection], object]) -> Callable[[sa.Engine], object]:
    def ask(manifest: sa.Engine) -> object:
        with manifest.begin() as connection:
            found = question(connection)
            assert found, "a question that finds nothing shows nothing"
            return found

    return ask


def prepare(connection: sa.Connection) -> bool:
    leases.acquire(connection, "m", "next", ["u/patient"])
    spec = SliceSpec("patient", ("u",), None, None, 6)
    runs.add_run(connection, new_run("next", MANY + 1), [(0, spec)])
    found = runs.slices_of(connection, "next")
    connection.rollback()
    return bool(found)


def carried_over(connection: sa.Connection) -> int:
    runs.add_run(connection, new_run("next", MANY + 1), [(0, SliceSpec("patient", ("u",), None, None, 6))])
    [own] = runs.slices_of(connection, "next")
    found = unchanged.carry_over(connection, runs.get_run(connection, "next"), own, ["s"], KEYS[1:])
    connection.rollback()
    return found.total()


def listed(manifest: sa.Engine) -> None:
    assert [letter.now for letter in dead_letters(manifest, "m", {"patient": ["s"]}, "last", Choice())] == ["rejected"]


QUESTIONS: dict[str, Callable[[sa.Engine], object]] = {
    "list dead letters": listed,
    "count dead letters": asked(lambda c: dead_letter_groups(c, "m", "last")),
    "what is true of records": asked(lambda c: states_of(c, "m", "patient", KEYS)),
    "what a subject holds": asked(lambda c: records_by_key(c, Records("m"), "patient", KEYS)),
    "where records are in Medplum": asked(lambda c: find_targets(c, "m", [("s", key) for key in KEYS])),
    "which rows are the same": asked(
        lambda c: unchanged.same_rows(c, new_run("next", 0), "patient", dict.fromkeys(KEYS, "d"))
    ),
    "where the same rows are": asked(lambda c: unchanged.locations_of(c, "m", "patient", ["s"], KEYS)),
    "carry lines over": asked(carried_over),
    "prepare a run": asked(prepare),
    "the newest run": asked(lambda c: runs.newest_run(c, "m")),
    "whether one is finished": asked(lambda c: runs.finished_run(c, "m", "last")),
    "list runs": asked(lambda c: runs.list_runs(c, "m", 5)),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_costs_what_it_cost_behind_few_runs(manifests: tuple[sa.Engine, sa.Engine], question: str) -> None:
    few, many = (steps(manifest, QUESTIONS[question]) for manifest in manifests)
    assert 0 < many <= GROWTH * few + SOME_STEPS, (few, many)


def test_a_question_that_reads_all_runs_would_be_found(manifests: tuple[sa.Engine, sa.Engine]) -> None:
    everything = asked(lambda c: c.scalar(sa.select(sa.func.max(source_record.c.unit))))
    few, many = (steps(manifest, everything) for manifest in manifests)
    assert many > GROWTH * few + SOME_STEPS
