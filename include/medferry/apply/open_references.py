"""The rule of references: what may be written now, and what never can be, since what it refers to is not there.

Pure. A load asks it about what is in Medplum, a dry run about what a load would have brought there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from medferry.apply.targets import LoadRecord, StagedResource
from medferry.manifest.crosswalk import Name
from medferry.manifest.source_records import DispositionChange
from medferry.mapping.outcomes import Disposition, Reason


def may_be_written(
    records: Iterable[LoadRecord], known: Collection[Name], ended: Collection[Name], waiting: Collection[Name] = ()
) -> list[StagedResource]:
    """Resources of records that have neither ended nor wait, and whose references lead to `known` ones.

    Nothing of a record is written while any of its references leads elsewhere than to itself.
    """
    found: list[StagedResource] = []
    for record in records:
        within = {resource.name for resource in record.resources}
        if any(name not in known and name not in within for resource in record.resources for name in resource.wanted):
            continue
        found += [
            resource
            for resource in record.resources
            if resource.name not in ended
            and resource.name not in waiting
            and all(name in known for name in resource.wanted)
        ]
    return found


def never_resolved(
    records: Iterable[LoadRecord], known: Collection[Name], own: str, told: Callable[[Name], str]
) -> list[DispositionChange]:
    """The end of records that refer to what is not there; left out is what may wait for rows of its own entity.

    `own` is the entity's identifier system; `told` says of what is not there what may stand as the record's place.
    """
    ends: list[DispositionChange] = []
    for record in records:
        missing = sorted({name for resource in record.resources for name in resource.wanted if name not in known})
        if not any(system == own or system.startswith(f"{own}/") for system, _ in missing):
            ends.append(_unresolved(record.key, told(missing[0])))
    return ends


def waited_in_vain(keys: Sequence[str]) -> list[DispositionChange]:
    """The end of records that wait for rows of their own entity, when none of these comes any more."""
    return [_unresolved(key) for key in keys]


def _unresolved(key: str, place: str = "") -> DispositionChange:
    return DispositionChange(key, Disposition.QUARANTINED, Reason.UNRESOLVED_REFERENCE, place=place)
