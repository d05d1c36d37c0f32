"""The journal of changed keys in the legacy database: its objects, and exact cuts through it.

`cut` gives the keys of all transactions that were committed since the previous cut, each change in exactly one cut,
however long a transaction took. A position is opaque text for whoever keeps it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import sqlalchemy as sa

from medferry.errors import MedferryError, SourceError
from medferry.source.births import BORN, born_ddl
from medferry.source.changes import generations
from medferry.source.changes.expressions import Expression, of_watched
from medferry.source.changes.lookups import Held, OtherColumns, looked_up
from medferry.source.changes.positions import anchor_of, place_of, stands
from medferry.source.changes.rules import KeyOf, Watched
from medferry.source.database import set_apart
from medferry.source.objects import Fault, Found, LegacyObjects, Trigger, digest

CHANGE, HEARTBEAT = "medferry_change", "medferry_heartbeat"
TABLES = (CHANGE, HEARTBEAT)
FENCE = "medferry_fence"
"""The entity of rows that belong to no record: the one with which a journal begins, and those of `fences`."""
_AFTER_LOSS = "Make a complete sweep, then go on from now; of a restored backup, first see the page on red runs."


class PositionLost(MedferryError):
    """The journal does not reach back to the position: another server, a restored copy, a trigger that was off."""


class CaptureBroken(MedferryError):
    """The journal or a trigger is missing, switched off or not what the definition says, or it may not be used."""


class ReadFromStandby(CaptureBroken):
    """A copy that follows another server does not tell which transactions are open there: no cut can be made of it."""


def broken(faults: Sequence[Fault]) -> CaptureBroken:
    """The error of what an installation has to mend."""
    problem = "; ".join(fault.problem for fault in faults[:5])
    remedy = "Run `medferry capture install`; no change has gone by the journal."
    if any(fault.unseen for fault in faults):
        remedy = "Run `medferry capture install`, then a complete sweep: changes may have gone by the journal."
    if not any(fault.mend for fault in faults):
        remedy = "Bring the table back, or grant the account a right to it; or correct capture.yaml (`method: sweep`)."
    return CaptureBroken(f"Capture has {len(faults)} fault(s): {problem}.", remedy)


Logged = tuple[str, str, str | None]
"""(entity, table, key text): the table only where the text is of columns by which the entity's keys are looked up."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The changes between two positions: keys by entity, sorted, and entities of which everything may have changed.

    `logged` is what the journal has, the same at each replay; what is looked up by it is found as it is now. `refused`
    are entities whose keys the database would not look up, or whose changes go by the journal, and why: of these there
    are no keys.
    """

    position: str
    keys: Mapping[str, tuple[str, ...]]
    whole: frozenset[str]
    logged: frozenset[Logged]
    refused: Mapping[str, SourceError] = field(default_factory=dict)

    def logged_of(self, entity: str) -> frozenset[Logged]:
        return frozenset(one for one in self.logged if one[0] == entity)


class Journal(LegacyObjects):
    """The journal on one engine. Statements run on the connections that are handed in."""

    named = (*TABLES, BORN)

    def __init__(self, watched: Watched, births: bool = False) -> None:
        """`births`: rows are inserted for what users create in Medplum, and a table of ours tells of them."""
        self.watched, self.births = watched, births

    # -- objects -----------------------------------------------------------------------------------

    @abstractmethod
    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """Table → the statements that make and fill it."""

    @abstractmethod
    def gone(self, connection: sa.Connection) -> Mapping[str, SourceError]:
        """The watched tables that bear no triggers which log all, and why: most often as there is no such table."""

    @abstractmethod
    def triggers_on(self, connection: sa.Connection, watched: Watched) -> list[Trigger]:
        """Every trigger that must be on some watched tables, which are all there."""

    def unlogged(self, _: sa.Connection, gone: Mapping[str, SourceError], /) -> dict[str, SourceError]:
        """Entity → why no trigger tells of all changes of its tables; `gone`: of those that bear none."""
        return generations.gone(self.watched, gone)

    def triggers(self, connection: sa.Connection, gone: Collection[str] | None = None) -> list[Trigger]:
        return self.triggers_on(connection, self._there(connection, self.gone(connection) if gone is None else gone))

    def _there(self, connection: sa.Connection, gone: Collection[str]) -> Watched:
        return self.quoted(connection, {table: keys for table, keys in self.watched.items() if table not in gone})

    def expressions(self, connection: sa.Connection) -> list[Expression]:
        there = self._there(connection, self.gone(connection))
        return of_watched(there, self.called(connection, there))

    def faults(self, connection: sa.Connection, there_are: Sequence[Found] | None = None) -> list[Fault]:
        gone = [generations.fault_of(error) for _, error in sorted(self.gone(connection).items())]
        return gone + super().faults(connection, there_are) + self.emptied(connection)

    def emptied(self, connection: sa.Connection) -> list[Fault]:
        """A journal that has no row is told from one that was emptied by nothing, so it is to have one."""
        if CHANGE not in sa.inspect(connection).get_table_names() or self._anchor(connection):
            return []
        told = "the journal is empty: others have emptied it, or nothing was logged since an earlier version made it"
        return [Fault(told, (self.fence("'begun'"),))]

    def faults_of_tables(self, connection: sa.Connection) -> list[Fault]:
        there = set(sa.inspect(connection).get_table_names())
        wanted = {**self.tables(), **({BORN: born_ddl(connection.dialect.name)} if self.births else {})}
        wanted[CHANGE] = (*wanted[CHANGE], self.fence("'begun'"))
        return [Fault(f"the table {name} is missing", ddl) for name, ddl in wanted.items() if name not in there]

    def check(self, connection: sa.Connection, there_are: Sequence[Found] | None = None) -> None:
        """Raises CaptureBroken when changes may go by the journal."""
        self.check_reader(connection)
        if faults := self.faults(connection, there_are):
            raise broken(faults)

    def refused(self, state: str) -> MedferryError:
        return CaptureBroken(
            f"The legacy database refused a statement of the capture ({state}).",
            "Check that it is installed and the account's rights (`medferry capture check`), and that nobody holds the "
            "tables locked.",
        )

    # -- cuts --------------------------------------------------------------------------------------

    @abstractmethod
    def server(self, connection: sa.Connection, /) -> str:
        """What names this server and this history of it."""

    def check_reader(self, connection: sa.Connection) -> None:
        """Raises ReadFromStandby where a snapshot does not tell which transactions are open."""

    @abstractmethod
    def now(self, connection: sa.Connection) -> str:
        """The engine's own position at the connection's snapshot."""

    @abstractmethod
    def window(self, low: str, high: str) -> tuple[str, dict[str, Any]]:
        """The SQL condition of the journal's rows in the cut (low, high], and its values."""

    @abstractmethod
    def behind(self, low: str) -> tuple[str, dict[str, Any]]:
        """The SQL condition of all rows of the journal that are in no cut up to `low`, and its values."""

    @abstractmethod
    def mark(self, connection: sa.Connection) -> None:
        """Write the heartbeat, and whatever the next cut needs, in a transaction of its own."""

    def epoch(self, connection: sa.Connection, there_are: Sequence[Found] | None = None) -> str:
        """Digests: of the server, of all triggers' generations, and of those of each table."""
        found = self.found(connection) if there_are is None else there_are
        journal = connection.scalar(sa.text(f"SELECT journal FROM {HEARTBEAT} WHERE name = 'journal'"))
        return f"{digest(self.server(connection), journal)}.{generations.epoch_of(found)}"

    def cut(self, connection: sa.Connection, previous: str | None) -> Cut:
        """The changes since `previous`, as of the connection's snapshot; none for the first cut (None).

        An entity whose table is gone, or a trigger missing or off, is `refused`, the others go on; one whose trigger
        was made anew is `whole`. Raises CaptureBroken, and PositionLost: then only a complete sweep knows what changed.
        """
        self.check_reader(connection)
        there_are, wanted = self.found(connection), self.triggers(connection, gone := self.gone(connection))
        unseen, faults = generations.unseen(wanted, there_are, generations.entities_of(self.watched))
        unseen |= self.unlogged(connection, gone)
        unanchored = previous is not None and anchor_of(previous) is None  # of an earlier version: it goes on
        if rest := self.faults_of_tables(connection) + faults + ([] if unanchored else self.emptied(connection)):
            raise broken(rest)
        epoch = self.epoch(connection, there_are)
        position = f"{epoch}@{self.now(connection)}{self._anchor(connection)}"
        if previous is None:
            return Cut(position, {}, frozenset(), frozenset(), unseen)
        if problem := self.lost(connection, previous, epoch):
            raise PositionLost(f"{problem} since the last cut: changes may be missing.", _AFTER_LOSS)
        cut = self.replay(connection, previous, position)
        tables = generations.made_anew(previous.partition("@")[0], epoch, {trigger.table for trigger in wanted})
        anew = generations.logged_by(wanted, tables, generations.entities_of(self.watched))
        everything = frozenset((entity, "", None) for entity in anew | unseen.keys())
        whole, refused = cut.whole | anew | unseen.keys(), {**cut.refused, **unseen}
        return replace(cut, whole=whole, logged=cut.logged | everything, refused=refused)

    def lost(self, connection: sa.Connection, position: str, epoch: str) -> str:
        """Why the journal does not reach back to a position; empty: it does."""
        before = position.partition("@")[0]
        if before.partition(".")[0] != epoch.partition(".")[0]:
            return "This is another server or journal"
        if generations.all_anew(before, epoch):
            return "The triggers were made anew or switched"
        anchor = anchor_of(position)
        if anchor is not None and not stands(connection, CHANGE, self.time, anchor):
            return "Rows of the journal were deleted by others than `medferry capture prune`"
        return ""

    def _anchor(self, connection: sa.Connection) -> str:
        """The newest row at a cut, as it ends a position: who empties the journal takes it along. None has none."""
        newest = sa.text(f"SELECT id, {self.time} FROM {CHANGE} ORDER BY id DESC LIMIT 1")
        row = connection.execute(newest).first()
        return "" if row is None else f"#{row[0]} {row[1]}"

    def replay(self, connection: sa.Connection, previous: str, position: str) -> Cut:
        """The cut from `previous` to `position` again, however much was written since."""
        condition, values = self.window(place_of(previous), place_of(position))
        return self._read(connection, position, condition, values)

    def _read(self, connection: sa.Connection, position: str, condition: str, values: Mapping[str, Any]) -> Cut:
        sql = f"SELECT entity, via, min({self.key}) FROM {CHANGE} WHERE {condition} GROUP BY 1, 2, {self.exact_key}"
        rows = connection.execute(sa.text(sql), values)
        return self.resolved(connection, position, ((str(one), str(via), key and str(key)) for one, via, key in rows))

    def resolved(self, connection: sa.Connection, position: str, logged: Iterable[Logged]) -> Cut:
        """The cut of what was logged: its keys are looked up as of the connection's snapshot."""
        by_entity: dict[str, set[Logged]] = {}
        for one in logged:
            by_entity.setdefault(one[0], set()).add(one)
        keys, refused = dict[str, tuple[str, ...]](), dict[str, SourceError]()
        whole = {entity for entity, of_entity in by_entity.items() if any(key is None for *_, key in of_entity)}
        for entity, of_entity in sorted(by_entity.items()):
            try:
                if found := self._keys_of(connection, entity, of_entity):
                    keys[entity] = tuple(sorted(found))
            except SourceError as error:
                refused[entity] = error
            except OtherColumns:
                whole.add(entity)
        return Cut(position, keys, frozenset(whole), frozenset().union(*by_entity.values()), refused)

    def _keys_of(self, connection: sa.Connection, entity: str, logged: Collection[Logged]) -> set[str]:
        told = [(via, key) for _, via, key in logged if key is not None]
        keys = {key for via, key in told if not via}
        for table in sorted({via for via, _ in told if via}):
            rule, texts = self._rule(entity, table), sorted(key for via, key in told if via == table)
            with set_apart(connection):
                keys |= looked_up(connection, rule, self.held(connection, table, rule.columns), texts)
        return keys

    def waiting(self, connection: sa.Connection, position: str) -> Cut:
        """What the journal has behind a position as of the connection's snapshot; it checks and moves nothing."""
        condition, values = self.behind(place_of(position))
        return self._read(connection, position, condition, values)

    def _rule(self, entity: str, table: str) -> KeyOf:
        """By which an entity's keys are looked up for a changed row of another table. Raises PositionLost."""
        for key in self.watched.get(table, ()):
            if key.entity == entity and key.is_select:
                return key
        raise PositionLost(
            f"The definition no longer says what {entity} has to do with {table}.", "Make a complete sweep."
        )

    @abstractmethod
    def held(self, connection: sa.Connection, table: str, columns: Sequence[str], /) -> Sequence[Held]:
        """How the texts that were logged of some columns of a table become values. Raises OtherColumns."""

    def fence(self, token: str) -> str:
        """The statement that writes a row of `FENCE`; `token` is SQL."""
        row = {"entity": f"'{FENCE}'", "via": "''", self.key: token, "op": "'F'", **self.of_a_row}
        return f"INSERT INTO {CHANGE} ({', '.join(row)}) VALUES ({', '.join(row.values())})"

    of_a_row: ClassVar[Mapping[str, str]] = {}
    """What else every row of the journal needs: column → SQL."""

    key, exact_key = "key", "key"
    """The column, whose name is a reserved word on some engines; and as what two are equal if their bytes are."""

    time = "CAST(at AS CHAR)"
    """The time of a row of the journal as text, in SQL."""

    age: str
    """The age of a row of the journal in whole seconds, in SQL."""

    oldest_transaction = ""
    """A SELECT of the age in seconds of the oldest transaction that others have open."""

    writing_transactions: str | None = None
    """A SELECT of the age in seconds of each transaction of others that has written or locked; NULL: it is hidden.

    None: nobody has said how to see them. Empty: there are no others while one writes.
    """
