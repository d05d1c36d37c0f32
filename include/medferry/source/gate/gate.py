"""A unit's gate in the legacy database: a row that every write of the unit locks, and that closing waits for.

The triggers read the row with a *locking* read: closing it waits for exactly the unit's writers in flight, those of
other units go on, and a transaction that began before (REPEATABLE READ) is refused; a plain read would let it through.
Until when a gate is closed stands in the row, on the legacy database's own clock: should Medferry die, it opens by
itself. Every act names the epoch that it was decided on, and is done at that epoch or not at all.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.errors import MedferryError, TransientError
from medferry.source.changes.cuts import writing
from medferry.source.changes.expressions import Expression
from medferry.source.changes.rules import ROW, KeyOf
from medferry.source.faults import in_each_others_way
from medferry.source.objects import Fault, LegacyObjects, literal

GATE = "medferry_gate"

EVENTS = {"INSERT": ("NEW",), "UPDATE": ("OLD", "NEW"), "DELETE": ("OLD",)}
"""What writes a row, and the rows of a trigger that it is about."""

REFUSAL = "is closed while it moves to Medplum"
"""What the application is told of the unit."""


class GateMoved(MedferryError):
    """The gate is not as it was when the act was decided: somebody else acted, or its time was over."""


class GateBroken(MedferryError):
    """A gate, or a trigger that asks it, is missing, switched off or not what the definition says."""


class WritersInFlight(TransientError):
    """Transactions that write the unit did not end in time. The gate is open as before."""


class GateState(StrEnum):
    """Whether a unit is written in the legacy database."""

    OPEN = "open"
    CLOSED = "closed"
    """Until a time."""
    SHUT = "shut"
    """For good: the unit is written in Medplum."""


@dataclass(frozen=True, slots=True)
class UnitGate:
    """A gate as the legacy clock sees it. `seconds_left` until it opens by itself; None unless it is closed."""

    unit: str
    epoch: int
    state: GateState
    seconds_left: float | None = None


Gated = Mapping[str, KeyOf]
"""Table, as the legacy database's SQL names it → which unit a row of it belongs to."""


class Gate(LegacyObjects):
    """The gates of some units on one engine, and the triggers of the tables that hold what belongs to them."""

    named = (GATE,)
    false: ClassVar[str] = "0"
    true: ClassVar[str] = "1"
    open_now: ClassVar[str]
    """The SQL condition of a gate that lets writers through."""
    seconds_left: ClassVar[str]
    """The seconds until `closed_until`, in SQL."""
    lock: ClassVar[str] = f"SELECT 1 FROM {GATE} WHERE unit = :unit FOR UPDATE"
    """The statement that waits for the unit's writers and keeps others away until the transaction ends."""
    until: ClassVar[str]
    """The time `:seconds` from now, in SQL."""

    def __init__(self, units: Sequence[str], gated: Gated) -> None:
        self.units = units
        self.gated = gated

    # -- objects -----------------------------------------------------------------------------------

    @abstractmethod
    def table(self) -> str:
        """The statement that makes the table of gates."""

    def all_there(self, tables: Iterable[str]) -> None:
        """Raises GateBroken for a gated table that is not among those that there are."""
        there = {*tables}
        if missing := [table for table in self.gated if table not in there]:
            raise GateBroken(f"There is no table {missing[0]}.", "Correct gate.yaml, or the legacy schema is another.")

    def units_by_table(self, connection: sa.Connection) -> Gated:
        """`gated`, with quotes around columns whose names need them."""
        keys = self.quoted(connection, {table: (unit,) for table, unit in self.gated.items()})
        return {table: unit for table, (unit,) in keys.items()}

    def expressions(self, connection: sa.Connection) -> list[Expression]:
        called = self.called(connection, self.gated)
        return [
            Expression(f"gate.yaml, table {table}", called[table], unit.parts[0], sql)
            for table, unit in self.units_by_table(connection).items()
            for sql in units_of(unit, [ROW])
        ]

    def faults_of_tables(self, connection: sa.Connection) -> list[Fault]:
        there = GATE in sa.inspect(connection).get_table_names()
        faults = [] if there else [Fault(f"the table {GATE} is missing", (self.table(),))]
        present = set(connection.scalars(sa.text(f"SELECT unit FROM {GATE}"))) if there else set()
        for unit in self.units:
            if unit not in present:
                add = f"INSERT INTO {GATE} VALUES ({literal(unit)}, 0, {self.false}, NULL)"
                faults.append(Fault(f"the unit {unit} has no gate", (add,)))
        return faults

    def check(self, connection: sa.Connection) -> None:
        """Raises GateBroken when a write may go by the gates."""
        if faults := self.faults(connection):
            problem = "; ".join(fault.problem for fault in faults[:5])
            raise GateBroken(f"The gates have {len(faults)} fault(s): {problem}.", "Run `medferry gate install`.")

    def refused(self, state: str) -> MedferryError:
        return GateBroken(
            f"The legacy database refused a statement of the gates ({state}).",
            "Check that they are installed and the account's rights (`medferry gate check`).",
        )

    # -- acts --------------------------------------------------------------------------------------

    def all(self, connection: sa.Connection) -> list[UnitGate]:
        """Every gate, by unit."""
        statement = f"SELECT unit, epoch, closing, closed_until IS NULL, {self.seconds_left} FROM {GATE} ORDER BY unit"
        return [
            UnitGate(unit, epoch, *_state(closing, for_good, left))
            for unit, epoch, closing, for_good, left in connection.execute(sa.text(statement))
        ]

    def read(self, connection: sa.Connection, unit: str) -> UnitGate:
        """The gate of a unit. Raises GateBroken when it has none."""
        found = next((gate for gate in self.all(connection) if gate.unit == unit), None)
        if found is None:
            raise GateBroken(f"The unit {unit} has no gate.", "Run `medferry gate install`.")
        return found

    @abstractmethod
    def close(self, engine: sa.Engine, unit: str, epoch: int, seconds: float, patience: float) -> UnitGate:
        """Close a gate for `seconds`, and wait at most `patience` seconds until no writer is in flight.

        Closing what is closed renews its time. Raises GateMoved; WritersInFlight, and it is as open as before.
        """

    def _closed(self, connection: sa.Connection, unit: str, epoch: int, seconds: float) -> UnitGate:
        """Note that a gate is closed from now on. Raises GateMoved."""
        values = f"closing = {self.true}, closed_until = {self.until}"
        self._set(connection, unit, epoch, values, NOT_SHUT, GateState.CLOSED, seconds=seconds)
        return self.read(connection, unit)

    def open(self, engine: sa.Engine, unit: str, epoch: int) -> None:
        """Open what is closed, and do nothing where it is open. Raises GateMoved, also of what is shut for good."""
        with writing(engine, self) as connection:
            self._set(connection, unit, epoch, f"closing = {self.false}, closed_until = NULL", NOT_SHUT, GateState.OPEN)

    def shut(self, engine: sa.Engine, unit: str, epoch: int) -> UnitGate:
        """Shut for good what is still closed, at the next epoch; to be repeated without harm. Raises GateMoved.

        The row is locked against the writers before its time is looked at: one that came through since it was over
        is waited for, and then the time has been over.
        """
        still = f"(closing AND closed_until IS NOT NULL AND NOT {self.open_now})"
        return self._moved_on(engine, unit, epoch, "closed_until = NULL", still, GateState.SHUT)

    def reopen(self, engine: sa.Engine, unit: str, epoch: int) -> UnitGate:
        """Open what was shut for good, at the next epoch; to be repeated without harm. Raises GateMoved."""
        opened = f"closing = {self.false}"
        return self._moved_on(engine, unit, epoch, opened, "(closing AND closed_until IS NULL)", GateState.OPEN)

    def _moved_on(
        self, engine: sa.Engine, unit: str, epoch: int, values: str, condition: str, wanted: GateState
    ) -> UnitGate:
        with writing(engine, self) as connection:
            self._lock(connection, unit)
            present = self.read(connection, unit)
            if (present.epoch, present.state) != (epoch + 1, wanted):
                self._set(connection, unit, epoch, f"{values}, epoch = epoch + 1", condition, wanted)
            return UnitGate(unit, epoch + 1, wanted)

    def _lock(self, connection: sa.Connection, unit: str) -> None:
        """Lock a gate's row against everybody, the unit's writers too. Raises WritersInFlight."""
        try:
            connection.execute(sa.text(self.lock), {"unit": unit})
        except DBAPIError as error:
            if in_each_others_way(error):
                raise WritersInFlight(
                    f"Transactions that write {unit} have not ended in time.",
                    "It is open as before. Look for the oldest transaction, or have more patience.",
                ) from None
            raise

    def _set(
        self,
        connection: sa.Connection,
        unit: str,
        epoch: int,
        values: str,
        condition: str,
        wanted: GateState,
        **bound: Any,
    ) -> None:
        statement = sa.text(f"UPDATE {GATE} SET {values} WHERE unit = :unit AND epoch = :epoch AND {condition}")
        done = connection.execute(statement, {"unit": unit, "epoch": epoch, **bound})
        if done.rowcount != 1:
            present = self.read(connection, unit)
            raise GateMoved(
                f"The gate of {unit} could not be made {wanted}: it is {present.state} at epoch {present.epoch}, and "
                f"this was decided on epoch {epoch}.",
                "Look at it anew: `medferry gate show`.",
            )


NOT_SHUT = "(NOT closing OR closed_until IS NOT NULL)"


def units_of(unit: KeyOf, rows: Iterable[str]) -> list[str]:
    """The SQL of the unit of each of some rows of a trigger (NEW, OLD)."""
    if unit.is_select:
        return [f"({unit.in_trigger(row)} LIMIT 1)" for row in rows]
    return [unit.logged(row)[0] for row in rows]


def _state(closing: object, for_good: object, left: float | None) -> tuple[GateState, float | None]:
    if not closing:
        return GateState.OPEN, None
    if for_good:
        return GateState.SHUT, None
    return (GateState.CLOSED, float(left)) if left is not None and left > 0 else (GateState.OPEN, None)
