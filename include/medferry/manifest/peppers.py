"""Which peppers have protected hashes of the manifest: without each of them it is not opened.

So a process that lacks the pepper neither stores hashes that anybody can try, nor finds out amid its work.
"""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest.bulk import upsert
from medferry.manifest.clock import read_clock
from medferry.manifest.hashes import HashProtection, missing
from medferry.manifest.homes import HomeKind
from medferry.manifest.tables_of_place import home

_OF_PEPPERS = (home.c.migration == "", home.c.kind == HomeKind.PEPPER)


def check_pepper(manifest: sa.Engine, pepper: HashProtection | None) -> None:
    """Note the pepper that writes from now on. Raises PepperMissing where one is not given that has written."""
    with manifest.connect() as connection:
        known = peppers_of(connection)
    if absent := sorted(known - (pepper.ids if pepper else frozenset())):
        raise missing(absent)
    if pepper and pepper.newest not in known:
        with manifest.begin() as connection:
            line = ("", HomeKind.PEPPER, pepper.newest, "", read_clock(connection))
            upsert(connection, home, ("migration", "kind", "place", "identity", "since"), [line], update=())


def peppers_of(connection: sa.Connection) -> set[str]:
    """The ids of those by which hashes may be protected."""
    return set(connection.scalars(sa.select(home.c.place).where(*_OF_PEPPERS)))


def forget_peppers(connection: sa.Connection, ids: set[str]) -> None:
    """No hash is protected by them any more."""
    connection.execute(sa.delete(home).where(*_OF_PEPPERS, home.c.place.in_(sorted(ids))))
