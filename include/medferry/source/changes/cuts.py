"""Take a cut: mark where it ends, in a transaction of its own, and read it on one consistent view of everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.errors import MedferryError, SourceUnavailable
from medferry.source.changes.journal import Cut, Journal
from medferry.source.database import snapshot
from medferry.source.faults import busy, code_of, in_each_others_way, not_opened
from medferry.source.objects import LegacyObjects


@contextmanager
def next_cut(
    journal: Journal, reader: sa.Engine, writer: sa.Engine, previous: str | None
) -> Iterator[tuple[sa.Connection, Cut]]:
    """The next cut, and the connection on whose snapshot the rows of its keys are to be read.

    Raises CaptureBroken, PositionLost, SourceUnavailable, SourceError.
    """
    with writing(writer, journal) as connection:
        journal.mark(connection)
    with snapshot(reader) as connection:
        yield connection, journal.cut(connection, previous)


@contextmanager
def writing(engine: sa.Engine, objects: LegacyObjects) -> Iterator[sa.Connection]:
    """A transaction on objects of ours, READ COMMITTED; no error quotes a row.

    Raises what the objects say of a refusal; SourceUnavailable, SettingsError when it cannot be opened.
    """
    options = {"isolation_level": "READ COMMITTED"} if engine.dialect.name != "sqlite" else {}
    with ExitStack() as opened:
        try:
            connection = opened.enter_context(engine.connect().execution_options(**options))
        except DBAPIError as error:
            raise not_opened(error) from None
        try:
            yield connection
            connection.commit()
        except DBAPIError as error:
            raise _refused(error, objects) from None


def _refused(error: DBAPIError, objects: LegacyObjects) -> MedferryError:
    if error.connection_invalidated:
        return SourceUnavailable(f"The legacy database did not answer ({code_of(error)}).", "Try again.")
    if in_each_others_way(error):
        return busy(error)
    return objects.refused(code_of(error))
