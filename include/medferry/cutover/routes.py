"""What the plan and the gates of the units say of the routing: the gates are the truth, a document can be made anew."""

from __future__ import annotations

from collections.abc import Iterable

from medferry.cutover.routing import ALL_OTHER, Route, Routing, Writes
from medferry.fhir.sides import Side
from medferry.plan.authority import AuthorityMatrix, Writer
from medferry.plan.model import Plan
from medferry.source.gate.gate import GateState, UnitGate

_WRITES = {Writer.LEGACY: Writes.LEGACY, Writer.MEDPLUM: Writes.MEDPLUM, Writer.BOTH: Writes.BOTH}


def routing_of(plan: Plan, gates: Iterable[UnitGate]) -> Routing:
    """The document of the units of the plan, version 1. A gate of a unit that the plan has no more is passed over.

    Raises KeyError for a unit without a gate.
    """
    found = {gate.unit: gate for gate in gates}
    domains = [*plan.authority.domains, ALL_OTHER]
    routes = [_route(plan.authority, found[unit], domain) for unit in plan.unit_ids for domain in domains]
    return Routing.of(plan.name, routes)


def _route(matrix: AuthorityMatrix, gate: UnitGate, domain: str) -> Route:
    """A unit that is shut in the legacy database is Medplum's; of any other, the plan's matrix says who writes it."""
    if gate.state is GateState.SHUT:
        return Route(unit=gate.unit, domain=domain, reads=Side.MEDPLUM, writes=Writes.MEDPLUM, epoch=gate.epoch)
    writer = _writer(matrix, gate.unit, domain)
    reads = Side.MEDPLUM if writer is Writer.MEDPLUM else Side.LEGACY
    return Route(unit=gate.unit, domain=domain, reads=reads, writes=_WRITES[writer], epoch=gate.epoch)


def _writer(matrix: AuthorityMatrix, unit: str, domain: str) -> Writer:
    for rule in matrix.rules:
        if rule.domain == domain and (not rule.units or unit in rule.units):
            return rule.writer
    return Writer.LEGACY
