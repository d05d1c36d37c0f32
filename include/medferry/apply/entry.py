"""A step as an entry of a batch Bundle, and as a line of the note that is made before it is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
from more_itertools import constrained_batches

from medferry.apply.plan import Step
from medferry.fhir.accounts import with_accounts
from medferry.fhir.bundle import by_name
from medferry.manifest.crosswalk import Action
from medferry.manifest.sent_batches import SentEntry
from medferry.medplum.answers import EntryOutcome

_BATCH_BYTES = 900_000
"""Medplum's default limit for a synchronous body is 1 MB, inflated."""

_ENVELOPE_BYTES = 300
"""More than an entry's request with the longest names takes."""


def weight(step: Step) -> int:
    """Bytes of a step's entry; one too large for any batch goes alone, and is for the server to judge."""
    return len(step.target.body) + _ENVELOPE_BYTES + (len(orjson.dumps(step.accounts)) if step.accounts else 0)


def batch_entry(step: Step, conditional: bool) -> dict[str, Any]:
    """The batch entry; a `conditional` create finds what carries its name already (``ifNoneExist``)."""
    target = step.target
    if step.action is Action.CREATE:
        condition = {"ifNoneExist": by_name(target.type, target.name)} if conditional else {}
        request = {"method": "POST", "url": target.type, **condition}
        return {"resource": orjson.Fragment(target.body), "request": request}
    body = with_accounts(target.body, step.accounts)
    return {
        "resource": orjson.Fragment(b'{"id":"%s",%s' % (step.id.encode(), body[1:])),
        "request": {"method": "PUT", "url": f"{target.type}/{step.id}", "ifMatch": f'W/"{step.version}"'},
    }


def batches(steps: Sequence[Step], size: int) -> Iterator[tuple[Step, ...]]:
    """Steps by at most `size` that go together: what has accounts goes apart from what has none (BatchSender)."""
    for bearing in (False, True):
        alike = [step for step in steps if bool(step.accounts) is bearing]
        yield from constrained_batches(alike, _BATCH_BYTES, size, weight, strict=False)


def sent_entry(step: Step) -> SentEntry:
    """What is noted of a step."""
    target = step.target
    entry = (*target.name, step.action, target.type, target.hash, step.id, step.version)
    return SentEntry(*entry, target.wanted_hash or "")


def answered_entry(step: Step, outcome: EntryOutcome) -> SentEntry:
    """What is noted of a step that Medplum says it has done, and that could not be read yet."""
    return replace(sent_entry(step), medplum_id=outcome.id, version_id=outcome.version)
