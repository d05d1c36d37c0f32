"""A row as a mapping reads it: asked for a column that it has not, it says which, and which is near."""

from __future__ import annotations

import linecache
import sys
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_CALLERS = 6
"""Frames up from the row in which the column may be written: a reader of a column, and what calls it."""


class NoSuchColumn(KeyError):
    """A mapping asked its row for a column that the entity's SELECT has not. Holds no value of a row."""

    def __str__(self) -> str:
        return str(self.args[0])


class ReadRow(dict[str, Any]):
    """Raises NoSuchColumn."""

    def __missing__(self, name: object) -> Any:
        said = f"the row has no column {name}" if _is_written(name) else "the row has no such column"
        near = get_close_matches(str(name), list(self), n=1)
        raise NoSuchColumn(said + (f"; did you mean {near[0]}?" if near else ""))


def as_written(name: object) -> str:
    """A name for a message of ours to whoever wrote it; of one that came out of a row nothing."""
    return str(name) if _is_written(name) else "… (its name comes out of the row)"


def _is_written(name: object) -> bool:
    """Whether a name stands in the very lines that ask for it: what came out of a row must not be told."""
    if not isinstance(name, str):
        return False
    frames = islice(_frames(sys._getframe(2)), _CALLERS)
    return any(f"{quote}{name}{quote}" in line for frame in frames for line in _lines_at_work(frame) for quote in "'\"")


def _lines_at_work(frame: FrameType) -> list[str]:
    """The source of the expression that a frame is at."""
    first, last, _, _ = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None))
    lines = linecache.getlines(frame.f_code.co_filename)
    return lines[first - 1 : last] if first and last else []


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
