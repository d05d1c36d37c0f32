"""What a mapping's code raised: where, and of which class; never its text, which may quote the row."""

from __future__ import annotations

import traceback

from medferry.mapping.context import MappingFault
from medferry.mapping.read_row import NoSuchColumn
from medferry.mapping.told import class_of

_TELLING = (MappingFault, NoSuchColumn)
"""Whose text is Medferry's own, where Medferry raised them."""


def is_fault(error: BaseException) -> bool:
    """Whether what was raised out of a mapping's code is a fault of that code.

    Ctrl-C is none, nor what the surroundings throw into whatever is at work (a task's end by Airflow): a class of
    another module that no line of the mappings raised.
    """
    if isinstance(error, Exception | SystemExit | GeneratorExit):
        return True
    if isinstance(error, KeyboardInterrupt):
        return False
    own = not class_of(error) or type(error).__module__.partition(".")[0] == "medferry_migrations"
    return own or _is_of_mappings(traceback.extract_tb(error.__traceback__)[-1].filename)


def place_of(error: BaseException) -> str:
    """Where the mapping failed and how, without the exception's text (it may quote the row)."""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    ours = type(error) in _TELLING and "/medferry/mapping/" in last.replace("\\", "/")
    told = f": {error}" if ours else ""
    return f"{line_of(error)} {class_of(error) or 'an exception'}{told}"


def line_of(error: BaseException) -> str:
    """File and line of the mappings where it was raised; of what was raised elsewhere that."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((f for f in reversed(frames) if _is_of_mappings(f.filename)), frames[-1])
    return f"{last.filename.rsplit('/', 1)[-1]}:{last.lineno}"


def _is_of_mappings(file: str) -> bool:
    return "/mappings/" in file.replace("\\", "/")
