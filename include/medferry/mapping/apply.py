"""Apply a mapping to one row and turn whatever happens into an explained result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from medferry.fhir.tidy import tidied
from medferry.mapping.context import Context, MappingSettings
from medferry.mapping.declare import MappingSpec, Resource, Row
from medferry.mapping.outcomes import Disposition, Finding, Reason, RowOutcome
from medferry.mapping.quiet import quiet
from medferry.mapping.raised import is_fault, line_of, place_of
from medferry.mapping.read_row import ReadRow
from medferry.mapping.told import told_field, told_reason
from medferry.mapping.values import with_zero_dates
from medferry.mapping.yielded import Odd, resources_of, where


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
    context, raised = Context(spec, key, settings, columns=columns), ""
    try:
        made = resources_of(spec, spec(columns, context), key, settings.naming)
        resources = [tidied(resource) for resource in made]
    except RowOutcome as outcome:
        raised = line_of(outcome)
        found = MappedRow(key, outcome.disposition, outcome.reason, outcome.field, findings=context.findings)
    except Odd as odd:
        found = _faulty(key, str(odd), context)
    except BaseException as error:
        if not is_fault(error):
            raise
        found = _faulty(key, place_of(error), context)
    else:
        disposition, reason = (Disposition.PENDING, "") if resources else (Disposition.SKIPPED, Reason.NO_RESOURCE)
        found = MappedRow(key, disposition, reason, resources=resources, findings=context.findings)
    if not (found.reason or found.field or found.findings):
        return found
    return _told(found, columns, spec, context, raised)


def _faulty(key: str, place: str, context: Context) -> MappedRow:
    return MappedRow(key, Disposition.QUARANTINED, Reason.MAPPING_ERROR, place=place, findings=context.findings)


def _told(found: MappedRow, columns: Row, spec: MappingSpec, context: Context, raised: str) -> MappedRow:
    """Leaves out what may be a value of the row in place of a reason or of a column's name: reports show both.

    `raised`: where the row's outcome was. The place says what was left out, and where.
    """
    settings = context.settings
    reason = told_reason(found.reason, settings) if found.reason else ""
    field = told_field(found.field, columns, settings) if found.field else ""
    findings = [replace(one, field=one.field and told_field(one.field, columns, settings)) for one in found.findings]
    place = found.place
    if found.reason and reason != found.reason:
        place = f"{raised or where(spec)} gives a reason that is not written in the mappings"
    elif context.withheld and not place:
        place = f"{context.withheld} gives a finding a reason that is not written in the mappings"
    elif field != found.field and not place:
        place = f"{where(spec)} gives a value of the row where the name of its column belongs"
    return replace(found, reason=reason, field=field, place=place, findings=findings)
