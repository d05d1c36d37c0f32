"""Apply a mapping to one row and turn whatever happens into an explained result."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from medferry.fhir.tidy import tidied
from medferry.mapping.context import Context, MappingFault, MappingSettings
from medferry.mapping.declare import MappingSpec, Resource, Row
from medferry.mapping.outcomes import Disposition, Finding, Reason, RowOutcome
from medferry.mapping.quiet import quiet
from medferry.mapping.read_row import NoSuchColumn, ReadRow
from medferry.mapping.values import with_zero_dates
from medferry.mapping.yielded import Odd, resources_of


@dataclass(frozen=True, slots=True)
class MappedRow:
    """A row after its mapping; it is pending while its resources are still to be loaded.

    `place` names code ("patient.py:31 KeyError"), never data.
    """

    key: str
    disposition: Disposition
    reason: str = ""
    field: str = ""
    place: str = ""
    resources: Sequence[Resource] = ()
    findings: Sequence[Finding] = ()


@quiet
def apply_mapping(spec: MappingSpec, row: Row, key: str, settings: MappingSettings) -> MappedRow:
    """Map one row; what the mapping says beside is not heard.

    A fault of the mapping's code, or of what it yields, quarantines the row and names the line.
    """
    # The row is for reading: what is told of it afterwards (its unit) must not depend on its mapping.
    columns = MappingProxyType(ReadRow(with_zero_dates(row)))
    context = Context(spec, key, settings, columns=columns)
    try:
        made = resources_of(spec, spec(columns, context), key, settings.naming)
        resources = [tidied(resource) for resource in made]
    except RowOutcome as outcome:
        return MappedRow(key, outcome.disposition, outcome.reason, outcome.field, findings=context.findings)
    except Odd as odd:
        return MappedRow(key, Disposition.QUARANTINED, Reason.MAPPING_ERROR, place=str(odd), findings=context.findings)
    except Exception as error:  # noqa: BLE001 - any fault of a user's mapping is that row's outcome, not a crash
        return MappedRow(
            key, Disposition.QUARANTINED, Reason.MAPPING_ERROR, place=place_of(error), findings=context.findings
        )
    if not resources:
        return MappedRow(key, Disposition.SKIPPED, Reason.NO_RESOURCE, findings=context.findings)
    return MappedRow(key, Disposition.PENDING, resources=resources, findings=context.findings)


def place_of(error: Exception) -> str:
    """Where the mapping failed and how, without the exception's text (it may quote the row)."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((f for f in reversed(frames) if "/mappings/" in f.filename.replace("\\", "/")), frames[-1])
    told = f": {error}" if isinstance(error, MappingFault | NoSuchColumn) else ""
    return f"{last.filename.rsplit('/', 1)[-1]}:{last.lineno} {type(error).__name__}{told}"
