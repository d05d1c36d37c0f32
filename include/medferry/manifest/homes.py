"""Which systems the manifest belongs to, and which identifiers belong to which of its migrations."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from medferry.manifest.bulk import among, upsert
from medferry.manifest.clock import read_clock, seconds_between
from medferry.manifest.tables_of_place import home, identifier_owner

_COLUMNS = ("migration", "kind", "place", "identity", "since")


class HomeKind(StrEnum):
    """What is known."""

    MANIFEST = "manifest"
    MEDPLUM = "medplum"
    LEGACY = "legacy"
    CLAIM = "claim"
    MARK = "mark"
    """Set upon the claim in Medplum, so that older copies of the manifest, which do not know it, are told."""
    PEPPER = "pepper"
    """That has made hashes which may still be there, by its id."""


class Unclaimed(StrEnum):
    """Kept instead of the id of a claim: why there is none."""

    REFUSED = "refused"
    """Medplum does not let this client make one."""
    HIDDEN = "hidden"
    """What this client had made, it could not read."""


@dataclass(frozen=True, slots=True)
class Home:
    """A system: where it is, and what it calls itself (empty: it does not tell)."""

    place: str
    identity: str


def manifest_id(connection: sa.Connection) -> str:
    """The manifest's own name, the same for all who open it; given when it is first asked for."""
    given = ("", HomeKind.MANIFEST, "", str(uuid.uuid4()), read_clock(connection))
    upsert(connection, home, _COLUMNS, [given], update=())
    kept = sa.select(home.c.identity).where(home.c.migration == "", home.c.kind == HomeKind.MANIFEST)
    return str(connection.execute(kept).scalar_one())


def medplums_of(connection: sa.Connection, migration: str) -> list[Home]:
    """The Medplum that a migration's ids are of, by each address under which it is known; none before the first run."""
    statement = sa.select(home.c.place, home.c.identity).where(*_medplum(migration)).order_by(home.c.since)
    return [Home(*row) for row in connection.execute(statement)]


def add_medplum(connection: sa.Connection, migration: str, known: Home) -> None:
    """From now on the migration's Medplum is known by this address, too."""
    row = (migration, HomeKind.MEDPLUM, known.place, known.identity, read_clock(connection))
    upsert(connection, home, _COLUMNS, [row], update=("identity",))


def forget_medplums(connection: sa.Connection, migration: str) -> None:
    connection.execute(sa.delete(home).where(*_medplum(migration)))


@dataclass(frozen=True, slots=True)
class LegacyHome:
    """The legacy database: its name, what its server calls itself, and the position at which it was last read."""

    name: str
    server: str
    position: int | None


def legacy_of(connection: sa.Connection, migration: str) -> LegacyHome | None:
    """The legacy database that a migration's records are of; None before it was first read."""
    statement = sa.select(home.c.place, home.c.identity, home.c.position).where(*_legacy(migration))
    row = connection.execute(statement).first()
    return LegacyHome(*row) if row else None


def keep_legacy(connection: sa.Connection, migration: str, present: LegacyHome) -> None:
    """From now on this is the migration's legacy database, at this position."""
    connection.execute(sa.delete(home).where(*_legacy(migration), home.c.place != present.name))
    row = (migration, HomeKind.LEGACY, present.name, present.server, read_clock(connection), present.position)
    upsert(connection, home, (*_COLUMNS, "position"), [row], update=("identity", "position"))


def advance_legacy(connection: sa.Connection, migration: str, present: LegacyHome) -> None:
    """Keep the position, unless another who reads it has kept a later one: it is never put back here."""
    if present.position is not None:
        behind = sa.or_(home.c.position.is_(None), home.c.position < present.position)
        known = (*_legacy(migration), home.c.place == present.name, behind)
        connection.execute(sa.update(home).where(*known).values(position=present.position))


def complete_legacy(connection: sa.Connection, migration: str, known: LegacyHome, server: str) -> None:
    """Keep the whole name of the server of a known legacy database, unless another was accepted since."""
    same = (*_legacy(migration), home.c.place == known.name, home.c.identity == known.server)
    connection.execute(sa.update(home).where(*same).values(identity=server))


def claim_of(connection: sa.Connection, migration: str, base: str) -> str:
    """The id of the claim on an identifier base as it was last found in Medplum, or why there is none; empty: never."""
    statement = sa.select(home.c.identity).where(*_claim(migration), home.c.place == base)
    return str(connection.execute(statement).scalar() or "")


def keep_claim(connection: sa.Connection, migration: str, base: str, claim: str) -> None:
    """From now on that is the claim, or why there is none."""
    row = (migration, HomeKind.CLAIM, base, claim, read_clock(connection))
    upsert(connection, home, _COLUMNS, [row], update=("identity",))


def forget_claims(connection: sa.Connection, migration: str) -> None:
    connection.execute(sa.delete(home).where(*_claim(migration)))


def add_mark(connection: sa.Connection) -> str:
    """A new mark. To be committed before it is set: what is found on the claim and is not here is another copy's.

    It is the manifest's, as it is manifests that are copied: two migrations of one may write under one base.
    """
    mark = str(uuid.uuid4())
    upsert(connection, home, _COLUMNS, [("", HomeKind.MARK, mark, "", read_clock(connection))])
    return mark


def forget_mark(connection: sa.Connection, mark: str) -> None:
    """It is known that it was never set."""
    connection.execute(sa.delete(home).where(home.c.kind == HomeKind.MARK, home.c.place == mark))


def age_of_mark(connection: sa.Connection, mark: str) -> float | None:
    """For how many seconds the manifest has known a mark, negative where its clock was set back; None: not its own."""
    same = (home.c.migration == "", home.c.kind == HomeKind.MARK, home.c.place == mark)
    since = connection.execute(sa.select(home.c.since).where(*same)).scalar()
    return None if since is None else seconds_between(since, read_clock(connection))


def _claim(migration: str) -> tuple[sa.ColumnElement[bool], ...]:
    return home.c.migration == migration, home.c.kind == HomeKind.CLAIM


def _legacy(migration: str) -> tuple[sa.ColumnElement[bool], ...]:
    return home.c.migration == migration, home.c.kind == HomeKind.LEGACY


def _medplum(migration: str) -> tuple[sa.ColumnElement[bool], ...]:
    return home.c.migration == migration, home.c.kind == HomeKind.MEDPLUM


def claim_identifiers(connection: sa.Connection, migration: str, systems: Iterable[str]) -> dict[str, str]:
    """Make the identifier systems the migration's own; returns those that another one has, and which."""
    wanted = sorted(set(systems))
    upsert(connection, identifier_owner, ("system", "migration"), [(one, migration) for one in wanted], update=())
    return others_identifiers(connection, migration, wanted)


def others_identifiers(connection: sa.Connection, migration: str, systems: Iterable[str]) -> dict[str, str]:
    """Those of the identifier systems that another migration has → which."""
    statement = sa.select(identifier_owner.c.system, identifier_owner.c.migration).where(
        among(connection, identifier_owner.c.system, systems), identifier_owner.c.migration != migration
    )
    return {row.system: row.migration for row in connection.execute(statement.order_by(identifier_owner.c.system))}


def take_identifiers(connection: sa.Connection, migration: str, systems: Iterable[str]) -> None:
    """Make the identifier systems the migration's own, whoever had them."""
    upsert(connection, identifier_owner, ("system", "migration"), [(one, migration) for one in sorted(set(systems))])
