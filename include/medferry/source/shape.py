"""The shape of legacy tables, as a digest: another one means that somebody has changed the schema."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import sqlalchemy as sa

from medferry.errors import SourceError


def shape_of(connection: sa.Connection, tables: Collection[str]) -> str:
    """SHA-256 of names, types and nullability of the columns of some tables or views, named in whatever case.

    A table outside the default schema is named ``schema.table``. Raises SourceError for one that is not there.
    """
    inspector = sa.inspect(connection)
    digest, there = hashlib.sha256(), dict[str | None, dict[str, str]]()
    for name in sorted({table.casefold() for table in tables}):
        schema_, _, table = name.rpartition(".")
        schema = schema_ or None
        if schema not in there:
            found = (*inspector.get_table_names(schema), *inspector.get_view_names(schema))
            there[schema] = {each.casefold(): each for each in found}
        if table not in there[schema]:
            raise SourceError(f"There is no table {name}.", "Correct the entities that read it, or the schema.")
        for column in inspector.get_columns(there[schema][table], schema):
            facts = (name, column["name"], str(column["type"]), str(column["nullable"]))
            digest.update("\0".join(facts).encode() + b"\n")
    return digest.hexdigest()
