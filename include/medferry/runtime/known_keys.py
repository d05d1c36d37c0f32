"""Whether the key of an entity still is what it was made of when its records were loaded.

A key stands for one thing for ever: by another column under the same name, one record's row would be written over the
resource of another. Refused before anything is written; that it is the same under another name, a person says.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from medferry.errors import MedferryError, SourceError
from medferry.manifest import audit
from medferry.manifest.database import manifest_exists
from medferry.manifest.entity_keys import in_medplum, keep_origins, known_origins, last_fingerprint, some_digests
from medferry.runtime.continuing import Rekeyed
from medferry.runtime.environment import Environment
from medferry.runtime.staging import dump_row, row_digest
from medferry.source.database import set_apart, snapshot
from medferry.source.key_origins import KeyOrigin, is_same, key_origins
from medferry.source.lookup import stream_keys

_SOME = 1_000
_FEW = 20
"""Of so many rows one may have changed since it was loaded, where nothing else tells what their keys are."""


class UnknownEntity(MedferryError):
    """The migration has no entity of that name."""


_Judged = tuple[dict[str, KeyOrigin], list[str]]
"""What to keep, and what is told of the entities that are to be refused."""


def check_known_keys(environment: Environment) -> None:
    """To be asked before a run is prepared; what was not known of an entity's keys is kept.

    Raises Rekeyed, SourceUnavailable, SettingsError.
    """
    with snapshot(environment.source) as view:
        keep, faults = _judged(environment, view, environment.migration.entities.keys())
    if faults:
        raise _rekeyed(faults)
    with environment.manifest.begin() as connection:
        keep_origins(connection, environment.migration.name, keep)


def refuse_other_keys(environment: Environment, view: sa.Connection, entities: Collection[str]) -> None:
    """Ask of the very connection that is to be read: a view may have been changed since. Keeps nothing.

    Raises Rekeyed, SourceUnavailable.
    """
    with environment.manifest.begin() as connection:
        known = known_origins(connection, environment.migration.name, entities)
    if not known:
        return
    present = _present(environment, view, known.keys())
    if others := [name for name in present if is_same(known[name], present[name]) is False]:
        with environment.manifest.begin() as connection:
            loaded = in_medplum(connection, environment.migration.name, others)
        if faults := [_told(name, known[name], present[name]) for name in others if name in loaded]:
            raise _rekeyed(faults)


def look_at_keys(environment: Environment) -> list[str]:
    """What is wrong with the keys of entities that were loaded. Changes nothing. Raises as `check_known_keys`."""
    with snapshot(environment.source) as view:
        return _judged(environment, view, environment.migration.entities.keys())[1]


def check_planned_keys(environment: Environment) -> None:
    """The same where there is a manifest: a plan may be checked before the first run. Raises as `check_known_keys`."""
    if manifest_exists(environment.settings.manifest_url) and (faults := look_at_keys(environment)):
        raise _rekeyed(faults)


def accept_keys(environment: Environment, entities: Collection[str]) -> None:
    """A person says that the keys of these entities are those under which their records were loaded.

    Raises UnknownEntity, SourceUnavailable, SettingsError.
    """
    migration = environment.migration
    for name in entities:
        if name not in migration.entities:
            problem = f"The migration {migration.name} has no entity {name}."
            raise UnknownEntity(problem, f"It has {', '.join(sorted(migration.entities))}.")
    with snapshot(environment.source) as view:
        present = _present(environment, view, entities)
    with environment.manifest.begin() as connection:
        keep_origins(connection, migration.name, present)
        for name in sorted(present):
            audit.append(connection, audit.Act.ACCEPTED, f"keys/{name}: {present[name]}")


def _judged(environment: Environment, view: sa.Connection, entities: Collection[str]) -> _Judged:
    migration = environment.migration
    present = _present(environment, view, entities)
    with environment.manifest.begin() as connection:
        known = known_origins(connection, migration.name, entities)
        loaded = in_medplum(connection, migration.name, [name for name in present if present[name] != known.get(name)])
    keep, faults = dict[str, KeyOrigin](), list[str]()
    for name, origin in present.items():
        before = known.get(name)
        same = is_same(before, origin) if before else None
        if before == origin:
            continue
        if name not in loaded or same:
            keep[name] = origin
        elif same is False and before:
            faults.append(_told(name, before, origin))
        elif (fault := _against_rows(environment, view, name)) is None:
            keep[name] = origin
        elif fault:
            faults.append(fault)
    return keep, faults


def _against_rows(environment: Environment, view: sa.Connection, name: str) -> str | None:
    """What speaks against an entity's keys being those of before, where nothing tells; empty: it cannot be read now.

    The files are those by which it was loaded, or all but a few rows are, under their keys, what was loaded.
    """
    migration = environment.migration
    with environment.manifest.begin() as connection:
        if last_fingerprint(connection, migration.name, name) == migration.fingerprint:
            return None
        known = some_digests(connection, migration.name, name, _SOME)
    entity = migration.entities[name]
    try:
        with set_apart(view):
            rows = list(stream_keys(view, entity, migration.plan.unit_ids, list(known)))
    except SourceError:
        return ""
    others = sum(known.get(entity.ledger_key_of(row)) != row_digest(dump_row(row)) for row in rows)
    if known and others * _FEW <= len(rows):
        return None
    return (
        f"Nothing tells what the keys were made of under which the records of {name} were loaded: its files were "
        f"changed since, and of {len(rows):,} rows that were compared {others:,} are not what they were."
    )


def _present(environment: Environment, view: sa.Connection, entities: Collection[str]) -> dict[str, KeyOrigin]:
    plain = view.execution_options(stream_results=False)  # what streamed before leaves its option behind
    return key_origins(plain, [environment.migration.entities[name] for name in entities])


def _told(name: str, before: KeyOrigin, now: KeyOrigin) -> str:
    return (
        f"The key of {name} was made of {before} when its records were loaded, and is made of {now} now: what is in "
        "Medplum under a key may be another row's."
    )


def _rekeyed(faults: list[str]) -> Rekeyed:
    others = f" ({len(faults)} such entities in all)" if len(faults) > 1 else ""
    return Rekeyed(
        faults[0] + others,
        "Give the entity its key back, or a new name if it is to have other keys. If each row has the value that it "
        "had (a column or table was renamed), `medferry systems --accept-keys ENTITY`.",
    )
