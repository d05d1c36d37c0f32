"""From the results of a verification to its exceptions: grouped by family and entity, with category and severity."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import groupby

import sqlalchemy as sa

from medferry.manifest.checks import EQUAL, CheckResult
from medferry.manifest.exceptions import Found, record_exceptions
from medferry.manifest.tables import difference

CRITICAL, MAJOR, UNKNOWN = "critical", "major", "unknown"

_KINDS = (
    ("accounting", "accounting", CRITICAL),
    ("source", "accounting", CRITICAL),
    ("loaded before", "accounting", MAJOR),
    ("acceptance", "acceptance", MAJOR),
    ("manifest", "identity", CRITICAL),
    ("identifiers", "identity", CRITICAL),
    ("versions", "content", MAJOR),
    ("content", "content", CRITICAL),
    ("value", "values", CRITICAL),
    ("document", "documents", CRITICAL),
    ("references", "references", CRITICAL),
    ("meaning", "meaning", CRITICAL),
    ("structure", "structure", MAJOR),
    ("Medplum's answers", "server", MAJOR),
)
"""(beginning of the family, category, severity)."""

NEVER = {
    "accounting": "a source record without an explained outcome: finish the run, then verify it",
    "Medplum's answers": "a server that often failed gives no evidence: verify again when it is well",
}
"""Families that nobody can accept, and why."""


def family_of(name: str) -> str:
    """The family of a check: all value checks of an entity are one, and so are those of its documents."""
    family, colon, _ = name.partition(": ")
    return family if colon and family in ("value", "document") else name


def kind_of(family: str) -> tuple[str, str]:
    """(category, severity) of a family of checks; a family that is not known is critical."""
    found = ((category, severity) for beginning, category, severity in _KINDS if family.startswith(beginning))
    return next(found, ("other", CRITICAL))


def register(connection: sa.Connection, run_id: str, results: Sequence[CheckResult], whole: bool = True) -> None:
    """Bring the run's exceptions to the results of its newest verification, and its differences in the manifest.

    A sample, which is not `whole`, may find exceptions and clears none.
    """
    unequal = sorted((one for one in results if one.status != EQUAL), key=_group)
    groups = {key: list(some) for key, some in groupby(unequal, key=_group)}
    found = [_found(connection, run_id, *key, some) for key, some in groups.items()]
    record_exceptions(connection, run_id, found, whole)


def _group(result: CheckResult) -> tuple[str, str]:
    return family_of(result.name), result.entity


def _found(connection: sa.Connection, run_id: str, family: str, entity: str, results: list[CheckResult]) -> Found:
    category, severity = kind_of(family)
    different = sum(one.different for one in results)
    return Found(
        family,
        entity,
        category,
        severity if different else UNKNOWN,
        different,
        sum(one.unchecked for one in results),
        _digest(connection, run_id, entity, results),
    )


def _digest(connection: sa.Connection, run_id: str, entity: str, results: list[CheckResult]) -> str:
    """SHA-256 of the results' numbers and every single difference."""
    digest = hashlib.sha256()
    for one in sorted(results, key=lambda one: one.name):
        digest.update(f"{one.name}\0{one.status}\0{one.different}\0{one.unchecked}\0{one.note}\n".encode())
        for line in _differences(connection, run_id, entity, one.name):
            digest.update("\0".join(line).encode() + b"\n")
    return digest.hexdigest()


def _differences(connection: sa.Connection, run_id: str, entity: str, name: str) -> Iterator[tuple[str, ...]]:
    columns = (difference.c.key, difference.c.field, difference.c.kind, difference.c.place)
    mine = (difference.c.run_id == run_id, difference.c.entity == entity, difference.c.name == name)
    for row in connection.execute(sa.select(*columns).where(*mine).order_by(*columns)):
        yield tuple(row)
