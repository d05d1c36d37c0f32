"""A mapping that nobody has approved writes no real patients' data."""

from __future__ import annotations

from medferry.definition.migration import Migration
from medferry.errors import MedferryError
from medferry.mapping.declare import MappingStatus
from medferry.runtime.protection import is_trial
from medferry.runtime.settings import Settings


class DraftMapping(MedferryError):
    """Mappings are drafts, and Medplum is not on this machine. Nothing is staged or written."""


def check_approved(migration: Migration, settings: Settings, dry: bool) -> None:
    """To be asked before anything is staged. Raises DraftMapping; a dry run, and a trial, may be of drafts."""
    drafts = sorted(name for name, spec in migration.specs.items() if spec.status is MappingStatus.DRAFT)
    if not drafts or dry or is_trial(settings):
        return
    raise DraftMapping(
        f"The mappings of {', '.join(drafts)} are drafts: they load into a Medplum on this machine alone.",
        'Have them reviewed, then say so in each: @mapping(…, status="approved").',
    )
