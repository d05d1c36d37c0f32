"""The manifest database's clock: the only one by which workers on several hosts can agree on who is late."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa


def clock(connection: sa.Connection, seconds: float = 0.0) -> sa.ColumnElement[str]:
    """The database's present, `seconds` later (or earlier), in the form in which the manifest keeps times."""
    expression: sa.Function[Any]
    if connection.dialect.name == "postgresql":
        offset = sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.cast(seconds, sa.Float))
        present = sa.func.timezone("UTC", sa.func.clock_timestamp() + offset)
        expression = sa.func.to_char(present, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
    else:
        expression = sa.func.strftime("%Y-%m-%dT%H:%M:%fZ", "now", f"{seconds:+.3f} seconds")
    return sa.type_coerce(expression, sa.String)


def read_clock(connection: sa.Connection, seconds: float = 0.0) -> str:
    """What `clock` says now."""
    return str(connection.execute(sa.select(clock(connection, seconds))).scalar_one())


def seconds_between(earlier: str, later: str) -> float:
    """Seconds from one time of the manifest to another."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
