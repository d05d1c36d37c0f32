"""The people of a plan: how each is reached, what each approves, by which account; and what needs two of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=2, max_length=300)]


class Approval(StrEnum):
    """What a stakeholder may approve. Of the last four he is asked only where `four_eyes` has them."""

    CUTOVER = "cutover"
    ROLLBACK = "rollback"
    """Of what is flipped, and what it leaves in Medplum; to thaw is nobody's to refuse."""
    RETIRE = "retire"
    EXCEPTION = "exception"
    """An exception of a verification is accepted."""
    CONFLICT = "conflict"
    """Which side of a conflict stands."""
    READINESS = "readiness"
    """A condition of a cutover is accepted as it is."""
    PANIC_LIFT = "panic-lift"
    """Writing may begin again; to stop it needs one."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Stakeholder(_Part):
    """The second question: a person, how to reach him, and what he approves."""

    name: Text
    role: Text
    contact: Text
    """An address of electronic mail, or another that a message can be sent to."""
    approves: frozenset[Approval] = frozenset()
    airflow_user: Text | None = None
    """The id of this person's account in Airflow, by which approvals are given there."""
    os_user: Text | None = None
    """The name of this person's account where the command line is used; counts where four eyes are asked for."""

    @property
    def accounts(self) -> frozenset[str]:
        """As the chain of acts names them: airflow:<id>, os:<name> on whichever machine."""
        known = {"airflow": self.airflow_user, "os": self.os_user}
        return frozenset(f"{kind}:{name}" for kind, name in known.items() if name)

    def acts_as(self, actor: str) -> bool:
        """Whether an actor of the chain ("os:ann@host") is this person's account."""
        return (actor.rpartition("@")[0] if actor.startswith("os:") else actor) in self.accounts


class FourEyes(_Part):
    """Acts that need two of those who may approve them, each by an account of his own."""

    acts: Annotated[frozenset[Approval], Field(min_length=1)]
    hours: Annotated[float, Field(gt=0, le=168)] = 24
    """So long each one's word holds: the second speaks, and what both want is begun, within it."""


def faults_of(people: Sequence[Stakeholder], four_eyes: FourEyes | None) -> Iterator[str]:
    """What is wrong with people and their accounts, in words."""
    names = Counter(person.name for person in people)
    yield from (f"{name} stands twice in stakeholders" for name in sorted(names) if names[name] > 1)
    accounts = Counter(account.casefold() for person in people for account in person.accounts)
    yield from (
        f"stakeholders: the account {one} is of {number} people"
        for one, number in sorted(accounts.items())
        if number > 1
    )
    for act in sorted(four_eyes.acts if four_eyes else ()):
        able = [person for person in people if act in person.approves and person.accounts]
        if len(able) < 2:
            told = "Nobody" if not able else f"{able[0].name} alone"
            yield (
                f"four_eyes asks for two people to approve {act}. {told} may, by an account: give two stakeholders "
                f"`approves: [{act}]` and airflow_user or os_user"
            )
