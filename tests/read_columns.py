"""Which columns of their rows mappings read."""

from __future__ import annotations

from typing import Any

import pytest

from medferry.mapping.read_row import ReadRow


def watch_columns(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """A set that every column goes into that a mapping reads from now on, until `monkeypatch` is undone."""
    read: set[str] = set()

    class Watched(ReadRow):
        def __getitem__(self, column: str) -> Any:
            read.add(column)
            return super().__getitem__(column)

    monkeypatch.setattr("medferry.mapping.apply.ReadRow", Watched)
    return read
