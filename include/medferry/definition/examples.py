"""Examples of a mapping: rows, and what they must become. `medferry test` tries them, without any database.

``examples/<entity>.yaml`` of a migration. No run reads them, so they are no part of its fingerprint.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medferry.definition.fingerprint import EXAMPLES
from medferry.errors import DefinitionError, gathered
from medferry.plan.load import load_model


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Example(_Part):
    """A row and what it must become: resources, or an outcome with its reason (and, behind a blank, its column)."""

    name: Annotated[str, Field(min_length=1)]
    row: dict[str, Any] = {}
    becomes: dict[str, dict[str, Any]] | None = None
    """Slot → the elements that are compared; null for one that must be missing. Other slots must not be filled."""
    skipped: str | None = None
    quarantined: str | None = None
    rejected: str | None = None
    findings: list[str] | None = None
    """Reason and column of each; not compared where they are not given."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        said = [name for name in ("becomes", "skipped", "quarantined", "rejected") if getattr(self, name) is not None]
        if len(said) != 1:
            raise ValueError("say one of becomes, skipped, quarantined, rejected")
        return self


class Examples(_Part):
    """A file of them; `defaults` are columns of all its rows."""

    defaults: dict[str, Any] = {}
    examples: Annotated[list[Example], Field(min_length=1)]


def load_examples(folder: Path, entities: Collection[str]) -> dict[str, Examples]:
    """Entity → its examples. Raises DefinitionError with file and line."""
    return dict(gathered(partial(_load, path, entities) for path in sorted((folder / EXAMPLES).glob("*.y*ml"))))


def _load(path: Path, entities: Collection[str]) -> tuple[str, Examples]:
    if path.suffix != ".yaml":
        raise DefinitionError(path, None, "it would not be read.", f"Name it {path.stem}.yaml.")
    if path.stem not in entities:
        raise DefinitionError(path, None, "these are examples of no entity.", "Name it after an entity, or remove it.")
    return path.stem, load_model(path, Examples, dates_as_text=True)
