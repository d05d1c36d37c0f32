"""What the keys are made of under which the records of each entity were loaded."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

import sqlalchemy as sa

from medferry.manifest.bulk import among, upsert
from medferry.manifest.clock import read_clock
from medferry.manifest.tables import target, unit_state
from medferry.manifest.tables_of_place import entity_key
from medferry.manifest.tables_of_sending import sent_batch
from medferry.manifest.unit_state import digests_of
from medferry.mapping.outcomes import Disposition
from medferry.source.key_origins import KeyOrigin

_COLUMNS = ("migration", "entity", "columns", "made_of", "query", "since")


def known_origins(connection: sa.Connection, migration: str, entities: Collection[str]) -> dict[str, KeyOrigin]:
    """Entity → what its key was made of, of those of which it was kept."""
    of = (entity_key.c.migration == migration, among(connection, entity_key.c.entity, entities))
    names = ("entity", "columns", "made_of", "query")
    rows = connection.execute(sa.select(*(entity_key.c[name] for name in names)).where(*of)).all()
    return {
        row.entity: KeyOrigin(tuple(row.columns), None if row.made_of is None else tuple(row.made_of), row.query)
        for row in rows
    }


def keep_origins(connection: sa.Connection, migration: str, origins: Mapping[str, KeyOrigin]) -> None:
    """From now on that is what the keys of these entities are made of."""
    at = read_clock(connection)
    rows = [
        (migration, entity, json.dumps(one.columns), json.dumps(one.made_of), one.query, at)
        for entity, one in sorted(origins.items())
    ]
    upsert(connection, entity_key, _COLUMNS, rows)


def in_medplum(connection: sa.Connection, migration: str, entities: Collection[str]) -> set[str]:
    """Those of the entities of which anything is in Medplum under its keys, or may be."""
    return {
        entity
        for entity in entities
        if any(
            connection.execute(
                sa.select(table.c.entity).where(table.c.migration == migration, table.c.entity == entity).limit(1)
            ).first()
            for table in (target, sent_batch)
        )
    }


def last_fingerprint(connection: sa.Connection, migration: str, entity: str) -> str:
    """Of the files by which the newest loaded record of an entity was decided; empty without one."""
    newest = sa.select(unit_state.c.fingerprint).where(*_loaded(migration, entity))
    return str(connection.scalar(newest.order_by(unit_state.c.decided_at.desc()).limit(1)) or "")


def some_digests(connection: sa.Connection, migration: str, entity: str, number: int) -> dict[str, str]:
    """Key → digest of the row as it was loaded, of so many records by chance; without those that have none."""
    chosen = sa.select(unit_state.c.key).where(*_loaded(migration, entity)).order_by(sa.func.random()).limit(number)
    found = digests_of(connection, migration, entity, connection.scalars(chosen).all())
    return {key: digest for key, digest in found.items() if digest}


def _loaded(migration: str, entity: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        unit_state.c.migration == migration,
        unit_state.c.entity == entity,
        unit_state.c.disposition == Disposition.SUCCESSFUL,
    )
