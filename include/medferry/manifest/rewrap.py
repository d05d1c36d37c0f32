"""Go through all stored hashes, whatever protects them, and store some in another form.

Left as they are: the digests of decisions about conflicts, which the chain of acts holds to the letter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import sqlalchemy as sa

from medferry.manifest.hashes import ContentHash, LinesWithHashes
from medferry.manifest.tables import metadata

_PAGE = 1_000
Change = Callable[[Any], Any]


def rewrap(manifest: sa.Engine, change: Change) -> dict[str, int]:
    """Table → how many of its rows have a hash that `change` (of stored text) has made another; page by page.

    Each page is a transaction, and locks its rows: what others write meanwhile stays theirs. Safe to be killed.
    """
    changed: dict[str, int] = {}
    for table in metadata.sorted_tables:
        hashes = [column for column in table.columns if isinstance(column.type, ContentHash | LinesWithHashes)]
        if hashes:
            changed[table.name] = sum(_pages(manifest, table, hashes, change))
    return changed


def _pages(manifest: sa.Engine, table: sa.Table, hashes: list[sa.Column[Any]], change: Change) -> Iterator[int]:
    """The number of rows that were changed, page by page, in the order of the primary key."""
    raw = sa.table(table.name, *(sa.column(c.name, _raw(c)) for c in table.columns))
    keys = [raw.c[column.name] for column in table.primary_key]
    statement = sa.select(*keys, *(raw.c[column.name] for column in hashes)).order_by(*keys).limit(_PAGE)
    written = sa.update(raw).where(*(key == sa.bindparam(f"of_{key.name}") for key in keys))
    written = written.values({column.name: sa.bindparam(f"new_{column.name}") for column in hashes})
    last: tuple[Any, ...] | None = None
    while True:
        behind = statement if last is None else statement.where(sa.tuple_(*keys) > last)
        with manifest.begin() as connection:
            page = connection.execute(behind.with_for_update()).all()
            if changed := [values for row in page if (values := _changed(row, keys, hashes, change))]:
                connection.execute(written, changed)
        yield len(changed)
        if len(page) < _PAGE:
            return
        last = tuple(page[-1][: len(keys)])


def _changed(row: sa.Row[Any], keys: list[Any], hashes: list[sa.Column[Any]], change: Change) -> dict[str, Any] | None:
    """What a row is to be written with; None: it stays as it is."""
    of, before = row[: len(keys)], row[len(keys) :]
    after = [_of(column, change)(value) for column, value in zip(hashes, before, strict=True)]
    if after == list(before):
        return None
    named = {f"of_{key.name}": value for key, value in zip(keys, of, strict=True)}
    return named | {f"new_{column.name}": value for column, value in zip(hashes, after, strict=True)}


def _of(column: sa.Column[Any], change: Change) -> Change:
    return partial(column.type.changed, change=change) if isinstance(column.type, LinesWithHashes) else change


def _raw(column: sa.Column[Any]) -> Any:
    if isinstance(column.type, ContentHash):
        return sa.String()
    return sa.JSON() if isinstance(column.type, LinesWithHashes) else column.type
