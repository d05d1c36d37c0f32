"""In which units records are, in the legacy database or in the manifest: what moves changes a number of rows there."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection

from medferry.errors import MedferryError
from medferry.manifest.subject import records_by_key
from medferry.verification.legacy import LegacyReader
from medferry.verification.scope import VerificationScope

log = logging.getLogger(__name__)


def units_of(scope: VerificationScope, entity: str, keys: Collection[str]) -> dict[str, set[str]]:
    """Key → its units: that of its row, and that of its record; none of what is in neither, or not of the subject.

    A legacy database that does not answer names none, so that a number that differs there counts.
    """
    chosen = sorted(set(keys) & set(scope.keys.get(entity, keys)))
    if entity not in scope.migration.specs or not chosen:
        return {}
    found: dict[str, set[str]] = defaultdict(set)
    with scope.environment.manifest.begin() as connection:
        for key, record in records_by_key(connection, scope.records, entity, chosen).items():
            if not record.gone:
                found[key].add(record.unit)
    reader = LegacyReader(scope.environment.source, scope.migration.entities[entity], scope.checks(entity))
    try:
        for row in reader.rows_by_key(chosen):
            found[row.key].add(row.unit)
    except MedferryError as error:
        log.warning("In which units what moves of %s is, is not known: %s", entity, error)
        return {}
    return found
