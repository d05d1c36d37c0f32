"""What is no fault of a definition, and is seldom meant."""

from __future__ import annotations

from medferry.definition.importing import mapping_sources
from medferry.definition.lookups import unreachable
from medferry.definition.migration import Migration
from medferry.definition.null_columns import unread_null_columns
from medferry.definition.weak_checks import weak_checks
from medferry.definition.words import unwritten_reasons
from medferry.mapping.declare import MappingStatus

_MADE = "a reason that is put together when the code runs is told as reason-withheld: write it out"


def doubts_of(migration: Migration) -> list[str]:
    """To be told by `plan check`, a line each."""
    drafts = [name for name, spec in migration.specs.items() if spec.status is MappingStatus.DRAFT]
    compared = {
        name for name, checks in migration.checks.entities.items() if any(map(checks.compares, checks.resources))
    }
    unchecked = sorted(migration.specs.keys() - compared - {*migration.plan.acceptance.hashes_only})
    told = unreachable(migration.tables, migration.plan.source.null_tokens)
    if drafts:
        told.append(f"in draft, approved by nobody: {', '.join(drafts)}")
    if unchecked:
        told.append(f"no checks, so that their values cannot be proven: {', '.join(unchecked)}")
    files = mapping_sources(migration.folder, migration.files.modules)
    told += [f"{path.name}:{line}: {_MADE}" for path, line in unwritten_reasons(files)]
    return told + unread_null_columns(migration) + weak_checks(migration.checks.entities)
