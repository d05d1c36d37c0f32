"""What an inverse mapping may use: the tools of a mapping's context, turned round. They pass ``KEEP`` on.

Each gives the value for a column, read back by the mapping's own tool first: what would come back otherwise is not
written but reported with its path, and the column keeps what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from medferry.fhir.references import parse_conditional
from medferry.mapping import values
from medferry.mapping.context import Context, MappingFault, MappingSettings
from medferry.mapping.declare import MAIN, MappingSpec, Row
from medferry.mapping.inverse import KEEP, CannotExpress, Columns, Inexpressible, Kept
from medferry.mapping.outcomes import RowOutcome, checked_reason
from medferry.mapping.read_row import as_written
from medferry.mapping.terminology import CodeRow, CodeTable

Said: TypeAlias = str | int | float | Kept | None
"""The value for a column."""


@dataclass(slots=True)
class InverseContext:
    """The tools for one resource: that of `slot`. `row` is the present row, None where there is none yet."""

    spec: MappingSpec
    slot: str
    row: Row | None
    settings: MappingSettings
    cannot_express: list[CannotExpress] = field(default_factory=list)
    paths: dict[str, str] = field(default_factory=dict)
    """Column → the path that it was read from."""

    def cannot(self, reason: str, path: str, detail: str = "") -> Kept:
        """Report that the legacy system cannot hold what stands at a path. The value for its column."""
        found = CannotExpress(self.slot, path, checked_reason(reason), detail)
        if found not in self.cannot_express:
            self.cannot_express.append(found)
        return KEEP

    def only(self, elements: Any, path: str) -> Any:
        """The one element of a list for which legacy has one place; None without any, ``KEEP`` for several."""
        if not elements:
            return None
        return elements[0] if len(elements) == 1 else self.cannot(Inexpressible.NO_PLACE, path)

    def together(self, columns: Columns) -> Columns:
        """Columns that mean something only together (a value and its unit): all of them, or none."""
        return dict.fromkeys(columns, KEEP) if any(value is KEEP for value in columns.values()) else columns

    # -- values ------------------------------------------------------------------------------------

    def required(self, value: Said, path: str) -> Said:
        """The value for a column that may not be empty: what was taken away is reported."""
        return self.cannot(Inexpressible.CANNOT_BE_REMOVED, path) if value is None else value

    def text(self, value: Any, column: str, path: str, longest: int | None = None) -> Said:
        """A text of at most `longest` characters, or None. Not what the mapping would trim, clean or take for none."""
        self.paths[column] = path
        if longest is not None and isinstance(value, str) and len(value) > longest:
            return self.cannot(Inexpressible.TOO_LONG, path, column)
        return self._checked(value, value, column, path, lambda context, text: context.text(text, column))

    def date(self, value: Any, column: str, path: str, whole: bool = False) -> Said:
        """A day; a year or month too unless the column takes `whole` days only."""
        self.paths[column] = path
        if whole and isinstance(value, str) and len(value) < len("YYYY-MM-DD"):
            return self.cannot(Inexpressible.PARTIAL_DATE, path)
        return self._checked(value, value, column, path, lambda context, text: context.date(text, column))

    def wall_time(self, value: Any, column: str, path: str, zone: str | None = None, whole: bool = False) -> Said:
        """An instant as the time on a clock in `zone` (an IANA name; the plan's zone by default).

        With `whole`, the column keeps no fractions of a second. Not in the hour that a clock change repeats: the
        mapping would not know which is meant.
        """
        moment = self._moment(value, column, path)
        if not isinstance(moment, datetime):
            return moment
        if whole and moment.microsecond:
            return self.cannot(Inexpressible.FRACTION, path)
        wall = moment.astimezone(values.zone_of(zone) if zone else self.settings.zone)
        text = _printed(wall.replace(tzinfo=None))
        return self._checked(moment, text, column, path, lambda context, text: context.instant(text, column, zone))

    def instant(self, value: Any, column: str, path: str) -> Said:
        """An instant for a column that keeps instants, in UTC."""
        moment = self._moment(value, column, path)
        if not isinstance(moment, datetime):
            return moment
        text = f"{_printed(moment.astimezone(UTC).replace(tzinfo=None))}+00"
        return self._checked(moment, text, column, path, lambda context, text: context.instant(text, column))

    def number(self, value: Any, column: str, path: str, whole: bool = False) -> Said:
        """A number; an integer where the column takes `whole` ones only."""
        self.paths[column] = path
        if whole and isinstance(value, float) and not value.is_integer():
            return self.cannot(Inexpressible.FRACTION, path)
        given: Said = int(value) if whole and isinstance(value, float) else value
        return self._checked(value, given, column, path, lambda context, number: context.number(number, column))

    def _moment(self, value: Any, column: str, path: str) -> datetime | Kept | None:
        self.paths[column] = path
        if value is None or value is KEEP:
            return value
        try:
            moment = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            return self.cannot(Inexpressible.NO_TIME_OF_DAY, path)
        return moment if moment.tzinfo else self.cannot(Inexpressible.NO_TIME_OF_DAY, path)

    def _checked(self, said: Any, value: Said, column: str, path: str, read: Callable[[Context, Any], Any]) -> Said:
        """`value` for the column, if the mapping reads it as what was `said`."""
        self.paths[column] = path
        if said is None or value is KEEP:
            return value
        context = Context(self.spec, "", self.settings)
        try:
            found = read(context, value)
        except RowOutcome as outcome:
            return self.cannot(Inexpressible.READS_OTHERWISE, path, outcome.reason)
        if isinstance(said, datetime) and found is not None:
            found = datetime.fromisoformat(found)
        if found != said:
            detail = context.findings[0].reason if context.findings else ""
            return self.cannot(Inexpressible.READS_OTHERWISE, path, detail)
        return value

    # -- codes -------------------------------------------------------------------------------------

    def code(self, table: str, value: Any, column: str, path: str) -> Said:
        """The local code of a CodeableConcept, a Coding or a plain code.

        That is the local coding which the resource keeps, else the one approved line of the code table that has the
        standard code; of several the one that the row has now. Anything else is for a person.
        """
        self.paths[column] = path
        return KEEP if value is KEEP else self._code(table, value, column, path)

    def _code(self, table: str, value: Any, column: str, path: str) -> Said:
        codings = _codings(value)
        local = self._local(table, value)
        if local is None and codings:
            return self._of_target(table, codings, column, path)
        line = self._table(table).find(local) if local is not None else None
        others = [coding for coding in codings if coding.get("system") != self._system(table)]
        if line and line.target and others and not any(_matches(line, coding) for coding in others):
            return self.cannot(Inexpressible.CODES_DISAGREE, path)
        return local

    def words(self, table: str, concept: Any, column: str, path: str, longest: int | None = None) -> Said:
        """The text of a CodeableConcept; None where it is only what the code table says of its local code."""
        text = concept.get("text") if isinstance(concept, dict) else None
        before = len(self.cannot_express)
        local = self.code(table, concept, column, path)
        del self.cannot_express[before:]  # what `code` has to say of it, it says for its own column
        line = self._table(table).find(local) if isinstance(local, str) else None
        usual = (line.local_display if line else "") or local
        return self.text(None if text == usual else text, column, f"{path}.text", longest)

    def _local(self, table: str, value: Any) -> str | None:
        """The code of the local coding that a resource keeps."""
        system = self._system(table)
        return next((str(c["code"]) for c in _codings(value) if c.get("system") == system and c.get("code")), None)

    def _of_target(self, table: str, codings: list[Mapping[str, Any]], column: str, path: str) -> Said:
        lines = self._table(table).rows.values()
        found = [line for line in lines if line.target and any(_matches(line, coding) for coding in codings)]
        present = self.row.get(column) if self.row else None
        if present is not None and self._table(table).find(str(present)) in found:
            return str(present).strip()
        if len(found) == 1:
            return found[0].local_code
        return self.cannot(Inexpressible.SEVERAL_LOCAL_CODES if found else Inexpressible.NO_LOCAL_CODE, path, table)

    def _system(self, table: str) -> str:
        return self.settings.naming.code_system(table)

    def _table(self, name: str) -> CodeTable:
        table = self.settings.tables.get(name)
        if table is None:
            raise MappingFault(f"there is no code table terminology/{as_written(name)}.csv")
        return table

    # -- references --------------------------------------------------------------------------------

    def key(self, entity: str, reference: Any, column: str, path: str, slot: str = MAIN) -> Said:
        """The source key of the resource that is referred to: by an identifier that a row of `entity` gave it."""
        self.paths[column] = path
        if reference is None or reference is KEEP:
            return None if reference is None else KEEP
        system = self.settings.naming.system(entity, slot)
        name = _named(reference)
        return name[1] if name and name[0] == system else self.cannot(Inexpressible.UNKNOWN_REFERENCE, path, entity)


def _named(reference: Any) -> tuple[str, str] | None:
    """(system, value) of what a Reference names."""
    if not isinstance(reference, dict):
        return None
    if parsed := parse_conditional(str(reference.get("reference", ""))):
        return parsed[1], parsed[2]
    named = reference.get("identifier")
    logical = isinstance(named, dict) and "reference" not in reference
    return (str(named.get("system")), str(named.get("value"))) if logical and isinstance(named, dict) else None


def _codings(value: Any) -> list[Mapping[str, Any]]:
    """The Codings of a CodeableConcept, a Coding or a plain code, which has no system."""
    if isinstance(value, str):
        return [{"code": value}]
    if not isinstance(value, dict):
        return []
    if "code" in value:
        return [value]
    return [coding for coding in value.get("coding", ()) if isinstance(coding, dict)]


def _matches(line: CodeRow, coding: Mapping[str, Any]) -> bool:
    """Whether a line's approved target is the coding; a plain code has no system to compare."""
    return coding.get("code") == line.code and coding.get("system", line.system) == line.system


def _printed(moment: datetime) -> str:
    """A wall time as a row has it: with as much of a fraction as there is."""
    return moment.isoformat(sep=" ").rstrip("0").rstrip(".") if moment.microsecond else moment.isoformat(sep=" ")
