"""Clinical safety as a condition of its own: no allergy, medication or problem is lost, altered or back again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from medferry.governance.readiness import GateName, ReadinessGate, could_not_say, gate_of
from medferry.manifest.decisions import RecordedDecision, digest_of

LOOK = "Look at each: `medferry safety WAVE` names it with the patient's chart."


@dataclass(frozen=True, slots=True)
class SafetyFinding:
    """A record that does not say the same in both systems. No member holds patient data.

    `harm` is lost, resurrected or altered; `place` is "Type/id" in Medplum (empty: nowhere). `patient` is the source
    key of whose record it is, and `chart` the place of the patient in Medplum; each empty where it is not known.
    """

    harm: str
    entity: str
    key: str
    place: str
    checks: tuple[str, ...]
    patient: str = ""
    chart: str = ""


@dataclass(frozen=True, slots=True)
class SafetyLook:
    """What was compared of a wave, and what was found. `entities`: which become such records (none: none is mapped).

    `compared` resources were looked for; `by_value` of their values were held against the legacy database's own.
    `dead` are legacy records (entity/key) that are rejected or quarantined, so that Medplum lacks them.
    """

    entities: tuple[str, ...]
    compared: int
    by_value: int
    in_flight: int
    dead: tuple[str, ...]
    unchecked: tuple[str, ...]
    findings: tuple[SafetyFinding, ...]

    @property
    def digest(self) -> str:
        """Of all that a person could accept."""
        return digest_of(*self.dead, *((one.harm, one.entity, one.key, *one.checks) for one in self.findings))

    def evidence(self) -> str:
        """How much was compared."""
        told = f"{self.compared:,} records compared, {self.by_value:,} values ({', '.join(self.entities)})"
        return f"{told}; {self.in_flight:,} on their way" if self.in_flight else told


def clinical_safety(look: SafetyLook, accepted: RecordedDecision | None) -> ReadinessGate:
    """Nothing to compare is not ok, nor is what could not be looked at; a person may accept exactly what was found."""
    name = GateName.SAFETY
    if not look.entities and accepted:
        said = accepted.decision
        return ReadinessGate(name, True, f"0 records compared, no mapping makes any, by {said.person}: {said.note}")
    if not look.entities:
        told = "no mapping makes an allergy, a medication or a problem"
        return could_not_say(name, told, f"Map them, or let a named person accept `{name}` with a reason.")
    if look.unchecked:
        return could_not_say(name, "; ".join(look.unchecked[:3]), "Mend it, then ask again.")
    if not look.compared and not look.findings:
        return could_not_say(name, "0 records compared: there was nothing to compare", "Load the wave first.")
    if not look.by_value and not look.findings:
        return could_not_say(name, "no value was compared with the legacy database", "Declare checks for them.")
    faults = [harms(look.findings)] if look.findings else []
    if look.dead:
        faults.append(f"{len(look.dead):,} rejected or quarantined, so not in Medplum")
    if faults and accepted:
        said = accepted.decision
        told = f"{', '.join(faults)}; accepted by {said.person}: {said.note}; {look.evidence()}"
        return ReadinessGate(name, True, told)
    if faults:
        faults.append(look.evidence())
    return gate_of(name, faults, look.evidence(), LOOK)


def harms(findings: Sequence[SafetyFinding]) -> str:
    """How many of each harm."""
    return ", ".join(f"{number:,} {harm}" for harm, number in Counter(one.harm for one in findings).items())
