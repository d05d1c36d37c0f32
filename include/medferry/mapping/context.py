"""What a mapping function may use: names, references, codes and careful parsers for one row.

A context belongs to one row. It holds what the row's mapping found out on the way (`findings`) and nothing else;
a mapping stays a pure function of the row, the code tables and the plan's settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pendulum import Timezone

from medferry.fhir.identifiers import IdentifierForm, form_of
from medferry.mapping import values
from medferry.mapping.columns import ColumnReader
from medferry.mapping.declare import MAIN, MappingSpec, Resource, Row
from medferry.mapping.identity import Naming, conditional_reference
from medferry.mapping.outcomes import Finding, Quarantine, Skip, checked_field, checked_reason
from medferry.mapping.read_row import as_written
from medferry.mapping.terminology import CodeRow, CodeTable, is_fhir_code
from medferry.mapping.told import caller, told_reason
from medferry.source.keys import fault_of, key_text
from medferry.source.types.canonical import base64_of


class MappingFault(Exception):
    """The mapping itself is wrong (an undeclared slot, reference or code table). Holds no patient data."""


@dataclass(frozen=True, slots=True)
class MappingSettings:
    """What all rows of a migration share."""

    naming: Naming
    zone: Timezone
    tables: Mapping[str, CodeTable]
    specs: Mapping[str, MappingSpec]
    null_tokens: frozenset[str] = frozenset()
    sentinel_dates: frozenset[str] = frozenset()
    column_null_tokens: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By ``entity.column``."""
    words: frozenset[str] = field(default=frozenset(), repr=False)
    """The texts of the mappings' source: what of theirs may be told (``mapping.told``)."""


@dataclass(slots=True)
class Context:
    """The tools of one row's mapping; `key` is the row's source key as text."""

    spec: MappingSpec
    key: str
    settings: MappingSettings
    findings: list[Finding] = field(default_factory=list)
    columns: Row = field(default_factory=dict, repr=False)
    withheld: str = ""
    """File and line where a finding's reason was given that may not be told."""

    @property
    def row(self) -> ColumnReader:
        """The row's columns by name: ``ctx.row.text("family_name")``."""
        return ColumnReader(self, self.columns)

    # -- resources and references ------------------------------------------------------------------

    def resource(self, slot: str = MAIN, **elements: Any) -> Resource:
        """Build this row's resource for `slot`: type, source identifier, meta, then the given elements.

        Elements that are None or empty are left out; a trailing underscore of a name is cut (``class_``). A type that
        has one identifier (QuestionnaireResponse, Composition) takes no other beside the source's; one that has none
        (Provenance) carries the source's name as a tag. Raises Quarantine('key-is-no-code') where a tag cannot hold it.
        """
        if slot not in self.spec.produces:
            raise MappingFault(
                f"the mapping of {self.spec.entity} does not declare the slot {as_written(slot)}: add it to produces"
            )
        system = self.settings.naming.system(self.spec.entity, slot)
        given = {name.removesuffix("_"): value for name, value in elements.items()}
        kind = self.spec.produces[slot]
        resource: Resource = {"resourceType": kind, "meta": {"source": system, "tag": [self.settings.naming.tag]}}
        if form_of(kind) is IdentifierForm.NONE:
            resource["meta"]["tag"].insert(0, self._name_tag(system))
        else:
            resource["identifier"] = self._identifiers(kind, system, given.pop("identifier", None))
        resource.update({name: value for name, value in given.items() if not _is_empty(value)})
        return resource

    def _name_tag(self, system: str) -> dict[str, str]:
        """What names a resource of a type without identifiers; it comes first of all tags."""
        if not is_fhir_code(self.key):
            raise Quarantine("key-is-no-code")
        return {"system": system, "code": self.key}

    def _identifiers(self, kind: str, system: str, others: Any) -> Any:
        """The source identifier and the `others` given, in the form that the type has for them."""
        own = {"system": system, "value": self.key}
        if form_of(kind) is IdentifierForm.LIST:
            return [own, *([others] if isinstance(others, dict) else others or ())]
        if others:
            raise MappingFault(f"a {kind} has room for one identifier, the source's")
        return own

    def reference(
        self, entity: str, key: Any, slot: str = MAIN, display: str | None = None, *, zero_is_none: bool = False
    ) -> dict[str, str] | None:
        """Refer to the resource that another row became; None when `key` is null or blank.

        Nothing is trimmed: a key is given as the source has it, one of several columns as a tuple of their values.
        `zero_is_none`: the legacy system writes 0 where it refers to nothing.
        Raises Quarantine('key-…') when no row can have such a key.
        """
        value = key_text(key)
        if value is None or not value.strip() or (zero_is_none and value.strip() == "0"):
            return None
        if fault := fault_of(value):
            raise Quarantine(fault, entity)
        if entity not in (*self.spec.references, self.spec.entity):
            raise MappingFault(
                f"the mapping of {self.spec.entity} does not declare a reference to {as_written(entity)}: "
                "add it to references"
            )
        resource_type = self.settings.specs[entity].produces.get(slot)
        if resource_type is None:
            raise MappingFault(f"{entity} produces no slot {as_written(slot)}")
        system = self.settings.naming.system(entity, slot)
        reference = {"reference": conditional_reference(resource_type, system, value), "type": resource_type}
        return {**reference, "display": display} if display else reference

    # -- outcomes ----------------------------------------------------------------------------------

    def skip(self, reason: str) -> Skip:
        """To be raised: the row is deliberately out of scope."""
        return Skip(reason)

    def quarantine(self, reason: str, field: str = "") -> Quarantine:
        """To be raised: the row needs a person's decision."""
        return Quarantine(reason, field)

    def finding(self, reason: str, field: str = "") -> None:
        """Record a loss that does not stop the row."""
        told = told_reason(checked_reason(reason), self.settings)
        if told != reason:
            self.withheld = self.withheld or caller()
        found = Finding(told, checked_field(field))
        if found not in self.findings:
            self.findings.append(found)

    # -- values ------------------------------------------------------------------------------------

    def text(self, value: Any, field: str = "") -> str | None:
        """Trimmed text, or None for null, blanks and, with a finding, for the plan's null tokens.

        Raises Quarantine: 'undecodable-text', 'decoded-as-latin-1' for C1 control characters, which are letters of
        another encoding, 'binary-value' for bytes (cast a column that holds text in them in the SQL). Other control
        characters are removed and suspected mojibake is kept, both with a finding.
        """
        if value is None:
            return None
        if not isinstance(value, str) and isinstance(value, Mapping):
            raise Quarantine("binary-value", field)
        text = str(value)
        clean = (text if values.is_plain(text) else self._legible(text, field)).strip()
        if not clean:
            return None
        if self._is_null_token(clean, field):
            self.finding("null-token", field)
            return None
        return clean

    def _legible(self, text: str, field: str) -> str:
        if values.is_undecodable(text):
            raise Quarantine("undecodable-text", field)
        if values.is_decoded_as_latin_1(text):
            raise Quarantine("decoded-as-latin-1", field)
        clean = values.without_control_characters(text)
        if clean != text:
            self.finding("control-characters-removed", field)
        if values.looks_like_mojibake(clean):
            self.finding("suspected-mojibake", field)
        return clean

    def _is_null_token(self, text: str, field: str) -> bool:
        if text in self.settings.null_tokens:
            return True
        of_columns = self.settings.column_null_tokens
        return bool(of_columns) and text in of_columns.get(f"{self.spec.entity}.{field}", ())

    def base64(self, value: Any, field: str = "") -> str | None:
        """The base64 of bytes, or None for null. Raises Quarantine('not-binary') for anything else."""
        if value is None:
            return None
        encoded = base64_of(value)
        if encoded is None:
            raise Quarantine("not-binary", field)
        return encoded

    def date(self, value: Any, field: str = "") -> str | None:
        """A FHIR date, or None for null and sentinels (with a finding). Raises Quarantine('impossible-date')."""
        text = self._moment(value, field)
        return None if text is None else values.parse_date(text, field)

    def instant(self, value: Any, field: str = "", zone: str | None = None) -> str | None:
        """A time as ISO 8601 with offset: the text's own offset, else a wall-clock time of `zone`.

        `zone` is an IANA name, the plan's zone by default. None for null and sentinels. Of a second, six digits are
        kept, and what is cut off is a finding. Raises Quarantine as
        ``values.parse_exact_time`` and ``values.parse_local_time`` do.
        """
        text = self._moment(value, field)
        if text is None:
            return None
        text, cut = values.to_microseconds(text)
        if cut:
            self.finding("fraction-cut", field)
        if values.has_offset(text):
            return values.parse_exact_time(text, field)
        return values.parse_local_time(text, values.zone_of(zone) if zone else self.settings.zone, field)

    def _moment(self, value: Any, field: str) -> str | None:
        """The text of a date or time; None, with a finding, where it is a sentinel."""
        text = self.text(value, field)
        if text is not None and text[:10] in self.settings.sentinel_dates:
            self.finding("sentinel-date", field)
            return None
        return text

    def number(self, value: Any, field: str = "") -> int | float | None:
        """A JSON number equal to the source's decimal, or None. Raises Quarantine('not-a-number' …)."""
        text = self.text(value, field)
        return None if text is None else values.parse_number(text, field)

    # -- codes -------------------------------------------------------------------------------------

    def code(self, table: str, value: Any, field: str = "", text: str | None = None) -> dict[str, Any] | None:
        """A CodeableConcept with the approved target (where there is one) and always the local code and text.

        A code without a target is a finding that names the column and the code table.
        """
        local = self.text(value, field)
        if local is None:
            return {"text": text} if text else None
        row = self._table(table).find(local)
        target = row.target if row else None
        if target is None:
            self.finding("unmapped-code", f"{field}:{table}" if field else table)
        codings = [coding for coding in (target, self._local_coding(table, local, row)) if coding]
        shown = text or (row.local_display if row else "") or local
        return {"coding": codings, "text": shown} if codings else {"text": shown}

    def local_coding(self, table: str, value: Any, field: str = "") -> dict[str, str] | None:
        """The legacy system's own Coding of a local code; None for null and for text that FHIR takes for no code."""
        local = self.text(value, field)
        return None if local is None else self._local_coding(table, local, self._table(table).find(local))

    def _local_coding(self, table: str, local: str, row: CodeRow | None) -> dict[str, str] | None:
        if not is_fhir_code(local):
            return None
        coding = {"system": self.settings.naming.code_system(table), "code": local}
        return {**coding, "display": row.local_display} if row and row.local_display else coding

    def coding(self, table: str, value: Any, field: str = "") -> dict[str, str] | None:
        """The approved target Coding of a local code, None for null. Raises Quarantine('unmapped-code')."""
        local = self.text(value, field)
        if local is None:
            return None
        row = self._table(table).find(local)
        if row is None or row.target is None:
            raise Quarantine("unmapped-code", field or table)
        return dict(row.target)

    def optional_code(self, table: str, value: Any, field: str = "") -> str | None:
        """The approved target code for an element of type ``code`` that may be missing; None for null.

        Raises Quarantine('unmapped-code') where nothing is approved: what a row says is never dropped in silence.
        """
        coding = self.coding(table, value, field)
        return coding["code"] if coding else None

    def required_code(self, table: str, value: Any, field: str) -> str:
        """The approved target code for an element of type ``code`` that FHIR requires.

        Raises Quarantine: 'missing-required' for null, 'unmapped-code' where nothing is approved.
        """
        coding = self.coding(table, value, field)
        if coding is None:
            raise Quarantine("missing-required", field)
        return coding["code"]

    def _table(self, name: str) -> CodeTable:
        table = self.settings.tables.get(name)
        if table is None:
            raise MappingFault(f"there is no code table terminology/{as_written(name)}.csv")
        return table


def _is_empty(value: Any) -> bool:
    return value is None or value == [] or value == {} or value == ""
