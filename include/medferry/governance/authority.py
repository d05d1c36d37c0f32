"""Who is right: what the plan's matrix says of an element of a resource in a business unit. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

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


def flipped(plan: Plan, entities: Iterable[str], units: Collection[str]) -> Plan:
    """The plan, with Medplum as the one writer of all `entities` in some units, and everywhere else as it was."""
    matrix = plan.authority
    named = {member for members in matrix.domains.values() for member in members}
    rest = [entity for entity in entities if entity not in named]
    domains = {**matrix.domains, **({_REST: rest} if rest else {})}
    moved = [
        AuthorityRule(domain=domain, units=sorted(units), writer=Writer.MEDPLUM, against=AgainstPolicy.KEEP)
        for domain in domains
    ]
    others = [
        rule.model_copy(update={"units": [unit for unit in rule.units if unit not in units]}) for rule in matrix.rules
    ]
    kept = [now for rule, now in zip(matrix.rules, others, strict=True) if now.units or not rule.units]
    return plan.model_copy(update={"authority": matrix.model_copy(update={"domains": domains, "rules": moved + kept})})


_REST = "of_no_domain"


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
