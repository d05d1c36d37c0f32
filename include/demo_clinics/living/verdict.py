"""At the end: what do both systems say, and is it what their people have written?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from demo_clinics.living.diary import Diary, Edit, Side, last_words
from demo_clinics.living.facts import OF_MEDPLUM_ALONE, Facts, Name, Record, record_of


@dataclass(slots=True)
class Verdict:
    """`lost`: what must stand somewhere and does not, as "entity key field: why". Good: nothing lost, no echo."""

    records: int
    edits: int
    lost: list[str] = field(default_factory=list)
    conflicts: set[Record] = field(default_factory=set)
    """Both sides have changed the same: each keeps its own until somebody decides."""
    waiting: int = 0
    """Values of Medplum's people that the legacy system has not, as nothing brings them back yet."""
    echoes: int = 0
    """Versions in Medplum and rows in the legacy database that changed after everybody had gone home."""
    births: dict[Side, int] = field(default_factory=dict)
    """Records by the side that they were created in, and acknowledged to whom."""

    @property
    def is_good(self) -> bool:
        return not self.lost and not self.echoes


def judge(
    diary: Diary, legacy: Mapping[Record, Facts], medplum: Mapping[Record, Facts], undecided: Collection[Record]
) -> Verdict:
    """Compare two independent readings with each other and with the diary.

    `undecided` are the records of which Medferry says that both sides have changed the same.
    """
    verdict = Verdict(len(legacy), sum(map(len, diary.edits.values())))
    verdict.births = {Side.LEGACY: len(diary.born[Side.LEGACY]), Side.MEDPLUM: len(diary.births)}
    for record, rows in legacy.items():
        if record not in medplum:
            verdict.lost.append(f"{' '.join(record)}: not in Medplum")
            continue
        for name, value in medplum[record].items():
            edits = diary.edits.get((*record, name), [])
            fault = _fault(diary.both_ways, edits, name, rows.get(name), value, record in undecided, verdict)
            if fault:
                verdict.lost.append(f"{' '.join(record)} {name}: {fault}")
    written = {place[:2] for place in diary.edits}
    verdict.lost += [f"{' '.join(record)}: not in the legacy system" for record in sorted(written - legacy.keys())]
    verdict.conflicts = set(undecided)
    return verdict


@dataclass(frozen=True, slots=True)
class Shown:
    """A resource as it is found in Medplum: its id, its version, and the names that rows have given it."""

    id: str
    version: str
    names: tuple[Name, ...]


def faults_of_births(
    diary: Diary, legacy: Collection[Record], known: Collection[Record], shown: Collection[Shown]
) -> list[str]:
    """What was created in Medplum and has not exactly one row, rows of nobody, and rows with two resources.

    `known`: the records that the legacy system had in the beginning.
    """
    names = {one.id: one.names for one in shown}
    faults, theirs = [], list[Record]()
    for medplum_id, birth in diary.births.items():
        rows = [record_of(name) for name in names.get(medplum_id, ())]
        theirs += rows
        if len(rows) != 1:
            faults.append(f"{birth.entity} created as {medplum_id}: it has {len(rows)} names of rows")
        faults += [f"{' '.join(row)} of {medplum_id}: no such row" for row in rows if row not in legacy]
    strange = set(legacy) - set(known) - diary.born[Side.LEGACY] - set(theirs)
    faults += [f"{' '.join(row)}: a row that nobody has made" for row in sorted(strange)]
    faults += [f"{' '.join(row)}: the row of several births" for row, times in Counter(theirs).items() if times > 1]
    of_names = Counter(name for one in shown for name in one.names)
    twins = [f"{' '.join(record_of(name))}: {times} resources" for name, times in of_names.items() if times > 1]
    return faults + twins


def _fault(
    both_ways: bool, edits: list[Edit], name: str, row: str | None, resource: str | None, undecided: bool,
    verdict: Verdict,
) -> str:  # fmt: skip
    """Why a field is not as it must be; empty: it is."""
    words = last_words(edits) if edits else []
    of = {side: [edit.value for edit in words if edit.side is side] for side in Side}
    if name in OF_MEDPLUM_ALONE:
        return "" if not words or resource == words[0].value else "Medplum has lost what its people wrote"
    if row == resource:
        return "" if not words or row in [edit.value for edit in words] else "neither has what was written last"
    if undecided:
        return _kept(edits, row, resource)
    if not both_ways and of[Side.MEDPLUM]:
        verdict.waiting += 1
        return _kept(edits, row, resource) if len(words) == 1 else "both sides changed it, and nobody is told"
    return "the sides differ" if words else "the sides differ, and nobody touched it"


def _kept(edits: list[Edit], row: str | None, resource: str | None) -> str:
    """Whether each side still has what its own people wrote last."""
    for side, value in ((Side.LEGACY, row), (Side.MEDPLUM, resource)):
        own = [edit.value for edit in edits if edit.side is side]
        if own and value != own[-1]:
            return f"{side} has lost what its people wrote"
    return ""
