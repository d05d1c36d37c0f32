"""Rows that cannot be loaded, and a mapping that cannot map."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter

import pytest

from medferry.apply.breaker import LEAST
from tests.faults.checker import CANARY, read_ledger
from tests.faults.simulator import World

POISON = [
    {"family": f"{CANARY}{'P' * 3_000}"},
    {"born": "2023-02-29"},
    {"sex": "?"},
    {"clinic_id": 4_711},
]


def poison(world: World) -> None:
    """400 more patients, 1 % of them with something that cannot be loaded, each with a weight."""
    dice = random.Random(7)
    poisoned = dict(zip(dice.sample(range(100, 500), 4), POISON, strict=True))
    rows, weights = [], []
    for key in range(100, 500):
        row = {"unit": "north", "clinic_id": 1, "family": f"{CANARY}{key}", "born": "1977-07-07", "sex": "F"}
        rows.append((key, *(row | poisoned.get(key, {})).values()))
        weights.append((key, "north", key, 70, "2024-05-01 08:30:00", "2024-05-01 09:00:00"))
    world.change("INSERT INTO patient VALUES (?, ?, ?, ?, ?, ?, NULL)", *rows)
    world.change("INSERT INTO weight VALUES (?, ?, ?, ?, ?, ?)", *weights)


def test_one_percent_of_poison_rows_stops_no_other_row(world: World) -> None:
    poison(world)
    assert world.do(options={"batch_size": 50, "slice_rows": 120}).status == 0
    assert world.problems() == []


MENDED = f"family = '{CANARY}' || id, born = '1977-07-07', sex = 'F', clinic_id = 1"


@pytest.fixture
def mended(world: World) -> World:
    """A world whose poison rows were corrected after the run "r"."""
    poison(world)
    assert world.do(options={"slice_rows": 120}).status == 0
    world.change(f"UPDATE patient SET {MENDED} WHERE id >= 100 OR id IN (4, 6)", ())
    return world


def test_a_replay_after_the_poison_rows_are_mended_brings_in_exactly_those(mended: World) -> None:
    assert mended.do("replay", "again", replays="r", options={"slice_rows": 3}).status == 0
    assert mended.problems("again", replayed="r") == []
    dead = [unit for unit in read_ledger(mended.scene(), "again").units if unit[2] != "successful"]
    assert sorted(key for _, key, _, _ in dead) == ["5", "7"]  # nobody has mended these


@pytest.mark.parametrize("at", range(0, 40, 5))
def test_a_replay_that_is_killed_goes_on(mended: World, at: int) -> None:
    first = mended.do("replay", "again", replays="r", at=at, do="kill")
    assert first.killed, f"the replay has only {len(first.steps)} steps"
    assert mended.do("replay", "again", replays="r").status == 0
    assert mended.problems("again", replayed="r") == []


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("DELETE FROM source_unit WHERE run_id = 'again' AND key = '5'", "is a dead letter and was left out"),
        ("UPDATE source_unit SET key = '1' WHERE run_id = 'again' AND key = '5'", "was no dead letter"),
    ],
)
def test_the_checker_sees_a_replay_of_other_rows(mended: World, harm: str, told: str) -> None:
    assert mended.do("replay", "again", replays="r").status == 0
    with sqlite3.connect(mended.folder / "manifest.db") as manifest:
        assert manifest.execute(harm).rowcount == 1
    manifest.close()
    assert any(told in line for line in mended.problems("again", replayed="r"))


BROKEN = '    kilograms = row[\'no_such_column\'] + ctx.number(row["kg"], "kg")\n'


def break_mapping(world: World) -> str:
    """A fault in every row of the weights; returns the right text."""
    path = world.migration / "mappings" / "weight.py"
    right = path.read_text(encoding="utf-8")
    path.write_text(right.replace('    kilograms = ctx.number(row["kg"], "kg")\n', BROKEN), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != right
    return right


def ends(world: World, run_id: str) -> Counter[tuple[str, str]]:
    units = read_ledger(world.scene(), run_id).units
    return Counter((disposition, reason) for entity, _, disposition, reason in units if entity == "weight")


def test_a_mapping_bug_on_every_row_is_told_and_a_new_run_after_the_fix_is_right(world: World) -> None:
    right = break_mapping(world)
    assert "VerificationFailed" in world.do(options={"stop_at_share": 1}).error
    assert ends(world, "r").keys() == {("quarantined", "mapping-error")}
    (world.migration / "mappings" / "weight.py").write_text(right, encoding="utf-8")
    assert world.do(run_id="fixed").status == 0
    assert world.problems("fixed") == []


def test_a_mapping_bug_on_every_row_trips_the_breaker(world: World) -> None:
    right = break_mapping(world)
    assert world.do().error.startswith(f"BreakerOpen: {LEAST} of the first {LEAST} source records of weight failed")
    assert ends(world, "r") == {("quarantined", "mapping-error"): LEAST}
    (world.migration / "mappings" / "weight.py").write_text(right, encoding="utf-8")
    assert world.do(run_id="fixed").status == 0
    assert world.problems("fixed") == []


def test_a_server_that_refuses_every_row_trips_the_breaker(world: World) -> None:
    """Rows that no server takes, here for their size; what was not decided waits for the next attempt."""
    world.change("UPDATE patient SET family = ? || family", (f"{CANARY}{'P' * 3_000}",))
    rows = [(key, "north", 1, f"{CANARY}{'P' * 3_000}", "1977-07-07", "F") for key in range(100, 1_700)]
    world.change("INSERT INTO patient VALUES (?, ?, ?, ?, ?, ?, NULL)", *rows)
    assert world.do(options={"batch_size": 25, "lanes": 1}).error.startswith("BreakerOpen")
    decided = Counter(d for entity, _, d, _ in read_ledger(world.scene(), "r").units if entity == "patient")
    assert LEAST <= decided["rejected"] < 1_600
