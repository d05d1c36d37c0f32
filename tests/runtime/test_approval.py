"""A draft is for trials and dry runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medferry.definition.migration import load_migration
from medferry.runtime.approval import DraftMapping, check_approved
from medferry.runtime.settings import Settings
from tests.tiny_platform import MIGRATION

TRIAL = Settings(medplum_base_url="http://127.0.0.1:8103/")
REAL = replace(TRIAL, medplum_base_url="https://medplum.example/")


def test_a_draft_loads_into_no_medplum_but_one_on_this_machine() -> None:
    migration = load_migration(MIGRATION)
    check_approved(migration, TRIAL, dry=False)
    check_approved(migration, REAL, dry=True)
    with pytest.raises(DraftMapping, match="The mappings of clinic, patient, staff, weight are drafts"):
        check_approved(migration, REAL, dry=False)


def test_what_is_approved_loads_anywhere() -> None:
    check_approved(load_migration("clinics"), REAL, dry=False)
