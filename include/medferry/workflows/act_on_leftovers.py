"""Remove or inactivate what was found, one by one, each noted before it is sent and proven by reading it after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from medferry.apply.departure import Noted, read_clocks
from medferry.apply.leftovers import Stays
from medferry.apply.reason import Reason
from medferry.apply.twins import version_of
from medferry.fhir.accounts import accounts_of, with_accounts
from medferry.fhir.additions import unsigned
from medferry.fhir.canonical import content_hash, owned, stored_hash
from medferry.fhir.inactive import inactivated
from medferry.manifest import sent_batches
from medferry.manifest.crosswalk import Action
from medferry.manifest.leftover_acts import (
    LeftoverAct,
    answer_leftover_act,
    end_inactivation,
    end_removal,
    note_leftover_act,
    unfinished,
)
from medferry.manifest.leftovers import Leftover
from medferry.manifest.sent_batches import Sending, SentEntry
from medferry.medplum import budget as points
from medferry.medplum.answers import EntryOutcome
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import MedplumUnavailable, Throttled
from medferry.runtime.claim import hold_claim
from medferry.runtime.environment import Environment
from medferry.runtime.hold import WholeHold, holding_everything
from medferry.runtime.systems import check_medplum
from medferry.workflows.leftovers import ACTS, LeftoverFinding, find_leftovers


def deal_with_leftovers(
    environment: Environment, holder: str, person: str = "", apply: bool = False
) -> Iterator[LeftoverFinding]:
    """Tell of every leftover that the plan wants removed or inactivated and, with `apply`, do it on `person`'s word.

    Each is told when it is done with: what was done before a failure is known, and what is done again does no harm.
    `holder` names this act in leases and notes. Raises LeaseHeld while a run is at work (`apply`), LeaseLost,
    OtherSystem, OtherManifest, SourceUnavailable, SourceError, and what Medplum raises when it cannot be looked at.
    """
    with environment.medplum() as client:
        check_medplum(environment, client)
        if not apply:
            yield from find_leftovers(environment, client)
            return
        hold_claim(environment, client)
        with holding_everything(environment, holder) as hold:
            act = _Acts(hold, client, person)
            act.finish_earlier()
            yield from act.on(find_leftovers(environment, client, hold.keep))


@dataclass(frozen=True, slots=True)
class _Sent:
    """An act that was noted: `number` of the act, `note` of what was sent."""

    act: LeftoverAct
    number: int
    note: Noted


@dataclass(frozen=True, slots=True)
class _Acts:
    hold: WholeHold
    client: MedplumClient
    person: str

    def on(self, found: Sequence[LeftoverFinding]) -> Iterator[LeftoverFinding]:
        """Do what nothing speaks against: what refers to another goes before it, and keeps it when it stays."""
        yield from (finding for finding in found if finding.reason is not None)
        left = {finding.leftover.place: finding for finding in found if finding.reason is None}
        stayed: set[str] = set()
        while left:
            ready = [place for place, finding in left.items() if finding.referrers.isdisjoint(left)] or list(left)
            for place in ready:
                finding = left.pop(place)
                if staying := sorted(finding.referrers & stayed):
                    done = replace(finding, reason=Reason(Stays.REFERRED_TO, ", ".join(staying[:3])))
                else:
                    done = replace(finding, reason=self._act(finding))
                if done.reason is not None:
                    stayed.add(place)
                yield done

    def _act(self, finding: LeftoverFinding) -> Reason | None:
        """One act. None: it is done and proven."""
        leftover, version = finding.leftover, finding.version
        standing = self._read(leftover)
        if version_of(standing) != version:  # before 5.2 a server ignores the condition of a DELETE
            return Reason(Stays.CHANGED_SINCE)
        made, body = b"", dict[str, Any]()
        request = {"method": "DELETE", "url": leftover.place, "ifMatch": f'W/"{version}"'}
        accounts = accounts_of(standing)
        if ACTS[finding.policy] is Action.INACTIVATE:
            made = orjson.dumps(owned(unsigned(inactivated(standing))) | {"id": leftover.medplum_id})
            body = {"resource": orjson.Fragment(with_accounts(made, accounts))}
            request |= {"method": "PUT"}
        hash_, settle, sent = content_hash(orjson.loads(made)) if made else "", self._settle_seconds, list[_Sent]()
        try:
            [outcome] = self.client.batch(
                [{"request": request} | body],
                points.WRITE,
                before=lambda: sent.append(self._note(finding, hash_)),
                extended=bool(body and accounts),
                departing=lambda: sent[-1].note.check(settle),
            )
        except (MedplumUnavailable, Throttled):
            return Reason(Stays.NO_ANSWER)
        return self._end(sent[-1], outcome)

    def _end(self, sent: _Sent, outcome: EntryOutcome) -> Reason | None:
        """Prove what was answered, and record it."""
        if sent.act.action is Action.REMOVE and outcome.status in (200, 204, 404, 410):
            return None if self._finish(sent.number, sent.act) else Reason(Stays.NO_ANSWER)
        if sent.act.action is Action.INACTIVATE and outcome.done:
            return None if self._finish(sent.number, sent.act) else Reason(Stays.NO_ANSWER)
        with self.hold.writing() as connection:
            answer_leftover_act(connection, sent.number, outcome.status)
            sent_batches.end(connection, [sent.note.number])
        changed = outcome.status in (404, 409, 410, 412)
        return Reason(Stays.CHANGED_SINCE) if changed else Reason(Stays.REFUSED, outcome.issue)

    def _note(self, finding: LeftoverFinding, made: str) -> _Sent:
        """Write down what is about to be sent. Raises LeaseLost: then nothing is."""
        leftover, action = finding.leftover, ACTS[finding.policy]
        place = (leftover.resource_type, leftover.medplum_id)
        about = (leftover.entity, leftover.system, leftover.key, *place, leftover.kind)
        act = LeftoverAct(*about, action, self.person, self.hold.holder, finding.version, made)
        entry = SentEntry(*act.name, action, leftover.resource_type, made, leftover.medplum_id, finding.version)
        with self.hold.writing() as connection:
            number = note_leftover_act(connection, self._migration, act)
            at = read_clocks()
            sending = Sending(self._settle_seconds, self.client.server_clock.now())
            note = sent_batches.note_act(connection, self._migration, act.holder, act.entity, entry, sending)
        return _Sent(act, number, Noted(note, at))

    def finish_earlier(self) -> None:
        """Record what an earlier act has done and could not record."""
        with self.hold.writing() as connection:
            acts = unfinished(connection, self._migration)
        for number, act in acts:
            self._finish(number, act)

    def _finish(self, number: int, act: LeftoverAct) -> bool:
        """Whether Medplum shows that an act is done; then it is recorded."""
        gone: set[str] = set()
        read = self.client.read_each([(act.resource_type, act.medplum_id)], gone)
        version, text = read.get(act.medplum_id, ("", b""))
        if act.action is Action.REMOVE:
            done = act.medplum_id in gone
        else:
            done = bool(version) and stored_hash(text) == act.content_hash
        if not done:
            return False
        with self.hold.writing() as connection:
            if act.action is Action.REMOVE:
                end_removal(connection, self._migration, number, act)
            else:
                end_inactivation(connection, self._migration, number, act, version)
            sent_batches.end_acts_on(connection, self._migration, act.name, act.medplum_id)
        return True

    def _read(self, leftover: Leftover) -> dict[str, Any]:
        texts = self.client.read_each([(leftover.resource_type, leftover.medplum_id)], extended=True)
        found: dict[str, dict[str, Any]] = {id_: orjson.loads(text) for id_, (_, text) in texts.items()}
        return found.get(leftover.medplum_id, {})

    @property
    def _migration(self) -> str:
        return self.hold.environment.migration.name

    @property
    def _settle_seconds(self) -> float:
        return self.hold.environment.settings.settle_seconds
