"""Rows that cannot be loaded, and a mapping that cannot map."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.faults.checker import CANARY, read_ledger
from tests.faults.simulator import World

POISON = [
    {"family": f"{CANARY}{'P' * 3_000}"},
    {"born": "2023-02-29"},
    {"sex": "?"},
    {"clinic_id": 4_711},
]


def test_one_percent_of_poison_rows_stops_no_other_row(world: World) -> None:
    dice = random.Random(7)
    poisoned = dict(zip(dice.sample(range(100, 500), 4), POISON, strict=True))
    rows = []
    for key in range(100, 500):
        row = {"unit": "north", "clinic_id": 1, "family": f"{CANARY}{key}", "born": "1977-07-07", "sex": "F"}
        rows.append((key, *(row | poisoned.get(key, {})).values()))
    world.change("INSERT INTO patient VALUES (?, ?, ?, ?, ?, ?, NULL)", *rows)
    assert world.do(options={"batch_size": 50, "slice_rows": 120}).status == 0
    assert world.problems() == []


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
    assert "VerificationFailed" in world.do().error
    assert ends(world, "r").keys() == {("quarantined", "mapping-error")}
    (world.migration / "mappings" / "weight.py").write_text(right, encoding="utf-8")
    assert world.do(run_id="fixed").status == 0
    assert world.problems("fixed") == []


@pytest.mark.xfail(strict=True, reason="circuit breaker")
def test_a_mapping_bug_on_every_row_trips_the_breaker(world: World) -> None:
    break_mapping(world)
    world.do()
    assert ends(world, "r")["quarantined", "mapping-error"] < sum(ends(world, "r").values())
