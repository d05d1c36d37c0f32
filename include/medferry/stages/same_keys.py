"""Whether an entity's rows still have the keys under which they are known: else all would be created a second time.

A database's administrator who changes the type of a key (1 becomes 0001, or 1.00) gives every record another name.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from more_itertools import take

from medferry.manifest.subject import Records, successful_keys
from medferry.manifest.unit_state import states_of
from medferry.runtime.continuing import Renamed
from medferry.runtime.environment import Environment
from medferry.source.database import stream
from medferry.source.lookup import units_of_keys
from medferry.source.slices import rows_of, units_held

_SOME = 20


def check_keys(environment: Environment, view: sa.Connection, name: str, units: Sequence[str]) -> None:
    """To be asked before a run of these units is written down.

    Of some records that were loaded none has a row any more, and of some rows none has a record: then the keys have
    another form, or other rows took the place of all; which it is, a person says in the plan. Raises Renamed,
    SourceError.
    """
    migration, entity = environment.migration, environment.migration.entities[name]
    if name in migration.plan.entity_leftovers:
        return
    known = take(_SOME, successful_keys(environment.manifest, Records(migration.name, None, units), name))
    if not known or units_of_keys(view, entity, known):
        return
    held = units_held(view, entity, units)
    statement, values = rows_of(view.dialect.name, entity, held, None, None, _SOME)
    present = [entity.ledger_key_of(row) for row in stream(view, statement, values)]
    with environment.manifest.begin() as connection:
        if not present or states_of(connection, migration.name, name, present):
            return
    raise Renamed(
        f"No row of {name} has a key under which one was loaded ({len(known)} and {len(present)} were compared): if "
        "its keys have another form now, each record would be created again.",
        "Cast the key in the entity's SQL to the form that it had. If these are other rows, name the entity in the "
        f"plan's `entity_leftovers` ({name}: report, keep, remove or inactivate): so is said what becomes of the old.",
    )
