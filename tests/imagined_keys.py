"""The foreign keys that an example's schema would have, if it had any: by the endings of its columns' names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
import sqlalchemy as sa

from medferry.source.foreign_keys import Refers, foreign_keys
from medferry.source.inventory import Column, LegacySchema


def imagine(monkeypatch: pytest.MonkeyPatch, aims: Mapping[str, Column]) -> None:
    """Have references held against these: ending of a name → the column that such columns refer to."""

    def with_imagined(connection: sa.Connection, queries: Iterable[str]) -> tuple[LegacySchema, Refers]:
        schema, _ = foreign_keys(connection, queries)
        named = [(table, column) for table, columns in schema.tables.items() for column in columns]
        found = {
            one: frozenset(aim for end, aim in aims.items() if one[1].endswith(end) and one != aim) for one in named
        }
        return schema, {one: aims for one, aims in found.items() if aims}

    monkeypatch.setattr("medferry.definition.foreign_keys.foreign_keys", with_imagined)
