"""One verification at a time of a subject; and whether what it has judged is still what there is.

Who verifies holds a lease and checks it with whatever it records. That a living one is not disturbed is the matter of a
lock that dies with its process (`verification.hold`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

import sqlalchemy as sa

from medferry.errors import LeaseLost, MedferryError
from medferry.manifest.bulk import among
from medferry.manifest.clock import clock
from medferry.manifest.tables import lease, unit_state, verification, verified_part

LEASE_SECONDS = 120.0
PART_SECONDS = 3_600.0
"""A part of a verification that died is done again when it is older."""


class VerificationAtWork(MedferryError):
    """The subject is being verified by somebody else."""


class VerificationIncomplete(MedferryError):
    """A verification cannot end: some of its parts are not under its id."""


def acquire(connection: sa.Connection, migration: str, subject: str, holder: str) -> None:
    """Make `holder` the only one who verifies `subject`; whoever held it before is told by its next renewal."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("LOCK TABLE lease IN SHARE ROW EXCLUSIVE MODE"))
    mine = _mine(migration, subject)
    connection.execute(sa.delete(lease).where(*mine))
    until = clock(connection, LEASE_SECONDS)
    values = {"migration": migration, "scope": _scope(subject), "run_id": holder, "expires_at": until}
    connection.execute(sa.insert(lease).values(values))


def renew(connection: sa.Connection, migration: str, subject: str, holder: str) -> None:
    """Keep the lease. Raises LeaseLost when another has it."""
    mine = (*_mine(migration, subject), lease.c.run_id == holder)
    kept = connection.execute(sa.update(lease).where(*mine).values(expires_at=clock(connection, LEASE_SECONDS)))
    if not kept.rowcount:
        raise LeaseLost(
            "Another process verifies this subject now.", "Look at its result; nothing of this step was recorded."
        )


def release(connection: sa.Connection, holder: str) -> None:
    connection.execute(sa.delete(lease).where(lease.c.run_id == holder))


def fresh_parts(connection: sa.Connection, verification_id: int) -> frozenset[str]:
    """The finished parts of a verification that are not too old to be gone on behind."""
    own = (
        verified_part.c.verification_id == verification_id,
        verified_part.c.finished_at > clock(connection, -PART_SECONDS),
    )
    return frozenset(connection.scalars(sa.select(verified_part.c.part).where(*own)))


def require_parts(connection: sa.Connection, verification_id: int, parts: Collection[str]) -> None:
    """Raises VerificationIncomplete unless all of `parts` are finished under this very id."""
    own = verified_part.c.verification_id == verification_id
    there = set(connection.scalars(sa.select(verified_part.c.part).where(own)))
    if missing := sorted(set(parts) - there):
        raise VerificationIncomplete(
            f"{len(missing)} parts of the verification are not there, {missing[0]} the first.", "Verify again."
        )


def state_of(
    connection: sa.Connection,
    migration: str,
    units: Mapping[str, Collection[str]],
    keys: Mapping[str, Collection[str]],
) -> str:
    """SHA-256 of who decided the records of some units' entities last, how many, and when: a later write changes it.

    `keys`: entity → those of its records that count, where not all do.
    """
    columns = (unit_state.c.entity, unit_state.c.unit, unit_state.c.run_id)
    statement = sa.select(*columns, sa.func.count(), sa.func.max(unit_state.c.decided_at)).group_by(*columns)
    statement = statement.where(unit_state.c.migration == migration, unit_state.c.entity.in_(list(units)))
    for entity, some in keys.items():
        statement = statement.where(sa.or_(unit_state.c.entity != entity, among(connection, unit_state.c.key, some)))
    digest = hashlib.sha256()
    for row in sorted(tuple(map(str, row)) for row in connection.execute(statement)):
        if row[1] in units[row[0]]:
            digest.update("\0".join(row).encode() + b"\n")
    return digest.hexdigest()


def began_with(connection: sa.Connection, verification_id: int) -> str:
    """The state (`state_of`) in which a verification began; empty for one of an earlier version."""
    found = sa.select(verification.c.state).where(verification.c.id == verification_id)
    return connection.execute(found).scalar_one() or ""


def note_state(connection: sa.Connection, verification_id: int, state: str) -> None:
    """Keep the state in which a verification began."""
    own = verification.c.id == verification_id
    connection.execute(sa.update(verification).where(own).values(state=state))


def _mine(migration: str, subject: str) -> tuple[sa.ColumnElement[bool], ...]:
    return lease.c.migration == migration, lease.c.scope == _scope(subject)


def _scope(subject: str) -> str:
    return f"verification/{hashlib.sha256(subject.encode()).hexdigest()}"
