"""A source entity: one SELECT of the legacy database with a key, a unit and a change column."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medferry.errors import DefinitionError

DIALECTS = ("postgresql", "mysql", "sqlite")
"""SQLAlchemy dialect names for which ``<entity>.<dialect>.sql`` may replace the portable query."""

_SETTING = re.compile(r"--\s*(\w+)\s*:\s*(.+?)\s*$")
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_SETTINGS = {"key", "unit", "changed", "title"}


@dataclass(frozen=True, slots=True)
class SourceEntity:
    """What one entity file says; `variants` holds the queries for particular dialects."""

    name: str
    path: Path
    key: str
    unit: str
    changed: str | None
    title: str
    sql: str
    variants: Mapping[str, str]

    def query(self, dialect: str) -> str:
        """The SELECT to run on `dialect` ("mariadb" counts as "mysql")."""
        return self.variants.get("mysql" if dialect == "mariadb" else dialect, self.sql)


def load_entities(folder: Path) -> dict[str, SourceEntity]:
    """Read every ``*.sql`` of `folder`. Raises DefinitionError naming file, line and remedy."""
    portable = {path.stem: path for path in sorted(folder.glob("*.sql")) if "." not in path.stem}
    if not portable:
        raise DefinitionError(folder, None, "there are no entities.", "Write one <entity>.sql a source entity.")
    variants: dict[str, dict[str, str]] = {name: {} for name in portable}
    for path in sorted(folder.glob("*.*.sql")):
        name, _, dialect = path.stem.partition(".")
        if dialect not in DIALECTS or name not in portable:
            raise DefinitionError(
                path,
                None,
                "this file belongs to no entity and dialect.",
                f"Name it <entity>.<{'|'.join(DIALECTS)}>.sql.",
            )
        variants[name][dialect] = _body(path)
    return {name: _entity(path, variants[name]) for name, path in portable.items()}


def _entity(path: Path, variants: Mapping[str, str]) -> SourceEntity:
    settings = _settings(path)
    for required in ("key", "unit"):
        if required not in settings:
            raise DefinitionError(path, 1, f"the {required} is missing.", f"Add a line '-- {required}: <column>'.")
    for name in ("key", "unit", "changed"):
        if name in settings and not _COLUMN.fullmatch(settings[name]):
            raise DefinitionError(path, 1, f"the {name} is no column name.", "Name one column of the SELECT.")
    return SourceEntity(
        name=path.stem,
        path=path,
        key=settings["key"],
        unit=settings["unit"],
        changed=settings.get("changed"),
        title=settings.get("title", path.stem.replace("_", " ").capitalize()),
        sql=_body(path),
        variants=variants,
    )


def _settings(path: Path) -> dict[str, str]:
    """The ``-- name: value`` lines above the SELECT."""
    settings: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip() and not line.startswith("--"):
            break
        match = _SETTING.fullmatch(line)
        if not match:
            continue
        if match[1] not in _SETTINGS:
            known = ", ".join(sorted(_SETTINGS))
            raise DefinitionError(path, number, f"unknown setting {match[1]!r}.", f"Use {known}.")
        settings[match[1]] = match[2]
    return settings


def _body(path: Path) -> str:
    sql = path.read_text(encoding="utf-8").strip()
    statement = "\n".join(line for line in sql.splitlines() if not line.lstrip().startswith("--")).strip()
    if not re.match(r"(?i)(select|with)\b", statement):
        raise DefinitionError(path, 1, "there is no SELECT.", "Write one SELECT (or WITH … SELECT).")
    if ";" in statement:
        raise DefinitionError(path, 1, "there is a semicolon.", "Write one statement, with no closing semicolon.")
    return statement
