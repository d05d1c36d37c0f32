"""Whether an organisation is too large to move at once. Pure.

Medplum recommends a big bang to small organisations alone, without a number; the sizes here are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from medferry.errors import MedferryError
from medferry.plan.model import Plan, Strategy
from medferry.plan.people import Approval

LARGEST = {"units": 3, "users": 100, "integrations": 3, "records": 1_000_000}
"""What moves at once may have of each, at most."""


class TooLargeAtOnce(MedferryError):
    """A big bang of a large organisation, which nobody has accepted."""


ACCEPT_RISK = (
    "Move in waves, or let an approver of the cutover accept the risk in the plan: big_bang.accepted_by and reason."
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of an organisation; None: nobody has said or counted it. `at_once`: all of its units are flipped together."""

    at_once: bool
    units: int
    users: int | None
    integrations: int | None
    records: int | None

    def each(self) -> dict[str, int | None]:
        return {name: getattr(self, name) for name in LARGEST}

    def __str__(self) -> str:
        known = {name: size for name, size in self.each().items() if size is not None}
        return ", ".join(f"{size:,} {name}" for name, size in known.items())


def sizes_of(plan: Plan, records: int | None) -> Sizes:
    """By the plan, and by a count of its records; units that are shared are no business units of their own."""
    units = {*plan.unit_ids} - {*plan.shared_units}
    together = not plan.waves or any(units <= {*wave.units} for wave in plan.waves)
    at_once = plan.strategy is Strategy.BIG_BANG or (together and len(units) > 1)
    return Sizes(at_once, len(units), plan.organisation.users, plan.organisation.integrations, records)


def is_accepted(plan: Plan) -> bool:
    """Whether somebody answers for moving at once: one who approves the cutover, where the plan names stakeholders."""
    named = {person.name for person in plan.approvers(Approval.CUTOVER)}
    return plan.big_bang is not None and (not plan.stakeholders or plan.big_bang.accepted_by in named)


def require_small_or_accepted(plan: Plan, records: int | None) -> None:
    """Raises TooLargeAtOnce for a large organisation that is to move at once, and for which nobody answers.

    By the sizes that are known: what nobody has said or counted blocks the cutover, not the plan.
    """
    sizes = sizes_of(plan, records)
    if sizes.at_once and not is_accepted(plan) and (large := too_large(sizes)):
        raise TooLargeAtOnce(f"{plan.name} is too large to move at once: {'; '.join(large)}.", ACCEPT_RISK)


def unknown_sizes(sizes: Sizes) -> list[str]:
    return [name for name, size in sizes.each().items() if size is None]


def too_large(sizes: Sizes) -> list[str]:
    """The sizes that are over what may move at once, in words with both numbers."""
    found = []
    for name, size in sizes.each().items():
        if size is not None and size > LARGEST[name]:
            found.append(f"{size:,} {name}, more than {LARGEST[name]:,}")
    return found
