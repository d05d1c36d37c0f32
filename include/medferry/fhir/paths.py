"""Paths in messages: names of elements, and never a value that stands where a name should."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ELEMENT = re.compile(r"_?[a-z][A-Za-z]{0,39}(\[x\])?")


def shown(steps: Iterable[int | str]) -> str:
    """``name.0.given`` for the steps to an element; a key that cannot be an element's name is shown as ``?``."""
    return ".".join(str(step) if isinstance(step, int) or _ELEMENT.fullmatch(step) else "?" for step in steps)
