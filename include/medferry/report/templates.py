"""The templates of the report and of the pages in Airflow, and what all of them know."""

from __future__ import annotations

from pathlib import Path

import jinja2

from medferry.governance.verdict import Word
from medferry.manifest.charts import ReviewOutcome
from medferry.manifest.checks import CheckStatus
from medferry.manifest.conflicts import ConflictState
from medferry.manifest.crosswalk import Effect
from medferry.manifest.cutovers import Direction
from medferry.manifest.exceptions import ExceptionState
from medferry.manifest.runs import RunStatus
from medferry.mapping.outcomes import Disposition, Reason
from medferry.source.printable import printable_value

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=printable_value,
)

TEMPLATES.globals |= {
    enum.__name__: enum
    for enum in (
        CheckStatus,
        ConflictState,
        Direction,
        Disposition,
        Effect,
        ExceptionState,
        Reason,
        ReviewOutcome,
        RunStatus,
        Word,
    )
}

DISPOSITIONS = (
    Disposition.SUCCESSFUL,
    Disposition.SKIPPED,
    Disposition.QUARANTINED,
    Disposition.REJECTED,
    Disposition.PENDING,
)
"""As a bar of a page shows them, from the left."""
