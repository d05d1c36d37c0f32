"""What a first draft takes a column for."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from medferry.source.survey import Meant, _column


@pytest.mark.parametrize(
    ("values", "meant"),
    [
        ([0, 1] * 20, Meant.FLAG),
        ([0, 1] * 20 + [2], Meant.CODE),
        ([*range(10)], Meant.NUMBER),
        ([*range(50)] * 20, Meant.NUMBER),
        ([None] * 40, Meant.NUMBER),
    ],
    ids=["zeros and ones", "a rare third value", "a score of few rows", "many values", "nothing"],
)
def test_a_small_number_is_a_flag_only_where_it_is_seen_to_be_one(values: list[int | None], meant: Meant) -> None:
    """A flag is drafted as `bool(row[…])`, which makes true of a 2 for "not known"."""
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE t (id INTEGER, pain INTEGER)")
        connection.exec_driver_sql("INSERT INTO t VALUES (?, ?)", list(enumerate(values)))
        found = _column(connection, "t", "pain", mysql.TINYINT(display_width=1), (), {})
    assert found.meant is meant
