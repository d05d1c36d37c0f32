"""What a look at a record of both systems gives: its row, and each of its resources, as they are now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medferry.apply.targets import ResolvedResource
from medferry.fhir.canonical import Resource
from medferry.fhir.identifiers import names_of
from medferry.manifest.crosswalk import CrosswalkEntry, Name
from medferry.mapping.declare import Row
from medferry.mapping.outcomes import Disposition
from medferry.sync.made import References
from medferry.sync.stored import StoredResource


@dataclass(frozen=True, slots=True)
class SlotLook:
    """One resource of a record. `stored` is None when Medplum has it no more, `base` where it is not certain.

    `mapped` is what the row becomes now; None where it makes no such resource.
    """

    name: Name
    known: CrosswalkEntry
    stored: StoredResource | None
    mapped: ResolvedResource | None
    base: Resource | None = field(default=None, repr=False)
    deleted: bool = False
    """Medplum says so (410). What is merely not found may be hidden by an access policy, or in another database."""
    unknown: bool = False
    """Medplum has not the version that the crosswalk knows: it was restored from a backup, or lost its history. What
    stands there may be older than what both sides agreed on, and is nobody's change."""
    twin: str = ""
    """Type/id of another one that has its name; looked for where it is deleted."""

    @property
    def changed_in_medplum(self) -> bool:
        """Whether it says something else than the mapping made."""
        return self.stored is None or self.stored.hash != self.known.wanted

    @property
    def is_as_known(self) -> bool:
        """Whether nothing was stored since the version that is known, or nothing tells that it was."""
        return not self.deleted if self.stored is None else self.stored.version_id == self.known.version_id

    @property
    def is_text(self) -> bool:
        """Whether what is there can be written anywhere."""
        return self.stored is None or bool(self.stored.hash)

    @property
    def lost_its_name(self) -> bool:
        """Whether somebody took away what it is found by: the way forth puts it back."""
        return self.stored is not None and self.name not in names_of(self.stored.content)

    @property
    def changed_in_legacy(self) -> bool:
        return self.mapped is None or self.mapped.hash != self.known.wanted


@dataclass(frozen=True, slots=True)
class RecordLook:
    """A record: its row (None: gone), and each resource that the crosswalk has of it, by slot."""

    entity: str
    key: str
    unit: str
    row: Row | None = field(repr=False)
    refused: str
    """Why the row becomes nothing; empty: it does."""
    slots: Mapping[str, SlotLook]
    makes: frozenset[str]
    """The slots that the row fills now."""
    in_doubt: bool
    """Something was sent of it of which the end is not known."""
    names: References = field(default_factory=dict)
    """Of what the row refers to now."""

    @property
    def is_skipped(self) -> bool:
        """Whether the mapping leaves the row out on purpose."""
        return self.refused.partition(" ")[0] == Disposition.SKIPPED
