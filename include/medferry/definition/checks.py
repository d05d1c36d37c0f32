"""The checks of an entity: what its rows must look like in Medplum, said again and independently of the mapping.

`checks/<entity>.yaml` of a migration names the entity's own tables, and for each resource of a row SQL expressions over
them with the place in the resource (FHIRPath) where the value must be found. docs/runbooks/verify.md shows one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from medferry.definition.tables import ApprovedTable
from medferry.fhir.fhirpath import compiled
from medferry.fhir.selection import NotSelectable, selection

MAIN = "main"

Comparator = Literal[
    "exact", "text", "number", "boolean", "quantity", "instant", "date", "code", "reference", "document", "absent"
]


def _checked(path: str) -> str:
    compiled(path)
    return path


FhirPath = Annotated[str, AfterValidator(_checked)]

_MEMBER = re.compile(r"(?:(?P<parent>.+)\.)?(?P<name>[A-Za-z]\w*)", re.DOTALL)


def _placed(path: str) -> str:
    """A path whose places can be told: of the members, filters and indexes that `fhir.selection` understands."""
    try:
        selection(_checked(path))
    except NotSelectable:
        raise ValueError(f"{path!r} does not tell places: use members, where, exists, [0], first, last") from None
    return path


def _of_member(path: str) -> str:
    if not _MEMBER.fullmatch(_placed(path)):
        raise ValueError(f"{path!r} must end with the name of an element")
    return path


PlacedPath = Annotated[str, AfterValidator(_placed)]
MemberPath = Annotated[str, AfterValidator(_of_member)]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=8, max_length=300)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(_Part):
    """One value: where the legacy database has it, where the resource must have it, and what equal means.

    `sql` is an expression over the tables of `from`; `path` is FHIRPath with `%base`, the plan's identifier base.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    path: FhirPath
    compare: Comparator
    sql: str | None = None
    further_sql: list[str] = []
    """reference: of the key's further columns, where it has several; written as a list under `sql`."""
    where: str | None = None
    """SQL condition: rows for which it does not hold are not compared."""
    unit: str | None = None
    """quantity: SQL of the unit's local code, read with the code table `table`."""
    table: str | None = None
    """quantity, code: name of the approved code table."""
    comparator: str | None = None
    """quantity: SQL of the expected FHIR comparator (`<`, `>`), or null."""
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """number, quantity: how far apart equal values may be, in the legacy value's unit; also across convertible ones."""
    zone: str | None = None
    """instant: SQL of the IANA zone of the wall time; the plan's zone without."""
    plus_minutes: str | None = None
    """instant: SQL of minutes of real time that pass until the expected instant."""
    entity: str | None = None
    """reference: the entity whose key `sql` is."""
    slot: str = MAIN
    """reference: the slot of that entity."""
    media_type: str | None = None
    """document: SQL of the type."""
    null_tokens: list[str] = []
    """Texts that are no value here, beside the plan's."""
    as_text: bool = False
    """document: `sql` is a text, to be found in UTF-8 as it is; else it is a blob."""
    cleaned: bool = False
    """document, of a text: its outer blanks and control characters are not kept, and nothing is said of them."""

    @model_validator(mode="before")
    @classmethod
    def _key_of_several_columns(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("sql"), list) and data["sql"]:
            return {**data, "sql": data["sql"][0], "further_sql": data["sql"][1:]}
        return data

    @model_validator(mode="after")
    def _fits_its_comparator(self) -> Self:
        _have_what_it_needs(self)
        if self.cleaned and not self.as_text:
            raise ValueError("cleaned is said of a document's text: it needs as_text")
        if self.further_sql and self.compare != "reference":
            raise ValueError("sql is a list for a reference only, to a key of several columns")
        return self

    @property
    def title(self) -> str:
        """The name's family: documents are counted apart from other values."""
        return "document" if self.compare == "document" else "value"


class ManyCheck(_Part):
    """A list, whole: as many values as `from` has rows for the source key, in their order.

    `key`, `sql` and `order` are SQL expressions over the list's own `from`; `compare` as in a check. A list of concepts
    is compared concept by concept: its `path` ends with the concept, and not with `coding`.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    path: PlacedPath
    compare: Literal["exact", "text", "number", "date", "code", "reference"]
    tables: Annotated[str, Field(alias="from")]
    key: str | list[str]
    sql: str
    where: str = "1 = 1"
    order: str | None = None
    """The order of the list; without, any order will do."""
    table: str | None = None
    """code: the code table."""
    entity: str | None = None
    """reference: the entity whose key `sql` is."""
    slot: str = MAIN

    @model_validator(mode="after")
    def _fits_its_comparator(self) -> Self:
        _have_what_it_needs(self)
        return self

    @property
    def keys(self) -> list[str]:
        """The SQL expression of each column of the key."""
        return [self.key] if isinstance(self.key, str) else self.key

    @property
    def single(self) -> Check:
        """The check of one item."""
        same = self.model_dump(include={"name", "path", "compare", "table", "entity", "slot", "sql"})
        return Check(**same)


def _have_what_it_needs(check: Check | ManyCheck) -> None:
    needed = {"code": ("table",), "reference": ("entity",), "quantity": ("unit", "table")}
    for name in (*needed.get(check.compare, ()), *(() if check.compare == "absent" else ("sql",))):
        if getattr(check, name) is None:
            raise ValueError(f"a check that compares {check.compare} needs {name}")


class _Declarations(_Part):
    """What of a resource no row says, and yet must be there or may be there."""

    constants: dict[MemberPath, bool | int | float | str] = {}
    """Element → its value in each resource that has the element's parent."""
    by_hash: dict[PlacedPath, Reason] = {}
    """Element, with all below it → why nothing but the hash of what was written proves it."""


class ResourceChecks(_Declarations):
    """The checks of one resource of a row. Rows for which the SQL condition `when` holds must have it, others not."""

    when: str = "1 = 1"
    checks: list[Check] = []
    many: list[ManyCheck] = []


class EntityChecks(_Declarations):
    """`checks/<entity>.yaml`. `key`, `unit` and `period` are SQL expressions over `from`; `every` is for all resources,
    and so are the file's own `constants` and `by_hash`.

    `lifetime` are FHIRPath expressions of dates that may not lie before the patient's birth, nor more than
    `days_after_death` after the death.
    """

    tables: Annotated[str, Field(alias="from")]
    key: str | list[str]
    """A list for a key of several columns, in their order."""
    unit: str | None = None
    period: str | None = None
    lifetime: list[FhirPath] = []
    days_after_death: Annotated[int, Field(ge=0)] = 0
    every: list[Check] = []
    resources: Annotated[dict[str, ResourceChecks], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_stand_once(self) -> Self:
        for slot in self.resources:
            names = [check.name for check in self.checks(slot)] + [many.name for many in self.many(slot)]
            if len(set(names)) < len(names):
                raise ValueError(f"a check of {slot} stands twice")
        return self

    @property
    def keys(self) -> list[str]:
        """The SQL expression of each column of the key."""
        return [self.key] if isinstance(self.key, str) else self.key

    def checks(self, slot: str) -> list[Check]:
        """All checks of a slot's resources."""
        return [*self.every, *(self.resources[slot].checks if slot in self.resources else [])]

    def many(self, slot: str) -> list[ManyCheck]:
        """The checks of whole lists in a slot's resources."""
        return self.resources[slot].many if slot in self.resources else []

    def constants_of(self, slot: str) -> dict[str, bool | int | float | str]:
        """Element → value, for all resources and for those of the slot."""
        return self.constants | (self.resources[slot].constants if slot in self.resources else {})

    def hashed(self, slot: str) -> dict[str, str]:
        """Element → why its hash alone proves it."""
        return self.by_hash | (self.resources[slot].by_hash if slot in self.resources else {})

    def compares(self, slot: str) -> bool:
        """Whether anything of a slot's resources is compared with the legacy database."""
        return bool(self.checks(slot) or self.many(slot))


@dataclass(frozen=True)
class Declared:
    """All checks of a migration, and its approved code tables."""

    entities: Mapping[str, EntityChecks]
    tables: Mapping[str, ApprovedTable]


def places(checks: EntityChecks) -> Iterator[tuple[tuple[int | str, ...], Check | ManyCheck]]:
    """Each check of a file with the steps that lead to it."""
    for number, check in enumerate(checks.every):
        yield ("every", number), check
    for slot, resource in checks.resources.items():
        for number, check in enumerate(resource.checks):
            yield ("resources", slot, "checks", number), check
        for number, many in enumerate(resource.many):
            yield ("resources", slot, "many", number), many


def split_member(path: str) -> tuple[str, str]:
    """A member's path as (its parent's path, its name); the parent of a resource's own member is ``$this``."""
    match = _MEMBER.fullmatch(path)
    assert match is not None
    return match["parent"] or "$this", match["name"]
