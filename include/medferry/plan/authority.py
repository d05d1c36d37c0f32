"""Who may write what while both systems are in use: by business unit and domain, and field by field where both may."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
UnitId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Member = Annotated[str, Field(pattern=r"^([a-z][a-z0-9_]{0,39}|[A-Z][A-Za-z]{1,39})$")]
"""Of a domain: an entity, or a resource type, which begins with a capital."""
ElementPath = Annotated[str, Field(pattern=r"^_?[a-z][A-Za-z]*(\[x\])?(\._?[a-z][A-Za-z]*(\[x\])?)*$")]
"""An element and all that is below it: ``telecom``, ``name.family``, ``value[x]``."""


class Writer(StrEnum):
    """Which system a domain is written in."""

    LEGACY = "legacy"
    MEDPLUM = "medplum"
    BOTH = "both"


class FieldPolicy(StrEnum):
    """What becomes of a field that both systems changed, each otherwise. The loser's value is kept."""

    LEGACY_WINS = "legacy_wins"
    MEDPLUM_WINS = "medplum_wins"
    ASK = "ask"
    """A person decides."""


class AgainstPolicy(StrEnum):
    """What becomes of a write in the system that a domain is not written in. It is reported in any case."""

    KEEP = "keep"
    """It stays; where both changed the same, a person decides."""
    SET_BACK = "set_back"
    """The other system's value comes in its place; what was written is kept."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldGroup(_Part):
    """Elements with one policy."""

    paths: Annotated[list[ElementPath], Field(min_length=1)]
    policy: FieldPolicy


class AuthorityRule(_Part):
    """A line of the matrix: some units (none named: all of them) and a domain."""

    domain: Name
    units: list[UnitId] = []
    writer: Writer
    against: AgainstPolicy = AgainstPolicy.KEEP
    """Of one writer."""
    fields: list[FieldGroup] = []
    """Of two: the group with the longest path counts."""
    other_fields: FieldPolicy = FieldPolicy.ASK
    """Of two: of all fields that no group names."""
    accepted_by: str = ""
    reason: str = ""

    @model_validator(mode="after")
    def _two_writers_are_accepted(self) -> Self:
        both = self.writer is Writer.BOTH
        if both and not (self.accepted_by.strip() and len(self.reason.strip()) >= 8):
            raise ValueError(
                f"two writers of {self.domain} must be accepted by name: give accepted_by, and a reason of a sentence"
            )
        if not both and (self.fields or self.other_fields is not FieldPolicy.ASK):
            raise ValueError(f"{self.domain} has one writer: fields and other_fields are for `writer: both`")
        if both and self.against is not AgainstPolicy.KEEP:
            raise ValueError(f"{self.domain} has two writers: none of them writes against it, so against says nothing")
        paths = [path for group in self.fields for path in group.paths]
        if twice := sorted({path for path in paths if paths.count(path) > 1}):
            raise ValueError(f"{twice[0]} stands twice in the fields of {self.domain}")
        return self


class AuthorityMatrix(_Part):
    """Of what no rule names, the legacy database is the writer, and what is written in Medplum is kept and reported."""

    domains: dict[Name, Annotated[list[Member], Field(min_length=1)]] = {}
    """Name → its entities (of which all resources are meant), and resource types (of whatever entity)."""
    rules: list[AuthorityRule] = []
    """The first that fits counts."""
    conflicts_owner: str = "data steward"
    """The role that decides about conflicts."""
    conflicts_due_days: Annotated[int, Field(ge=0, le=3_650)] = 7
    """Within so many days."""

    @model_validator(mode="after")
    def _rules_fit_domains(self) -> Self:
        for rule in self.rules:
            if rule.domain not in self.domains:
                known = ", ".join(sorted(self.domains)) or "none"
                raise ValueError(f"a rule names the unknown domain {rule.domain}; the domains: {known}")
        seen: dict[str, str] = {}
        for domain, members in self.domains.items():
            for member in members:
                if member in seen:
                    raise ValueError(f"{member} is in two domains, {seen[member]} and {domain}")
                seen[member] = domain
        for domain in self.domains:
            self._no_rule_is_hidden([rule for rule in self.rules if rule.domain == domain])
        return self

    def _no_rule_is_hidden(self, rules: list[AuthorityRule]) -> None:
        named: set[str] = set()
        for number, rule in enumerate(rules):
            if any(not earlier.units for earlier in rules[:number]):
                raise ValueError(f"a rule of {rule.domain} stands behind one of all units, and never counts")
            if twice := sorted(named & {*rule.units}):
                raise ValueError(f"unit {twice[0]} stands in two rules of {rule.domain}")
            named |= {*rule.units}
