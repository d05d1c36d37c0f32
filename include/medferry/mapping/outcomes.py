"""What a mapping can say about a row that does not simply succeed.

Reasons are kebab-case constants and fields are column names, so that no patient data can travel in them:
``checked_reason`` enforces the shape, and ``mapping.told`` that they stand in the source of the mappings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_REASON = re.compile(r"[a-z0-9]+(-[a-z0-9]+){0,7}")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,62}(:[A-Za-z0-9_.-]{1,63})?")


class Disposition(StrEnum):
    """How a source record ended; `PENDING` until its resources are loaded."""

    PENDING = "pending"
    SUCCESSFUL = "successful"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    QUARANTINED = "quarantined"


DEAD = (Disposition.REJECTED, Disposition.QUARANTINED)
"""Dispositions of source records that a person must decide about: the dead letters."""


class Reason(StrEnum):
    """Reasons that Medferry itself gives; a mapping's own are its author's words."""

    AMBIGUOUS_TARGET = "ambiguous-target"
    AT_WORK_ELSEWHERE = "at-work-elsewhere"
    BORN_IN_MEDPLUM = "born-in-medplum"
    """Its row was inserted for a resource that users created, which has not got the row's identifier yet."""
    INVALID_RESOURCE = "invalid-resource"
    KEY_NOT_UNIQUE = "key-not-unique"
    MAPPING_ERROR = "mapping-error"
    NO_RESOURCE = "no-resource"
    REASON_WITHHELD = "reason-withheld"
    """The mapping gave one that its source does not spell out: it may be a value of the row."""
    SERVER_REJECTED = "server-rejected"
    SOURCE_ROW_GONE = "source-row-gone"
    STORED_DIFFERENTLY = "stored-differently"
    TARGET_CHANGED = "target-changed"
    TARGET_DELETED = "target-deleted"
    TOO_LARGE = "too-large"
    UNRESOLVED_REFERENCE = "unresolved-reference"


SYSTEMATIC = frozenset(
    {
        Reason.MAPPING_ERROR,
        Reason.INVALID_RESOURCE,
        Reason.SERVER_REJECTED,
        Reason.TOO_LARGE,
        Reason.STORED_DIFFERENTLY,
        Reason.UNRESOLVED_REFERENCE,
    }
)
"""Reasons that a mapping, the server or a missing level can give to any row, unlike a date that is impossible."""


OF_VALUES = (
    "ambiguous-local-time",
    "binary-value",
    "decoded-as-latin-1",
    "impossible-date",
    "key-is-no-code",
    "missing-required",
    "nonexistent-local-time",
    "not-a-number",
    "not-binary",
    "precision-loss",
    "undecodable-text",
    "unmapped-code",
)
"""Reasons that reading a row's values gives, beside those of its key (``source.keys``)."""

OF_READING = (
    "control-characters-removed",
    "fraction-cut",
    "null-token",
    "sentinel-date",
    "suspected-mojibake",
)
"""Losses that reading a row's values tells, besides ``unmapped-code``."""


DECIDED_BY_LOAD = frozenset(
    {
        Reason.AMBIGUOUS_TARGET,
        Reason.AT_WORK_ELSEWHERE,
        Reason.BORN_IN_MEDPLUM,
        Reason.KEY_NOT_UNIQUE,
        Reason.SERVER_REJECTED,
        Reason.STORED_DIFFERENTLY,
        Reason.TARGET_CHANGED,
        Reason.TARGET_DELETED,
        Reason.TOO_LARGE,
        Reason.UNRESOLVED_REFERENCE,
    }
)
"""What the load, or another row, decides, and may decide otherwise another time. Other reasons follow from the row and
its mapping."""


def checked_reason(reason: str) -> str:
    """Return `reason` when it is a kebab-case constant of at most 60 characters, else raise ValueError."""
    if len(reason) > 60 or not _REASON.fullmatch(reason):
        raise ValueError("a reason is a kebab-case constant such as 'soft-deleted'")
    return reason


def checked_field(field: str) -> str:
    """Return `field` when it looks like ``column`` or ``column:code_table`` ("" for none), else raise ValueError."""
    if field and not _FIELD.fullmatch(field):
        raise ValueError("a field is the name of a column")
    return field


class RowOutcome(Exception):
    """Ends the mapping of one row with a disposition other than successful."""

    disposition: Disposition

    def __init__(self, reason: str, field: str = "") -> None:
        self.reason = checked_reason(reason)
        self.field = checked_field(field)
        super().__init__(self.reason)


class Skip(RowOutcome):
    """The row is deliberately out of scope."""

    disposition = Disposition.SKIPPED


class Quarantine(RowOutcome):
    """The row cannot be mapped without a person's decision."""

    disposition = Disposition.QUARANTINED


@dataclass(frozen=True, slots=True)
class Finding:
    """A loss that does not stop a row: an element left out, a character removed."""

    reason: str
    field: str = ""
