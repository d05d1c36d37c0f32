"""The two systems that both hold a resource."""

from __future__ import annotations

from enum import StrEnum


class Side(StrEnum):
    """Whose value it is: "ours" of a merge is the legacy database's, "theirs" is Medplum's."""

    LEGACY = "legacy"
    MEDPLUM = "medplum"

    @property
    def other(self) -> Side:
        return Side.MEDPLUM if self is Side.LEGACY else Side.LEGACY
