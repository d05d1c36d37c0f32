"""What a migration leaves in the legacy database on purpose: ``left_behind.yaml``, each name with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from medferry.plan.load import load_model

FILE = "left_behind.yaml"
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=3)]


class LeftBehind(BaseModel):
    """`tables` and `columns` (as ``table.column``) that no entity needs to read; a name may hold ``*``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tables: Mapping[str, Reason] = {}
    columns: Mapping[str, Reason] = {}

    def reason(self, table: str, column: str) -> str:
        """Why this column stays where it is; empty when nobody has said so."""
        return _first(self.columns, f"{table}.{column}") or _first(self.tables, table)

    def useless(self, columns: set[tuple[str, str]]) -> list[str]:
        """The lines that match none of `columns`: a name is mistyped, or the table is gone."""
        tables = {table for table, _ in columns}
        places = {f"{table}.{column}" for table, column in columns}
        return [
            pattern
            for patterns, names in ((self.tables, tables), (self.columns, places))
            for pattern in patterns
            if not any(fnmatchcase(name, pattern) for name in names)
        ]


def _first(reasons: Mapping[str, str], name: str) -> str:
    return next((reason for pattern, reason in reasons.items() if fnmatchcase(name, pattern)), "")


def load_left_behind(folder: Path) -> LeftBehind:
    """Read the migration's file; nothing is left behind on purpose where there is none. Raises DefinitionError."""
    path = folder / FILE
    return load_model(path, LeftBehind) if path.is_file() else LeftBehind()
