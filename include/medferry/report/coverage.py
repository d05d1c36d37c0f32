"""The coverage of a verification in words: what share of the values in Medplum was compared, and how."""

from __future__ import annotations

from collections.abc import Sequence

from medferry.manifest.coverage import LeafCount, summed


def coverage_text(counts: Sequence[LeafCount]) -> str:
    """One sentence over all entities; empty when nothing was looked at (a dry run)."""
    whole = summed("all", list(counts))
    if not whole.total:
        return ""
    shares = ((whole.by_value, "by value"), (whole.by_rule, "by rule"), (whole.by_hash, "by hash alone"))
    parts = ", ".join(f"{number / whole.total:.1%} {name}" for number, name in shares)
    return f"{whole.total:,} leaf values in {whole.resources:,} resources: {parts}"
