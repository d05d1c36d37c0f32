"""From wherever the gates are: go on, or back out. The same for an attempt that begins and for one that goes on.

Never are both gates of a unit open: in Medplum none is opened before all of the legacy ones are shut for good, and no
legacy one is opened again before nobody can write the unit in Medplum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from medferry.cutover.acts import BACK, DRAIN, FLIP, FREEZE, OBSERVE, Act, Acting, Place, all_among
from medferry.errors import MedferryError


class Outcome(StrEnum):
    """How an attempt ended."""

    FLIPPED = "flipped"
    """The units are written in Medplum."""
    NOT_FLIPPED = "not-flipped"
    """Nothing has changed: the units are written in the legacy database, as before."""
    RETURNED = "returned"
    """The units are written in the legacy database again, with all that was written in Medplum."""
    NOT_RETURNED = "not-returned"
    """The units are written in Medplum, as before."""


class NotFlipped(MedferryError):
    """A cutover was backed out of: the units are written in the legacy database, as before."""


class NotReturned(MedferryError):
    """A way back was backed out of: the units are written in Medplum, as before."""


class Stuck(MedferryError):
    """Neither the next act nor the way out could be done: the units can be written nowhere until somebody acts."""


Look = Callable[[], Mapping[str, Place]]
"""Where each unit is now."""


def cut_over(acting: Acting, look: Look) -> Outcome:
    """Move the units to Medplum, and observe them there.

    Raises NotFlipped, and then they are where they were; Stuck; what an observation raises, when they have moved.
    """
    places = look()
    if all_among(places.values(), (Place.BETWEEN, Place.MEDPLUM)):
        return _flip(acting)
    if not all_among(places.values(), (Place.LEGACY, Place.FROZEN, Place.BOTH)):
        _check_none_in_medplum(places)
        acting.perform(Act.THAW)
        return Outcome.NOT_FLIPPED
    try:
        _all(acting, (*FREEZE, Act.SHUT_LEGACY))
    except BaseException as error:
        _thaw(acting, error)
        raise NotFlipped(f"Not flipped, nothing changed: {_why(error)}", _remedy(error)) from error
    return _flip(acting)


def roll_back(acting: Acting, look: Look) -> Outcome:
    """Move the units to the legacy database. Raises NotReturned, and then they are in Medplum as before; Stuck."""
    places = look()
    if all_among(places.values(), (Place.LEGACY, Place.FROZEN, Place.BOTH)):
        acting.perform(Act.THAW)
        acting.perform(Act.ROUTE)  # one that died behind its last gate has told nobody
        return Outcome.NOT_FLIPPED
    if all_among(places.values(), (Place.BETWEEN, Place.MEDPLUM)):
        try:
            _all(acting, DRAIN)
        except BaseException as error:
            _open_again(acting, error)
            raise NotReturned(f"Not moved back, nothing changed: {_why(error)}", _remedy(error)) from error
    else:
        _check_none_in_medplum(places)
    _all(acting, BACK[len(DRAIN) :])  # where one is open again already, all were drained and proven
    return Outcome.RETURNED


def _check_none_in_medplum(places: Mapping[str, Place]) -> None:
    """Raises Stuck."""
    if Place.MEDPLUM in places.values():
        raise Stuck("Some units are in Medplum, others are not shut.", "Look at each: `medferry cutover status`.")


def _flip(acting: Acting) -> Outcome:
    """All legacy gates are shut, and no way leads back but the whole one."""
    try:
        _all(acting, FLIP)
    except MedferryError as error:
        raise Stuck(
            f"The legacy gates are shut, and the flip is not complete: {error.problem}",
            f"{error.remedy} Run `medferry cutover` again: it goes on here. Or `medferry rollback`.",
        ) from error
    _all(acting, OBSERVE)
    return Outcome.FLIPPED


def _thaw(acting: Acting, error: BaseException) -> None:
    """Interrupted or failed, the legacy database is opened; else it opens by itself, unless it is shut."""
    try:
        acting.perform(Act.THAW)
    except MedferryError as second:
        raise Stuck(
            f"{_why(error)} Then the units could not be thawed: {second.problem}",
            "What is not shut for good opens by itself. Run `medferry rollback`.",
        ) from error


def _open_again(acting: Acting, error: BaseException) -> None:
    try:
        acting.perform(Act.OPEN_MEDPLUM)
    except MedferryError as second:
        raise Stuck(
            f"{_why(error)} Then Medplum could not be opened again: {second.problem}",
            "Run `medferry rollback` again: it goes on here. Or `medferry cutover`, which opens Medplum.",
        ) from error


def _all(acting: Acting, acts: Sequence[Act]) -> None:
    for act in acts:
        acting.perform(act)


def _why(error: BaseException) -> str:
    return error.problem if isinstance(error, MedferryError) else f"it was ended ({type(error).__name__})."


def _remedy(error: BaseException) -> str:
    return error.remedy if isinstance(error, MedferryError) else "Begin anew; nothing needs to be loaded again."
