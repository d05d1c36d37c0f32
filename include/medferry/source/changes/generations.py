"""Whose changes go by the journal, and whose triggers were made anew: table by table, so that other entities go on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from medferry.errors import SourceError
from medferry.source.changes.rules import Watched
from medferry.source.objects import Fault, Found, Trigger, digest, faults_of, literal


class ChangesUnseen(SourceError):
    """A trigger of an entity is missing, off, or not what the definition says: its changes go by the journal."""


class TableGone(SourceError):
    """The legacy database has a table of an entity no longer, or does not show it to the account."""


class RollbackUnseen(SourceError):
    """A table keeps what its transaction took back, while the journal's line goes: its engine has no transactions."""


def entities_of(watched: Watched) -> frozenset[str]:
    return frozenset(key.entity for keys in watched.values() for key in keys)


def unseen(
    wanted: Sequence[Trigger], there_are: Sequence[Found], entities: Collection[str]
) -> tuple[dict[str, SourceError], list[Fault]]:
    """Entity → why its changes go by the journal; and the faults that are no one entity's."""
    found: dict[str, SourceError] = {}
    rest: list[Fault] = []
    for table in sorted({one.table for one in wanted} | {one.table for one in there_are}):
        of_table = [trigger for trigger in wanted if trigger.table == table]
        faults = faults_of(of_table, [trigger for trigger in there_are if trigger.table == table])
        told = "; ".join(fault.problem for fault in faults)
        logged = logged_by([*wanted, *there_are], {table}, entities)
        rest += faults if not logged else []
        for entity in logged if faults else ():
            before = f"{found[entity].problem[:-1]}; " if entity in found else "Capture is broken: "
            found[entity] = ChangesUnseen(
                f"{before}{told}.", "Run `medferry capture install`: the next cycle then reads all of the entity."
            )
    return found, rest


def no_table(table: str, why: str = "or the account may not see it") -> TableGone:
    """Nothing can be logged of a table that is not there."""
    return TableGone(
        f"There is no table {table}, {why}.",
        "Bring it back or grant the right, then run `medferry capture install`; or correct capture.yaml.",
    )


def fault_of(error: SourceError) -> Fault:
    """The same beside the faults that statements mend, in the middle of a sentence."""
    return Fault(error.problem[:1].lower() + error.problem[1:].rstrip("."), ())


def gone(watched: Watched, tables: Mapping[str, SourceError]) -> dict[str, SourceError]:
    """Entity → why nothing can be logged of those of its tables that are among `tables`."""
    found: dict[str, SourceError] = {}
    for table, error in sorted(tables.items()):
        for entity in entities_of({table: watched[table]}):
            before = f"{found[entity].problem} " if entity in found else ""
            found[entity] = type(error)(before + error.problem, error.remedy)
    return found


def without_transactions(watched: Watched, engines: Mapping[str, str]) -> dict[str, SourceError]:
    """Entity → that those of its tables which are in `engines` are of an engine whose rows no rollback takes back."""
    found: dict[str, SourceError] = {}
    for table, engine in sorted(engines.items()):
        for entity in sorted(entities_of({table: watched[table]})):
            found[entity] = RollbackUnseen(
                f"The table {table} is of the engine {engine}: its rows may stay after a ROLLBACK, or change "
                "elsewhere, without a line in the journal.",
                f"Have the DBA run ALTER TABLE {table} ENGINE=InnoDB, or write `method: sweep` for {entity}.",
            )
    return found


def logged_by(wanted: Iterable[Trigger | Found], tables: Collection[str], entities: Collection[str]) -> frozenset[str]:
    """The entities whose keys the triggers of some tables log; a trigger names them in its body."""
    bodies = [trigger.body for trigger in wanted if trigger.table in tables]
    return frozenset(entity for entity in entities if any(literal(entity) in body for body in bodies))


def epoch_of(there_are: Iterable[Found]) -> str:
    """A digest of all generations of triggers, and of each table's."""
    of_tables: dict[str, list[tuple[str, str]]] = {}
    for trigger in there_are:
        of_tables.setdefault(trigger.table, []).append((trigger.name, trigger.generation))
    whole = digest(sorted((table, *each) for table, of_table in of_tables.items() for each in of_table))
    each = ",".join(f"{_mark(table)}:{digest(sorted(of))[:8]}" for table, of in sorted(of_tables.items()))
    return f"{whole}.{each}"


def made_anew(before: str, now: str, tables: Collection[str]) -> frozenset[str]:
    """Those of some tables whose triggers are not those of an earlier epoch."""
    (whole_before, of_before), (whole_now, of_now) = _parts(before), _parts(now)
    if whole_before == whole_now:
        return frozenset()
    return frozenset(table for table in tables if of_before.get(_mark(table)) != of_now.get(_mark(table)))


def all_anew(before: str, now: str) -> bool:
    """Whether no trigger is known to be that of an earlier epoch: then there is nothing to go on with."""
    (whole_before, of_before), (whole_now, of_now) = _parts(before), _parts(now)
    return whole_before != whole_now and not of_before.items() & of_now.items()


def _parts(epoch: str) -> tuple[str, Mapping[str, str]]:
    """The digest of all, and table → digest; an epoch of an earlier version tells no tables."""
    _, _, triggers = epoch.partition(".")
    whole, _, each = triggers.partition(".")
    return whole, dict(one.split(":", 1) for one in each.split(",") if one)


def _mark(table: str) -> str:
    return digest(table)[:8]
