"""What of a plan's text can change what a row becomes: all but the sections for people."""

from __future__ import annotations

import re
from typing import Any

import yaml

from medferry.plan.sections import NAMES

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NOT_TOLD_APART = re.compile(r"\r(?!\n)|[\x85\u2028\u2029]|[|>]\d?\+")
"""Where YAML counts other lines than we, and where empty lines are content."""


def text_of_rows(text: str) -> str:
    """The text without its sections for people (`plan.sections`), so that the fingerprint does not change with them.

    To a section belong the comments above it. As it is where the sections cannot be told apart: in another style, or
    with an anchor in one, which others may refer to.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
        anchors = {t.start_mark.line for t in yaml.scan(text, Loader=_Loader) if isinstance(t, yaml.AnchorToken)}
    except yaml.YAMLError:
        return text
    if not isinstance(root, yaml.MappingNode) or root.flow_style or _NOT_TOLD_APART.search(text):
        return text
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    begins = [_with_comments(lines, key.start_mark.line) for key, _ in root.value] + [len(lines)]
    parts = zip(root.value, begins, begins[1:], strict=False)
    cut = {number for (key, _), low, high in parts if key.value in NAMES for number in range(low, high)}
    return text if cut & anchors else "".join(line for number, line in enumerate(lines) if number not in cut)


def _with_comments(lines: list[str], number: int) -> int:
    """The first line of what stands directly above a key."""
    while number and (not lines[number - 1].strip() or lines[number - 1].startswith("#")):
        number -= 1
    return number
