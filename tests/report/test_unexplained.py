"""A mapping that yields nothing and says nothing is told of beside the table."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from medferry.manifest.accounting import ReasonRow
from medferry.mapping.outcomes import Disposition, Reason
from medferry.report.table import unexplained


def test_records_that_became_nothing_without_a_word_are_told() -> None:
    content: Any = SimpleNamespace(
        rows=[SimpleNamespace(entity="patient", eligible=number) for number in (5, 3)],
        reasons=[
            ReasonRow("patient", Disposition.SKIPPED, Reason.NO_RESOURCE, "", 6, []),
            ReasonRow("patient", Disposition.SKIPPED, "soft-deleted", "", 1, []),
        ],
    )
    (line,) = unexplained(content)
    assert line.startswith("6 of 8 records of patient became nothing, and their mapping gave no reason (no-resource).")
