"""Read much of the manifest page by page, behind the last row of the page before (keyset, never OFFSET)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

PAGE = 1_000


def pages(
    manifest: sa.Engine, statement: sa.Select[Any], order: Sequence[sa.ColumnElement[Any]], size: int = PAGE
) -> Iterator[Sequence[sa.Row[Any]]]:
    """The rows of `statement` in the `order` of columns that it selects, which name a row, at most `size` at once.

    Each page is a transaction of its own: none is open while a page is used. No page is empty.
    """
    following, position = statement.order_by(*order).limit(size), None
    while True:
        asked = following if position is None else following.where(_behind(order, position))
        with manifest.begin() as connection:
            page = connection.execute(asked).all()
        if page:
            yield page
        if len(page) < size:
            return
        position = [page[-1]._mapping[column] for column in order]


def _behind(order: Sequence[sa.ColumnElement[Any]], position: Sequence[Any]) -> sa.ColumnElement[bool]:
    if len(order) == 1:
        behind: sa.ColumnElement[bool] = order[0] > position[0]
        return behind
    return sa.tuple_(*order) > tuple(position)
