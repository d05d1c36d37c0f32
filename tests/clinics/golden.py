"""The golden files: `golden/<entity>/<case>.json` holds a staged row and exactly what it becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medferry.definition.migration import Migration
from medferry.mapping.apply import MappedRow, apply_mapping

FOLDER = Path(__file__).parent / "golden"
CASES = sorted(f"{path.parent.name}/{path.stem}" for path in FOLDER.glob("*/*.json"))


def load(case: str) -> dict[str, Any]:
    """The golden file of "<entity>/<case>": row, findings, resources."""
    golden: dict[str, Any] = json.loads((FOLDER / f"{case}.json").read_text(encoding="utf-8"))
    return golden


def apply(migration: Migration, entity: str, row: dict[str, Any]) -> MappedRow:
    """Map one row as the transform stage does."""
    key = migration.entities[entity].ledger_key_of(row)
    return apply_mapping(migration.specs[entity], row, key, migration.settings)
