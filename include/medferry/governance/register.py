"""From the results of a verification to its exceptions: grouped by family and entity, with category and severity."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import groupby

import sqlalchemy as sa

from medferry.manifest.checks import CheckResult, CheckStatus, Verification, difference_lines
from medferry.manifest.exceptions import Found, Severity, record_exceptions

_KINDS = (
    ("accounting", "accounting", Severity.CRITICAL),
    ("source", "accounting", Severity.CRITICAL),
    ("loaded before", "accounting", Severity.MAJOR),
    ("acceptance", "acceptance", Severity.MAJOR),
    ("leftovers", "accounting", Severity.MAJOR),
    ("verification", "accounting", Severity.CRITICAL),
    ("manifest", "identity", Severity.CRITICAL),
    ("identifiers", "identity", Severity.CRITICAL),
    ("versions", "content", Severity.MAJOR),
    ("content", "content", Severity.CRITICAL),
    ("value", "values", Severity.CRITICAL),
    ("document", "documents", Severity.CRITICAL),
    ("references", "references", Severity.CRITICAL),
    ("meaning", "meaning", Severity.CRITICAL),
    ("structure", "structure", Severity.MAJOR),
    ("Medplum's answers", "server", Severity.MAJOR),
    ("batches", "server", Severity.CRITICAL),
)
"""(beginning of the family, category, severity)."""

NEVER = {
    "accounting": "a source record without an explained outcome: finish the run, then verify it",
    "batches: at an end": "what was sent may still arrive, or has doubled something: verify again, or remove the twin "
    "(`medferry heal`)",
    "verification: of one state": "something was written while it was verified: verify again",
    "Medplum's answers": "a server that often failed gives no evidence: verify again when it is well",
}
"""Families that nobody can accept, and why."""


NEEDED = {"source rows"}
"""Families in which there must have been something to compare: where there was nothing, nothing is proven."""


def is_fault(result: CheckResult) -> bool:
    """Whether a result stands against the verdict until somebody accepts it."""
    if result.status == CheckStatus.NOTHING:
        return family_of(result.name) in NEEDED
    return result.status not in (CheckStatus.EQUAL, CheckStatus.HASHES_ONLY, CheckStatus.IN_FLIGHT)


def family_of(name: str) -> str:
    """The family of a check: all value checks of an entity are one, and so are those of its documents."""
    family, colon, _ = name.partition(": ")
    return family if colon and family in ("value", "document") else name


def kind_of(family: str) -> tuple[str, Severity]:
    """(category, severity) of a family of checks; a family that is not known is critical."""
    found = ((category, severity) for beginning, category, severity in _KINDS if family.startswith(beginning))
    return next(found, ("other", Severity.CRITICAL))


def register(connection: sa.Connection, verification: Verification, results: Sequence[CheckResult]) -> None:
    """Bring the exceptions of the verification's run, or its own, to its results and its differences in the manifest.

    A sample may find exceptions and clears none.
    """
    unequal = sorted(filter(is_fault, results), key=_group)
    groups = {key: list(group) for key, group in groupby(unequal, key=_group)}
    found = [_found(connection, verification.id, *key, group) for key, group in groups.items()]
    record_exceptions(connection, verification, found)


def _group(result: CheckResult) -> tuple[str, str]:
    return family_of(result.name), result.entity


def _found(
    connection: sa.Connection, verification_id: int, family: str, entity: str, results: list[CheckResult]
) -> Found:
    category, severity = kind_of(family)
    different = sum(result.different for result in results)
    return Found(
        family,
        entity,
        category,
        severity if different else Severity.UNKNOWN,
        different,
        sum(result.unchecked for result in results),
        _digest(connection, verification_id, entity, results),
    )


def _digest(connection: sa.Connection, verification_id: int, entity: str, results: list[CheckResult]) -> str:
    """SHA-256 of the results' numbers and every single difference."""
    digest = hashlib.sha256()
    for result in sorted(results, key=lambda result: result.name):
        facts = (result.name, result.status, str(result.different), str(result.unchecked), result.note)
        digest.update("\0".join(facts).encode() + b"\n")
        for line in difference_lines(connection, verification_id, entity, result.name):
            digest.update("\0".join(line).encode() + b"\n")
    return digest.hexdigest()
