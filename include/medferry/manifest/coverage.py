"""How many leaf values of the stored resources a verification has compared: by value, by rule, or by hash alone."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest.tables import metadata

coverage = sa.Table(
    "coverage",
    metadata,
    sa.Column("verification_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("entity", sa.String(40), primary_key=True),
    sa.Column("slot", sa.String(40), primary_key=True),
    sa.Column("part", sa.String(60), nullable=False),
    sa.Column("resources", sa.Integer, nullable=False),
    sa.Column("by_value", sa.BigInteger, nullable=False, comment="leaf values compared with the legacy database"),
    sa.Column("by_rule", sa.BigInteger, nullable=False, comment="… that follow from names, code tables, constants"),
    sa.Column("by_hash", sa.BigInteger, nullable=False, comment="… known only to be as they were written"),
    comment="how much of what is stored a verification has compared",
)


@dataclass(frozen=True, slots=True)
class LeafCount:
    """Of one slot's resources. `entity` and `slot` are those of the mapping."""

    entity: str
    slot: str
    resources: int
    by_value: int
    by_rule: int
    by_hash: int

    @property
    def total(self) -> int:
        return self.by_value + self.by_rule + self.by_hash

    @property
    def compared_share(self) -> float:
        """What is more than a hash, from 0 to 1; of nothing, all."""
        return (self.by_value + self.by_rule) / self.total if self.total else 1.0


def summed(entity: str, counts: list[LeafCount]) -> LeafCount:
    """All of some counts in one."""
    columns = ("resources", "by_value", "by_rule", "by_hash")
    resources, by_value, by_rule, by_hash = (sum(getattr(each, name) for each in counts) for name in columns)
    return LeafCount(entity, "", resources, by_value, by_rule, by_hash)


def coverage_of(connection: sa.Connection, verification_id: int) -> list[LeafCount]:
    """What a verification has compared, by entity and slot."""
    columns = [coverage.c[name] for name in LeafCount.__slots__]
    own = coverage.c.verification_id == verification_id
    statement = sa.select(*columns).where(own).order_by(coverage.c.entity, coverage.c.slot)
    return [LeafCount(**row._mapping) for row in connection.execute(statement)]
