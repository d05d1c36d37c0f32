"""What changed in Medplum since 5.0.10, and in which version: the one place of this suite that knows versions.

A server's version is what its CapabilityStatement says (``software.version``). docs/medplum.md shows the table below.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

Version = tuple[int, int, int]
OBSERVED: tuple[Version, ...] = ((5, 0, 10), (5, 1, 29), (5, 2, 13))
"""The live servers that were observed, and the newest published packages."""


class Evidence(StrEnum):
    """How it is known that a version behaves so."""

    SEEN = "seen"
    CODE = "code"
    """Read in Medplum's published packages of that version, or shown by the embedded server, which runs them."""


@dataclass(frozen=True)
class Change:
    """One behaviour, before and after. Versions between `last_before` and `first_after` are not known.

    Args:
        request: what a client sends.
        before, after: what a server does, in the words of the page.
        last_before, first_after: the newest version known to do the one, the oldest known to do the other.
        evidence: of `first_after`.
    """

    request: str
    before: str
    after: str
    last_before: Version
    first_after: Version
    evidence: Evidence

    def applies(self, version: Version) -> bool | None:
        """Whether a version behaves as `after`; None where nobody knows."""
        if version >= self.first_after:
            return True
        return False if version <= self.last_before else None

    def answer(self, version: Version) -> str:
        """What a version does, in the words of the page."""
        return {True: self.after, False: self.before, None: "not known"}[self.applies(version)]


CONDITIONAL_IF_MATCH = Change(
    "conditional `PUT` with a stale `If-Match`",
    "200: the header is ignored",
    "412",
    (5, 1, 26),
    (5, 1, 29),
    Evidence.SEEN,
)
DELETE_IF_MATCH = Change(
    "`DELETE` with a stale `If-Match`", "200: the header is ignored", "412", (5, 1, 37), (5, 2, 13), Evidence.CODE
)
BODY_TOO_LARGE = Change(
    'a body over `maxJsonSize` ("File too large")', "400", "413", (5, 0, 10), (5, 1, 29), Evidence.SEEN
)
CALENDAR = Change(
    "a date that is not in the calendar (30 February)", "201", "400", (5, 1, 39), (5, 2, 13), Evidence.CODE
)
INTEGER_RANGE = Change("an integer outside of 32 bits", "201", "400", (5, 1, 39), (5, 2, 13), Evidence.CODE)
RATE_LIMIT_RESET = Change(
    "over quota: 429",
    "the wait is in `diagnostics` only",
    "the wait is in the extension `rate-limit-reset` too",
    (5, 1, 29),
    (5, 2, 13),
    Evidence.CODE,
)
ASYNCHRONOUS_BATCH = Change(
    "an asynchronous batch (`Prefer: respond-async`)",
    "202, for every project",
    "400 unless the project has the feature `async-batch`",
    (5, 0, 10),
    (5, 1, 29),
    Evidence.SEEN,
)

CHANGES = (
    CONDITIONAL_IF_MATCH,
    DELETE_IF_MATCH,
    BODY_TOO_LARGE,
    CALENDAR,
    INTEGER_RANGE,
    RATE_LIMIT_RESET,
    ASYNCHRONOUS_BATCH,
)


def version_of(capability_statement: dict[str, object]) -> Version:
    """The version in ``software.version`` ("5.1.29-a1b2c3d" → (5, 1, 29)).

    Raises:
        ValueError: the statement names none.
    """
    software = capability_statement.get("software")
    text = str(software.get("version")) if isinstance(software, dict) else ""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    if found is None:
        raise ValueError(f"no version in the CapabilityStatement's software: {software!r}")
    major, minor, patch = (int(number) for number in found.groups())
    return major, minor, patch


def shown(version: Version) -> str:
    return ".".join(str(number) for number in version)


def table() -> list[str]:
    """The changes as a Markdown table, a column for each observed version."""
    rows = [["Request", *(shown(version) for version in OBSERVED), "Changed"]]
    rows.append(["---"] * len(rows[0]))
    for change in CHANGES:
        between = f"after {shown(change.last_before)}, by {shown(change.first_after)} ({change.evidence})"
        rows.append([change.request, *(change.answer(version) for version in OBSERVED), between])
    return [f"| {' | '.join(row)} |" for row in rows]
