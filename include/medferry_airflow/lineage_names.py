"""What OpenLineage calls the places that Medferry reads and writes: never with an account, a path of a file, a key.

postgres://<host>:<port>   <database>.<schema>.<table>     the legacy tables, by OpenLineage's naming of each engine
medferry://<migration>     <entity>/rows, <entity>/bundles  what is staged, whichever run has staged it
https://<Medplum's host>   <resource type>
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class Name:
    """A dataset's, as OpenLineage has it."""

    namespace: str
    name: str


_ENGINES = {
    "postgresql": ("postgres", 5432, 3),
    "mysql": ("mysql", 3306, 2),
    "mariadb": ("mysql", 3306, 2),
    "mssql": ("mssql", 1433, 3),
}
"""Scheme, usual port, and how many parts a whole name has."""


def table_named(url: sa.URL, schema: str, table: Sequence[str]) -> Name:
    """A table by the parts of its name in SQL; `schema`: the one that is meant where the SQL names none.

    OpenLineage names no files of SQLite: their namespace is the engine alone, as a path may be of a person's folder.
    """
    engine = _ENGINES.get(url.get_backend_name())
    if engine is None:
        return Name(url.get_backend_name(), ".".join(table))
    scheme, port, parts = engine
    whole = (*(url.database or "", schema)[: max(parts - len(table), 0)], *table)
    return Name(f"{scheme}://{url.host or 'localhost'}:{url.port or port}", ".".join(whole))


def resources_named(base_url: str, resource_type: str) -> Name:
    """The resources of a type in the Medplum of `base_url`."""
    parts = urlsplit(base_url)
    host = parts.netloc.rpartition("@")[2]
    return Name(f"{parts.scheme}://{host}{parts.path.rstrip('/')}", resource_type)


def staged_named(migration: str, entity: str, what: str) -> Name:
    """What is staged of an entity: ``rows`` or ``bundles``."""
    return Name(f"medferry://{migration}", f"{entity}/{what}")
