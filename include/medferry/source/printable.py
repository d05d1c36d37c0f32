"""Text with signs that a terminal or a page obeys, such as an escape in a source key: as it may be shown."""

from __future__ import annotations

import re
from typing import Any

OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Controls, and the marks that turn the direction of writing; not the tab and the end of a line."""


def printable(text: str) -> str:
    r"""The text with each of them as its escape, as Python writes it (``\x1b``)."""
    return OBEYED.sub(_escape, text)


def printable_value(value: Any) -> Any:
    """The same of a value for a page; what is no plain text (markup, a number) as it is."""
    return printable(value) if type(value) is str else value


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
