"""What is known of the AccessPolicies that stand for Medplum's side of the gates: noted before one is closed."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest.clock import clock
from medferry.manifest.tables import Time, metadata

policy_gate = sa.Table(
    "policy_gate",
    metadata,
    sa.Column("migration", sa.String(40), primary_key=True),
    sa.Column("policy", sa.String(64), primary_key=True, comment="id of the AccessPolicy"),
    sa.Column("unit", sa.String(64), primary_key=True),
    sa.Column("open_version", sa.String(64), nullable=False, comment="of the policy, in which the unit was writable"),
    sa.Column("proven_at", Time, comment="when its probe was last seen to write; null: never"),
    sa.Column("noted_at", Time, nullable=False),
    comment="what an AccessPolicy was before a unit was closed in it",
)


@dataclass(frozen=True, slots=True)
class PolicyNote:
    """The version in which a policy let the unit's users write, and when its probe last did."""

    open_version: str
    proven_at: str | None


def note_of(connection: sa.Connection, migration: str, policy: str, unit: str) -> PolicyNote | None:
    """None: the policy was never closed for the unit."""
    columns = (policy_gate.c.open_version, policy_gate.c.proven_at)
    row = connection.execute(sa.select(*columns).where(*_is(migration, policy, unit))).one_or_none()
    return PolicyNote(*row) if row else None


def note_open(connection: sa.Connection, migration: str, policy: str, unit: str, version: str) -> None:
    """Keep the version in which the unit is writable; to be committed before it is closed."""
    proven = note_of(connection, migration, policy, unit)
    connection.execute(sa.delete(policy_gate).where(*_is(migration, policy, unit)))
    values = {"migration": migration, "policy": policy, "unit": unit, "open_version": version}
    at = proven.proven_at if proven else None
    connection.execute(sa.insert(policy_gate).values(**values, proven_at=at, noted_at=clock(connection)))


def note_proven(connection: sa.Connection, migration: str, policy: str, unit: str) -> None:
    """Its probe has just written."""
    own = _is(migration, policy, unit)
    connection.execute(sa.update(policy_gate).where(*own).values(proven_at=clock(connection)))


def _is(migration: str, policy: str, unit: str) -> tuple[sa.ColumnElement[bool], ...]:
    return policy_gate.c.migration == migration, policy_gate.c.policy == policy, policy_gate.c.unit == unit
