"""Results of checks as they may be shown."""

from __future__ import annotations

from dataclasses import replace

from medferry.manifest.checks import CheckResult
from medferry.source.shown_keys import shown_example, shown_note


def shown_check(result: CheckResult) -> CheckResult:
    """A result with its keys as they may be shown."""
    return replace(result, examples=list(map(shown_example, result.examples)), note=shown_note(result.note))
