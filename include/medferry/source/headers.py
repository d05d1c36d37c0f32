"""What the comments above an entity's SELECT say. Light: Airflow reads them with every DAG file; no parser of SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from medferry.errors import DefinitionError

_SETTING = re.compile(r"--\s*(\w+)\s*:\s*(.+?)\s*$")
_COLUMN = re.compile(r'\s*(?:"([^"]{1,63})"|([^\W\d]\w{0,62}))\s*')
HEADERS = frozenset({"key", "unit", "changed", "dated", "title"})
"""Of the comments above the SELECT, those that say something of the entity."""


@dataclass(frozen=True, slots=True)
class Headers:
    """Of one entity; names of columns are as the SELECT gives them."""

    key: tuple[str, ...]
    unit: str
    changed: str | None
    dated: str | None
    title: str


def entity_files(folder: Path) -> dict[str, Path]:
    """Entity → its portable SELECT. Raises DefinitionError where there is none."""
    portable = {path.stem: path for path in sorted(folder.glob("*.sql")) if "." not in path.stem}
    if not portable:
        raise DefinitionError(folder, None, "there are no entities.", "Write one <entity>.sql a source entity.")
    return portable


def text_of(path: Path) -> str:
    """The file's text, without the byte order mark that some editors write. Raises DefinitionError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DefinitionError(path, None, "it is not UTF-8.", "Save it as UTF-8.") from None


def headers_of(path: Path, text: str) -> Headers:
    """The settings of the entity whose file `path` holds `text`. Raises DefinitionError."""
    settings = _settings(path, text)
    for required in ("key", "unit"):
        if required not in settings:
            raise DefinitionError(path, 1, f"the {required} is missing.", f"Add a line '-- {required}: <column>'.")
    return Headers(
        key=tuple(_column(path, "key", part) for part in settings["key"].split(",")),
        unit=_column(path, "unit", settings["unit"]),
        changed=_column(path, "changed", settings["changed"]) if "changed" in settings else None,
        dated=_column(path, "dated", settings["dated"]) if "dated" in settings else None,
        title=settings.get("title", path.stem.replace("_", " ").capitalize()),
    )


def _column(path: Path, setting: str, text: str) -> str:
    match = _COLUMN.fullmatch(text)
    if not match:
        remedy = 'Name a column of the SELECT, in "quotes" where it is no plain word; several of a key with commas.'
        raise DefinitionError(path, 1, f"the {setting} is no column name.", remedy)
    return match[1] or match[2]


def _settings(path: Path, text: str) -> dict[str, str]:
    """The ``-- name: value`` lines above the SELECT."""
    settings: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("--"):
            break
        match = _SETTING.fullmatch(line)
        if not match:
            continue
        if match[1] not in HEADERS:
            known = ", ".join(sorted(HEADERS))
            raise DefinitionError(path, number, f"unknown setting {match[1]!r}.", f"Use {known}.")
        if match[1] in settings:
            raise DefinitionError(path, number, f"the {match[1]} stands twice.", "Keep one line of it.")
        settings[match[1]] = match[2]
    return settings
