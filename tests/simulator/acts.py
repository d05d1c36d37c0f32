"""Every durable act of the program, and every request: where it may die, and where others may come in between.

To die after an act is to die before the next one: nothing of a process outlives it. Who is dead does nothing more, so
what `finally` and `except` would tidy up stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa


class Killed(BaseException):
    """The process is dead."""


@dataclass
class Acts:
    """The acts of one process: its first is 0. `between` is called with the number and the name of each."""

    kill_at: int | None = None
    between: Callable[[int, str], None] = lambda *_: None
    dead: bool = False
    names: list[str] = field(default_factory=list)

    def before(self, name: str) -> None:
        """Raises Killed."""
        if self.dead:
            raise Killed
        number = len(self.names)
        self.names.append(name)
        self.between(number, name)
        if number == self.kill_at:
            self.dead = True
            raise Killed


class Watch:
    """Tells of the commits of all engines to whoever is at work now. `acts` is of the present process."""

    def __init__(self) -> None:
        self.acts = Acts()
        self._changes: dict[int, int] = {}
        sa.event.listen(sa.Engine, "commit", self._commit)
        sa.event.listen(sa.Engine, "begin", self._begin)

    def _begin(self, connection: sa.Connection) -> None:
        raw = _raw(connection)
        self._changes[id(raw)] = getattr(raw, "total_changes", None)

    def _commit(self, connection: sa.Connection) -> None:
        raw = _raw(connection)
        changes = getattr(raw, "total_changes", None)
        if changes is None or changes != self._changes.get(id(raw)):
            try:
                self.acts.before(f"commit {name_of(connection)}")
            except Killed:
                raw.rollback()  # as the server does when the process's connection ends
                raise


def name_of(connection: sa.Connection) -> str:
    return str(connection.engine.url.database).rpartition("/")[2].removesuffix(".db")


def _raw(connection: sa.Connection) -> Any:
    return connection.connection.driver_connection
