"""Foreign keys of MySQL and MariaDB that change rows of a child table behind its triggers' back.

InnoDB carries out ON DELETE and ON UPDATE actions without firing the child's triggers, so the parent's triggers log the
children's keys: before the action, while the rows are still as they were, and after an update, as they are then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.source.changes.journal import CaptureBroken
from medferry.source.changes.rules import KeyOf, Watched

_ACTIONS = ("CASCADE", "SET NULL")


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """Columns of `child` that refer to columns of `parent`, and what happens to them with the parent's row."""

    child: str
    parent: str
    columns: tuple[tuple[str, str], ...]
    """(of the child, of the parent)."""
    on_delete: str
    on_update: str


@dataclass(frozen=True, slots=True)
class Chain:
    """Foreign keys from a table whose rows people change down to a captured one that changes along."""

    keys: tuple[ForeignKey, ...]
    deletes: bool
    """Whether a deletion goes down the chain; else an update does."""

    @property
    def parent(self) -> str:
        return self.keys[0].parent

    @property
    def child(self) -> str:
        return self.keys[-1].child


def cascading(connection: sa.Connection, watched: Watched) -> list[Chain]:
    """Every chain that ends in a captured table. Raises CaptureBroken where a table's rows cascade onto each other."""
    keys = _foreign_keys(connection)
    chains = []
    for deletes in (True, False):
        for key in keys:
            chains += [chain for chain in _down((key,), keys, deletes) if chain.child in watched]
    return chains


def _down(path: tuple[ForeignKey, ...], keys: list[ForeignKey], deletes: bool) -> Iterator[Chain]:
    last = path[-1]
    action = last.on_delete if deletes else last.on_update
    if action not in _ACTIONS:
        return
    if last.child in {key.parent for key in path}:
        raise CaptureBroken(
            f"Rows of {last.child} cascade onto each other, which no trigger can follow.",
            "Declare the method `sweep` in capture.yaml for the entities that read it.",
        )
    yield Chain(path, deletes)
    changed = {child for child, _ in last.columns}
    for key in keys:
        # A deletion goes on where the row itself goes; an update where the changed columns are referred to in turn.
        goes_on = action == "CASCADE" if deletes else bool(changed & {parent for _, parent in key.columns})
        if key.parent == last.child and goes_on:
            yield from _down((*path, key), keys, deletes)


Text = Callable[[KeyOf, str], str]
"""The text of a key for a row under a name, in SQL."""


def statements(chain: Chain, keys: tuple[KeyOf, ...], text: Text) -> Iterator[tuple[str, str, KeyOf]]:
    """(event of the parent, SELECT of entity keys, what they are) of a chain's end."""
    for key in keys:
        if chain.deletes:
            yield "BEFORE DELETE", _select(chain, text, key, "OLD"), key
        else:
            changed = " OR ".join(_differs(column) for _, column in chain.keys[0].columns)
            yield "BEFORE UPDATE", f"{_select(chain, text, key, 'OLD')} AND ({changed})", key
            if all(foreign.on_update == "CASCADE" for foreign in chain.keys):
                yield "AFTER UPDATE", f"{_select(chain, text, key, 'NEW')} AND ({changed})", key


def _differs(column: str) -> str:
    """By its bytes: what a collation takes for equal goes down the chain, too."""
    return f"NOT (CAST(OLD.`{column}` AS BINARY) <=> CAST(NEW.`{column}` AS BINARY))"


def _select(chain: Chain, text: Text, key: KeyOf, row: str) -> str:
    aliases = [f"c{number}" for number in range(len(chain.keys))]
    tables = f"`{chain.keys[0].child}` {aliases[0]}"
    for number, foreign in enumerate(chain.keys[1:], start=1):
        tables += (
            f" JOIN `{foreign.child}` {aliases[number]} ON {_equal(foreign, aliases[number], aliases[number - 1])}"
        )
    condition = _equal(chain.keys[0], aliases[0], row)
    return f"SELECT {text(key, aliases[-1])} AS k FROM {tables} WHERE {condition}"


def _equal(foreign: ForeignKey, child: str, parent: str) -> str:
    return " AND ".join(f"{child}.`{own}` = {parent}.`{other}`" for own, other in foreign.columns)


def _foreign_keys(connection: sa.Connection) -> list[ForeignKey]:
    statement = sa.text(
        "SELECT k.constraint_name, k.table_name, k.referenced_table_name, k.column_name, k.referenced_column_name, "
        "r.delete_rule, r.update_rule FROM information_schema.key_column_usage k "
        "JOIN information_schema.referential_constraints r ON r.constraint_schema = k.constraint_schema "
        "AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name "
        "WHERE k.table_schema = DATABASE() AND k.referenced_table_schema = DATABASE() "
        "ORDER BY k.table_name, k.constraint_name, k.ordinal_position"
    )
    found: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for name, *rest in connection.execute(statement):
        found.setdefault((str(rest[0]), str(name)), []).append(tuple(str(value) for value in rest))
    return [
        ForeignKey(lines[0][0], lines[0][1], tuple((line[2], line[3]) for line in lines), lines[0][4], lines[0][5])
        for lines in found.values()
    ]
