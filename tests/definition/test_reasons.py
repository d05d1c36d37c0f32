"""The reasons to choose from are those that the code gives, and that the runbook explains."""

from __future__ import annotations

import re
from pathlib import Path

from medferry.definition.reasons import dead_reasons
from medferry.mapping.outcomes import OF_VALUES, checked_reason
from tests.tiny_platform import MIGRATION

ROOT = Path(__file__).resolve().parents[2]


def test_the_reasons_of_values_are_those_that_the_mapping_raises() -> None:
    """Also those that a variable holds, in the lines before."""
    sources = "".join(path.read_text() for path in (ROOT / "include/medferry/mapping").glob("*.py"))
    raised = set(re.findall(r"""raise Quarantine\("([a-z0-9-]+)"|\breason = "([a-z0-9-]+)\"""", sources))
    assert {one or other for one, other in raised} == set(OF_VALUES)


def test_a_mappings_own_are_among_them(tmp_path: Path) -> None:
    assert "own-words" not in dead_reasons(MIGRATION)
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "bed.py").write_text(
        'def bed(row, ctx):\n    raise ctx.quarantine("own-words", "number")\n'
    )
    assert "own-words" in dead_reasons(tmp_path)


def test_each_has_its_form_and_its_line_in_the_runbook() -> None:
    page = (ROOT / "docs/runbooks/quarantine.md").read_text()
    assert {name for name in dead_reasons(MIGRATION) if f"`{checked_reason(name)}`" not in page} == set()
