"""The columns of which the plan names texts for no value, and that nobody reads by such a name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from difflib import get_close_matches

from medferry.definition.inverses import columns_read
from medferry.definition.migration import Migration


def unread_null_columns(migration: Migration) -> list[str]:
    """To be told of them. A mapping may read a column by a name of its own, by which its texts are then known."""
    return [
        f"column_null_tokens names {named}: the SELECT of {entity} gives no such column, and no code reads one by that "
        f"name, so that its texts stay values{near}"
        for named, entity, near in _unread(migration)
    ]


def _unread(migration: Migration) -> Iterator[tuple[str, str, str]]:
    """(as the plan names it, its entity, what may be meant)."""
    for named in sorted(migration.plan.source.column_null_tokens):
        entity, _, column = named.partition(".")
        given = columns_read(migration.entities[entity])
        if given is None or column.casefold() in given or column in _said(migration, entity):
            continue
        near = get_close_matches(column.casefold(), sorted(given), n=1)
        yield named, entity, f"; did you mean {near[0]}?" if near else ""


def _said(migration: Migration, entity: str) -> set[str]:
    """Every text that stands in the code of an entity's mapping, and in what the mappings share."""
    others = migration.entities.keys() - {entity}
    files = [path for path in (migration.folder / "mappings").rglob("*.py") if path.stem not in others]
    return {
        node.value
        for path in files
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
