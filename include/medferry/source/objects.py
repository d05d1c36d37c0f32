"""Our own tables and triggers in the legacy database: what must be there, what is, and the statements that mend it.

They are installed and removed by an account that may, or by the DBA with the script that is printed.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import sqlalchemy as sa

from medferry.errors import MedferryError
from medferry.source.changes.expressions import Expression
from medferry.source.changes.rules import Watched, quoted


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger as it must be. `body` is what the engine's catalogue shows of it."""

    table: str
    name: str
    body: str
    create: tuple[str, ...]
    drop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A trigger of ours as it is. `generation` changes when it is made anew or switched."""

    table: str
    name: str
    body: str
    enabled: bool
    generation: str
    drop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as it must be, and the statements that mend it.

    `unseen`: what it is to watch may have gone by meanwhile.
    """

    problem: str
    mend: tuple[str, ...]
    unseen: bool = True


class LegacyObjects(ABC):
    """The objects of one kind on one engine. Statements run on the connections that are handed in."""

    rights: ClassVar[str]
    """Which rights the accounts need, in words."""
    patience: ClassVar[str | None] = None
    """A statement that keeps the installation from waiting long for a lock, with all writers queued behind it."""
    delimiter: ClassVar[str] = ";"
    """Of the statements in a script; another where a trigger's body holds semicolons that its client would split."""
    named: ClassVar[tuple[str, ...]]
    """The tables."""

    @abstractmethod
    def refused(self, state: str) -> MedferryError:
        """What to raise when the legacy database refuses a statement; `state` is the driver's code."""

    @abstractmethod
    def triggers(self, connection: sa.Connection) -> list[Trigger]:
        """Every trigger that must be there. Raises a MedferryError for what cannot be done on this schema."""

    @abstractmethod
    def called(self, connection: sa.Connection, tables: Collection[str], /) -> Mapping[str, str]:
        """Table → as SQL calls it, with quotes where it needs them."""

    def quoted(self, _: sa.Connection, keys: Watched, /) -> Watched:
        """The same, with quotes around each bare column whose name needs them on this engine."""
        return keys

    @abstractmethod
    def expressions(self, connection: sa.Connection) -> list[Expression]:
        """What people wrote for the triggers to evaluate; not of tables that are missing, which `check` tells."""

    @abstractmethod
    def found(self, connection: sa.Connection) -> list[Found]:
        """Every trigger of this kind that is there."""

    @abstractmethod
    def faults_of_tables(self, connection: sa.Connection) -> list[Fault]:
        """What is missing of the tables."""

    def faults(self, connection: sa.Connection, there_are: Sequence[Found] | None = None) -> list[Fault]:
        """What an installation has to do; nothing when all is as it must be. Raises as `triggers`.

        `there_are`: what `found` gives, where that is known.
        """
        found = self.found(connection) if there_are is None else there_are
        return self.faults_of_tables(connection) + faults_of(self.triggers(connection), found)

    @abstractmethod
    def check(self, connection: sa.Connection) -> None:
        """Raises a MedferryError when not all is as it must be."""

    def removal(self, connection: sa.Connection) -> list[str]:
        """The statements that leave nothing of ours."""
        drops = [statement for trigger in self.found(connection) for statement in trigger.drop]
        there = set(sa.inspect(connection).get_table_names())
        return [*dict.fromkeys(drops), *(f"DROP TABLE {name}" for name in self.named if name in there)]

    def script(self, statements: Sequence[str]) -> list[str]:
        """The statements as lines that a DBA can give to the engine's own client."""
        patient = [self.patience] if self.patience else []
        if self.delimiter == ";":
            return ["BEGIN;", *(f"{statement};" for statement in (*patient, *statements)), "COMMIT;"]
        lines = [f"{statement} {self.delimiter}" for statement in (*patient, *statements)]
        return [f"DELIMITER {self.delimiter}", *lines, "DELIMITER ;"]


def faults_of(wanted: Iterable[Trigger], there: Iterable[Found]) -> list[Fault]:
    """What is to be done so that the triggers that are there are those that must be, in that order.

    What is no longer needed goes first: a table that was renamed has kept triggers of names that are needed elsewhere.
    """
    faults = list[Fault]()
    found = {(trigger.table, trigger.name): trigger for trigger in there}
    for trigger in wanted:
        name = f"the trigger {trigger.name} on {trigger.table}"
        present = found.pop((trigger.table, trigger.name), None)
        if present is None:
            faults.append(Fault(f"{name} is missing", trigger.create))
        elif present.body != trigger.body:
            faults.append(Fault(f"{name} is not what the definition says", (*trigger.drop, *trigger.create)))
        elif not present.enabled:
            faults.append(Fault(f"{name} is switched off", (*trigger.drop, *trigger.create)))
    stray = [Fault(f"the trigger {t.name} on {t.table} is no longer needed", t.drop) for t in found.values()]
    return stray + faults


def short(name: str, limit: int) -> str:
    """A name within an engine's limit, still one of its own."""
    plain = name.replace(".", "_").replace('"', "").replace("`", "")
    return plain if len(plain) <= limit else f"{plain[: limit - 9]}_{digest(plain)[:8]}"


def word(name: str) -> str:
    """A name that needs no quotes; two may become one."""
    return re.sub(r"\W", "_", name)


def called_plainly(tables: Iterable[str]) -> dict[str, str]:
    """Table → as SQL calls it, where quotes are needed around all that is not one word alone."""
    return {table: table if re.fullmatch(r"[\w.\"]+", table) else quoted(table) for table in tables}


def literal(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def digest(*parts: object) -> str:
    """Sixteen hexadecimal digits that stand for some values."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
