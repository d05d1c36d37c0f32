"""The proof of a write: HTTP success is not success.

A target is proven when a read-back shows the id, version and content that were written (a 200 that stored nothing is
known from the tracker, docs/medplum.md, "Batches": #9811). Where somebody has changed it again by then, its history
does: what came after is theirs, and no change of before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medferry.apply.disputes import Content
from medferry.apply.plan import Settlement, Step, confirmed, done, quarantined
from medferry.fhir.canonical import has_content, holds_content
from medferry.manifest.crosswalk import Action, Effect, Name
from medferry.mapping.outcomes import Reason
from medferry.medplum.answers import EntryOutcome
from medferry.medplum.client import MedplumClient


@dataclass(frozen=True, slots=True)
class Answered:
    """A step that Medplum says it has done; `note` is the number of the note of its batch."""

    step: Step
    outcome: EntryOutcome
    note: int = 0


def read_overtaken(
    client: MedplumClient, answered: Sequence[Answered], contents: Mapping[str, Content]
) -> dict[str, Content]:
    """Medplum id → what was written, of those of which `contents` has another version by now.

    Left out is what the history has not: it was not stored, or is not to be seen yet. Raises what a client raises that
    reads.
    """
    overtaken = {
        f"{answer.outcome.id}/_history/{answer.outcome.version}": answer
        for answer in answered
        if answer.outcome.id in contents and not _tells(answer, *contents[answer.outcome.id])
    }
    read = client.read_each([(answer.step.target.type, path) for path, answer in overtaken.items()])
    return {overtaken[path].outcome.id: content for path, content in read.items()}


def prove(
    entity: str, answered: Sequence[Answered], contents: Mapping[str, Content], unanswered: Mapping[Name, Action]
) -> dict[Name, Settlement]:
    """Settle what `contents` (Medplum id → content) shows to be as it was written; the rest is for the next round."""
    settled: dict[Name, Settlement] = {}
    for answer in answered:
        step, outcome = answer.step, answer.outcome
        version, text = contents.get(outcome.id, ("", b""))
        if not version or not _tells(answer, version, text):
            continue  # not stored, or not to be seen: the next round looks it up
        if version != outcome.version or has_content(text, step.target.body):
            action = _action(answer, unanswered)
            settled[step.target.name] = confirmed(entity, step.target, (outcome.id, outcome.version), action)
        elif not _found(answer):
            settled[step.target.name] = quarantined(Reason.STORED_DIFFERENTLY, f"{step.target.type}/{outcome.id}")
    return settled


def _tells(answered: Answered, version: str, text: bytes) -> bool:
    """Whether a version says what became of the write: it is that very one, or holds all of it."""
    return version == answered.outcome.version or _enriched(answered, version, text)


def _enriched(answered: Answered, version: str, text: bytes) -> bool:
    """Whether somebody (a Bot) has at once added to what was written, as a later version that holds all of it.

    The version before ours may hold all of it, too: it proves nothing.
    """
    body = answered.step.target.body
    return version != answered.step.version and not has_content(text, body) and holds_content(text, body)


def _found(answered: Answered) -> bool:
    """True when `ifNoneExist` found a resource that was there before: it is compared by the next round."""
    return answered.step.action is Action.CREATE and answered.outcome.status == 200


def _action(answered: Answered, unanswered: Mapping[Name, Action]) -> Effect:
    step = answered.step
    if _found(answered):  # an own write whose answer was lost, or another writer's with the same content
        return done(unanswered.get(step.target.name))
    return Effect.UNCHANGED if answered.outcome.version == step.version else done(step.action)
