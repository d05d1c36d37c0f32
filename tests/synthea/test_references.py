"""No reference of the migration is told, whatever foreign keys an export were loaded with."""

from __future__ import annotations

import pytest

from medferry.definition.foreign_keys import check_references
from medferry.source.database import snapshot
from tests.imagined_keys import imagine
from tests.synthea.sample import Sample

_AIMS = {name: (f"{name}s", "id") for name in ("patient", "encounter", "organization", "provider", "payer")}


def test_no_reference_is_told(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    imagine(monkeypatch, _AIMS)
    with snapshot(sample.engine) as connection:
        assert check_references(connection, sample.migration, [*sample.migration.entities]) == []
