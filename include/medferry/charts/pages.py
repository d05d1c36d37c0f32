"""The pages of charts in a folder, told by a mark of their own: what else lies there is somebody else's, and stays."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from medferry.errors import MedferryError

INDEX = "index.html"
MARK = "Medferry charts"
"""Stands in the head of each page."""

_NAMES = re.compile(r"chart-\d{4,}\.html|index\.html")
_HEAD = 1_024
"""Bytes of a page in which its mark stands."""

_DRAWN = re.compile(
    rf"""<meta name="generator" content="{MARK}">"""
    r"""|content="default-src 'none'; style-src 'unsafe-inline'">\n<title>Charts? (to review|\d+)</title>"""
)
"""Before the mark there was, pages had these two lines."""


class FolderTaken(MedferryError):
    """Charts are to be drawn into a folder that holds something else."""


@dataclass(frozen=True, slots=True)
class DrawnCharts:
    """The pages of a run's charts; `age_days` is that of the youngest."""

    folder: Path
    pages: list[Path]
    bytes: int
    age_days: float


def drawn_charts(root: Path) -> list[DrawnCharts]:
    """The charts that were drawn into folders of runs below `root`, in the order of their names."""
    found = []
    for folder in sorted(path for path in root.glob("*") if path.is_dir()):
        if pages := _pages(folder):
            facts = [page.stat() for page in pages]
            age = (time.time() - max(fact.st_mtime for fact in facts)) / 86_400
            found.append(DrawnCharts(folder, pages, sum(fact.st_size for fact in facts), age))
    return found


def remove_charts(drawn: DrawnCharts) -> None:
    """Remove the pages, and the folder where nothing else is in it. What the manifest knows of reviews stays."""
    for page in set(drawn.pages) & set(_pages(drawn.folder)):
        page.unlink(missing_ok=True)
    with suppress(OSError):
        drawn.folder.rmdir()


def make_room(folder: Path) -> None:
    """Have the folder for its owner alone, with no page of an earlier drawing.

    Raises FolderTaken, before anything is changed, where it holds what is no chart: beside none at all, or under a name
    that a page would get.
    """
    pages = _pages(folder) if folder.exists() else []
    others = [path for path in folder.iterdir() if path not in pages] if folder.exists() else []
    if others and (not pages or any(_NAMES.fullmatch(path.name) for path in others)):
        raise FolderTaken(
            f"{folder} holds files that are no charts of Medferry's.",
            "Nothing was changed. Name another folder with --folder, or move what is in there.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for page in pages:
        page.unlink()


def _pages(folder: Path) -> list[Path]:
    """Pages with our mark; beside them one without content, too, whose writer was killed."""
    named = [path for path in sorted(folder.iterdir()) if _NAMES.fullmatch(path.name) and path.is_file()]
    marked = [path for path in named if _is_marked(path)]
    return [path for path in named if path in marked or (marked and path.stat().st_size == 0)]


def _is_marked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return _DRAWN.search(file.read(_HEAD).decode("utf-8", "replace")) is not None
    except OSError:
        return False
