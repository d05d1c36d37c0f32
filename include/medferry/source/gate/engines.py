"""The gates that suit an engine."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.dialects import DIALECTS
from medferry.source.gate.gate import Gate, Gated
from medferry.source.gate.mysql import MysqlGate
from medferry.source.gate.postgresql import PostgresqlGate
from medferry.source.gate.sqlite import SqliteGate

_KINDS: dict[str, type[Gate]] = {
    "postgresql": PostgresqlGate,
    "mysql": MysqlGate,
    "mariadb": MysqlGate,
    "sqlite": SqliteGate,
}


def gate_of(engine: sa.Engine, units: Sequence[str], gated: Gated) -> Gate:
    """Raises SourceError for an engine that has none."""
    kind = _KINDS.get(engine.dialect.name)
    if kind is None:
        title = DIALECTS[engine.dialect.name].title
        raise SourceError(f"There are no gates for {title}.", "Freeze it by its accounts' rights.")
    return kind(units, gated)
