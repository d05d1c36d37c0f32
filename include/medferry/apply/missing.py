"""What may be told of a resource that is referred to and is not there."""

from __future__ import annotations

from medferry.definition.migration import Migration
from medferry.manifest.crosswalk import Name
from medferry.source.shown_keys import shown_foreign


def missing_record(migration: Migration, name: Name) -> str:
    """A record of the migration by entity and source key ("clinic 99"); of another's identifier the system.

    A system that no mapping spells out may have come out of a row, and is not told either.
    """
    system, value = name
    if any(system in own for own in migration.systems.values()):
        return f"{system.rsplit('/', 1)[-1]} {value}"
    written = any(system in word for word in migration.words)
    return shown_foreign(system if written else "another-system", value)
