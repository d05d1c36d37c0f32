"""What is held back is that of the newest look, and everything has its turn again."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest import held_back
from medferry.manifest.held_back import MOST_BORN, HeldBack, HeldReason, due_again, held_back_of, set_held_back


def lines(connection: sa.Connection, reason: HeldReason, keys: range) -> None:
    found = [
        HeldBack(
            "patient", str(key), "north", reason, place=str(key) if reason is HeldReason.BORN else f"Patient/{key}"
        )
        for key in keys
    ]
    for one in found:
        set_held_back(connection, "m", "f", [(one.entity, one.key)], [one])


def test_a_look_replaces_what_was_told_of_its_record_alone(manifest: sa.Engine) -> None:
    two = [HeldBack("patient", "1", "north", HeldReason.CONFLICT, path=path) for path in ("a", "b")]
    with manifest.begin() as connection:
        set_held_back(connection, "m", "f", [("patient", "1")], two)
        lines(connection, HeldReason.DELETED, range(2, 3))
        set_held_back(connection, "m", "f", [("patient", "1")], two[:1])
        assert [(one.key, one.path) for one in held_back_of(connection, "m", ["north"])] == [("1", "a"), ("2", "")]
        assert held_back_of(connection, "other", ["north"]) == [] == held_back_of(connection, "m", ["south"])


def test_what_a_moment_mends_is_due_at_once_and_all_else_in_turns(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        lines(connection, HeldReason.BORN, range(MOST_BORN + 5))
        lines(connection, HeldReason.CONFLICT, range(100, 101))
        lines(connection, HeldReason.ROW_CHANGED, range(200, 201))
        assert [one.key for one in due_again(connection, "m", ["north"])] == ["200"]
        connection.execute(sa.update(held_back.held_back).values(at="2020-01-01T00:00:00.000Z"))
        due = due_again(connection, "m", ["north"])
        assert {one.key for one in due if one.reason != HeldReason.BORN} == {"100", "200"}, "however many were born"
        assert len(due) == MOST_BORN + 2
        assert due_again(connection, "m", ["south"]) == []
