"""What all errors have in common, and those that several modules raise; others stand beside what raises them.

Each says what is wrong, where, and what to do next.

No message ever holds patient data: only names of files, columns, entities, source keys and counts.
Whether a retry helps is decided by the type (``TransientError`` and its children), never by the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar


class MedferryError(Exception):
    """Base of every error that Medferry raises on purpose. `exit_code` is what the command line ends with."""

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem} What to do: {remedy}" if remedy else problem)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by text and attributes: a subclass may have other arguments, and worker processes raise them all."""
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[MedferryError], args: tuple[Any, ...]) -> MedferryError:
    error = kind.__new__(kind)
    error.args = args
    return error


class DefinitionError(MedferryError):
    """A plan, entity, mapping or code table is wrong. Raised before anything is written."""

    def __init__(self, path: Path, line: int | None, problem: str, remedy: str) -> None:
        self.path = path
        self.line = line
        where = f"{path}:{line}" if line else str(path)
        super().__init__(f"{where}: {problem}", remedy)


T = TypeVar("T")


def gathered(attempts: Iterable[Callable[[], T]]) -> list[T]:
    """What each of some independent attempts gives: who writes a definition mends its faults together, not one a try.

    Raises one DefinitionError that names them all, or a SourceError where the legacy database refused the first.
    """
    found: list[T] = []
    faults: list[DefinitionError | SourceError] = []
    for attempt in attempts:
        try:
            found.append(attempt())
        except (DefinitionError, SourceError) as fault:
            faults.append(fault)
    if faults:
        raise _together(faults)
    return found


def _together(faults: list[DefinitionError | SourceError]) -> DefinitionError | SourceError:
    """One fault is told as it is; of several, the first is in front, with its place."""
    first, *others = faults
    if not others:
        return first
    told = "\n  ".join(f"{fault.problem} {fault.remedy}" for fault in faults)
    if isinstance(first, SourceError):
        return SourceError(told, f"Correct these {len(faults)} places.")
    where = f"{first.path}:{first.line}: " if first.line else f"{first.path}: "
    problem = told.removeprefix(where)
    return DefinitionError(first.path, first.line, problem, f"Correct these {len(faults)} places.")


class SettingsError(MedferryError):
    """A connection or an environment variable is missing or wrong."""


class OptionError(MedferryError):
    """What was asked of a run has an unknown name or a wrong value. Raised before anything is done."""


class ManifestTooNew(MedferryError):
    """A newer version of Medferry has written the manifest: this one might misread it."""


class RoleRefused(MedferryError):
    """The manifest database does not let this role do it."""


class SourceError(MedferryError):
    """The legacy database refused what was asked of it."""


class StagingError(MedferryError):
    """A staged file is missing, unreadable or could not be written (a full disk, say)."""


class LeaseHeld(MedferryError):
    """Another run owns the scope; the message names it, and `holder` is its id."""

    holder = ""


class LeaseLost(MedferryError):
    """This worker's fencing token is stale: somebody took the scope over. It must not write any more."""


class VerificationFailed(MedferryError):
    """The run is finished but not proven: the report says what differs."""


class HashesOnly(VerificationFailed):
    """Nothing differs, but of some entity nothing was compared with the legacy database."""

    exit_code = 3


class TransientError(MedferryError):
    """Trying again later may help."""


class SourceUnavailable(TransientError):
    """The legacy database did not answer."""


class ManifestUnavailable(TransientError):
    """The manifest database did not answer, or could not store what it was given (a full disk, say)."""
