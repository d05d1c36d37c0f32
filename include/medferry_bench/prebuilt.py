"""Requests made beforehand: plain creates for the ceiling and the CLI, staged Bundles for the documented way."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from medferry_bench.corpus import Corpus

Entry = dict[str, Any]


def write_creates(corpus: Corpus, base: str, folder: Path) -> None:
    """Every resource as a plain create, in one level: nothing has to wait for anything."""
    bundles = [[_create(entry) for entry in entries] for level in corpus.levels(base) for entries in level]
    _write(folder, [bundles])


def write_staged(corpus: Corpus, base: str, folder: Path) -> None:
    """The staged Bundles (conditional updates with conditional references), level by level."""
    _write(folder, corpus.levels(base))


def write_ndjson(corpus: Corpus, base: str, file: Path) -> None:
    """The resources of `write_creates`, one a line, as `medplum bulk import` reads them."""
    with file.open("wb") as lines:
        for level in corpus.levels(base):
            for entries in level:
                lines.writelines(orjson.dumps(_literal(entry["resource"])) + b"\n" for entry in entries)


def read_levels(folder: Path) -> list[list[list[Entry]]]:
    """Levels of Bundles of entries, as written above."""
    return [[orjson.loads(line) for line in file.read_bytes().splitlines()] for file in sorted(folder.glob("*.ndjson"))]


def _write(folder: Path, levels: Iterable[list[list[Entry]]]) -> None:
    folder.mkdir(parents=True)
    for number, bundles in enumerate(levels):
        with (folder / f"{number:02d}.ndjson").open("wb") as file:
            file.writelines(orjson.dumps(entries) + b"\n" for entries in bundles)


def _create(entry: Entry) -> Entry:
    resource = _literal(entry["resource"])
    return {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}


def _literal(value: Any) -> Any:
    """The same with references as one who knows every id writes them: made up, for Medplum accepts any literal."""
    if isinstance(value, list):
        return [_literal(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind, mark, _ = str(value.get("reference", "")).partition("?")
    if mark:
        return {**value, "reference": f"{kind}/{uuid5(NAMESPACE_URL, value['reference'])}"}
    return {name: _literal(item) for name, item in value.items()}
