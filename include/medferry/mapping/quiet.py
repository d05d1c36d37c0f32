"""What a mapping prints, warns of or logs while it maps a row goes nowhere: a task's log would show the row.

The streams and the loggers are the process's, and other threads go on to use them; so what they are given is passed on
by thread. `medferry try` shows it to the author.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class _State(threading.local):
    mapping = 0
    """How deep this thread is in code of a mapping."""
    heard = False


_state = _State()


def _is_quiet() -> bool:
    return _state.mapping > 0 and not _state.heard


class _Stream:
    """A standard stream that takes nothing of a mapping."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if _is_quiet() else int(self._stream.write(text) or 0)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    @property
    def buffer(self) -> Any:
        return _Stream(self._stream.buffer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def quiet(function: Callable[P, R]) -> Callable[P, R]:
    """A function that calls a mapping's code, and lets nobody hear what that says."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        _take_hold()
        _state.mapping += 1
        try:
            return function(*args, **kwargs)
        finally:
            _state.mapping -= 1

    return called


@contextmanager
def heard() -> Iterator[None]:
    """Let the mappings of this thread be heard: for their author, on a terminal of his own."""
    before, _state.heard = _state.heard, True
    try:
        yield
    finally:
        _state.heard = before


def _take_hold() -> None:
    """The streams may be others by now: Airflow and the tests exchange them."""
    if not isinstance(sys.stdout, _Stream):
        sys.stdout = _Stream(sys.stdout)
    if not isinstance(sys.stderr, _Stream):
        sys.stderr = _Stream(sys.stderr)
    if logging.Logger.handle is not _handle:
        logging.Logger.handle = _handle  # type: ignore[method-assign]
    if warnings.showwarning is not _showwarning:
        _shown[:] = [warnings.showwarning]
        warnings.showwarning = _showwarning


_handled = logging.Logger.handle
_shown: list[Callable[..., None]] = []


def _handle(self: logging.Logger, record: logging.LogRecord) -> None:
    if not _is_quiet():
        _handled(self, record)


def _showwarning(*args: Any, **kwargs: Any) -> None:
    if not _is_quiet():
        _shown[-1](*args, **kwargs)
