"""Who is right: what the plan's matrix says of an element of a resource in a business unit. Pure."""

from __future__ import annotations

from medferry.fhir.rulings import NOTHING_DECIDED, Rulings, covers, nobody
from medferry.fhir.sides import Side
from medferry.plan.authority import AgainstPolicy, AuthorityRule, FieldPolicy, Writer
from medferry.plan.model import Plan

_ONE_WRITER = {Writer.LEGACY: Side.LEGACY, Writer.MEDPLUM: Side.MEDPLUM}

_WINS = {FieldPolicy.LEGACY_WINS: Side.LEGACY, FieldPolicy.MEDPLUM_WINS: Side.MEDPLUM, FieldPolicy.ASK: None}


def authority(plan: Plan, unit: str, entity: str, path: str = "", resource_type: str = "") -> Side | FieldPolicy:
    """The one side that may write, or, where both may, what becomes of the element `path` that both changed.

    A domain that names the entity goes before one that names the resource type. By default: the legacy side.
    """
    rule = rule_of(plan, unit, entity, resource_type)
    if rule is None:
        return Side.LEGACY
    if rule.writer is Writer.BOTH:
        return _policy(rule, path)
    return _ONE_WRITER[rule.writer]


def against(plan: Plan, unit: str, entity: str, resource_type: str = "") -> AgainstPolicy:
    """What becomes of a write in the system that is not the writer."""
    rule = rule_of(plan, unit, entity, resource_type)
    return rule.against if rule else AgainstPolicy.KEEP


def winner(plan: Plan, unit: str, entity: str, path: str, resource_type: str = "") -> Side | None:
    """Whose value stands where both changed the element `path`; None: a person decides."""
    answer = authority(plan, unit, entity, path, resource_type)
    if isinstance(answer, FieldPolicy):
        return _WINS[answer]
    return answer if against(plan, unit, entity, resource_type) is AgainstPolicy.SET_BACK else None


def rulings(plan: Plan, unit: str, entity: str, resource_type: str = "") -> Rulings:
    """What the forward way makes of a resource that both sides have in different ways.

    Of what only Medplum is written in, a row's changes do not come into a resource that is there.
    """
    rule = rule_of(plan, unit, entity, resource_type)
    if rule is None:
        return NOTHING_DECIDED

    def wins(element: str) -> Side | None:
        return winner(plan, unit, entity, element, resource_type)

    in_conflict = wins if rule.writer is Writer.BOTH or rule.against is AgainstPolicy.SET_BACK else nobody
    if rule.writer is Writer.MEDPLUM:
        return Rulings(in_conflict, ours_alone=lambda _: Side.MEDPLUM)
    if rule.writer is Writer.LEGACY and rule.against is AgainstPolicy.SET_BACK:
        return Rulings(in_conflict, theirs_alone=lambda _: Side.LEGACY)
    return Rulings(in_conflict)


def rule_of(plan: Plan, unit: str, entity: str, resource_type: str = "") -> AuthorityRule | None:
    """The line of the matrix that counts; None: there is none."""
    matrix = plan.authority
    for member in (entity, resource_type):
        domains = {name for name, members in matrix.domains.items() if member in members}
        for rule in matrix.rules:
            if rule.domain in domains and (not rule.units or unit in rule.units):
                return rule
    return None


def _policy(rule: AuthorityRule, path: str) -> FieldPolicy:
    """Of the longest path of the rule that is the element or above it."""
    fits = {known: group.policy for group in rule.fields for known in group.paths if covers(known, path)}
    return fits[max(fits, key=len)] if fits else rule.other_fields
