"""The routing document: what it may say, what may replace it, what the gates make of it, and how flagd reads it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medferry.cutover.flagd import UNKNOWN, flag_definitions, routing_in
from medferry.cutover.routes import routing_of
from medferry.cutover.routing import ALL_OTHER, ForeignRouting, Route, Routing, StaleRouting, Writes, replaced
from medferry.definition.migration import load_migration
from medferry.fhir.sides import Side
from medferry.plan.model import Plan
from medferry.source.gate.gate import GateState, UnitGate
from tests import tiny_platform

SHARED, SOUTH = UnitGate("shared", 0, GateState.OPEN), UnitGate("south", 2, GateState.OPEN)


def plan(**authority: object) -> Plan:
    found = load_migration(str(tiny_platform.MIGRATION)).plan
    return Plan.model_validate({**found.model_dump(by_alias=True, mode="json"), "authority": authority})


def routed(north: UnitGate, **authority: object) -> Routing:
    return routing_of(plan(**authority), [SHARED, north, SOUTH])


def test_a_unit_that_is_shut_in_the_legacy_database_is_medplum_s() -> None:
    routing = routed(UnitGate("north", 1, GateState.SHUT))
    route = routing.route("north", ALL_OTHER)
    assert (route.reads, route.writes, route.epoch) == (Side.MEDPLUM, Writes.MEDPLUM, 1)
    assert {routing.route(unit, ALL_OTHER).writes for unit in ("shared", "south")} == {Writes.LEGACY}


@pytest.mark.parametrize("state", [GateState.OPEN, GateState.CLOSED])
def test_during_a_freeze_the_routing_stays_as_it_was(state: GateState) -> None:
    """A freeze may thaw by itself, of which nobody would tell: a client is refused, and repeats."""
    assert routed(UnitGate("north", 4, state)).route("north", ALL_OTHER).writes is Writes.LEGACY


def test_before_the_flip_the_matrix_counts_by_unit_and_domain() -> None:
    accepted = {"accepted_by": "C. Ng", "reason": "front desks of both"}
    authority = {
        "domains": {"weights": ["weight"], "people": ["patient"]},
        "rules": [
            {"domain": "weights", "units": ["north"], "writer": "medplum"},
            {"domain": "people", "writer": "both", **accepted},
        ],
    }
    routing = routed(UnitGate("north", 0, GateState.OPEN), **authority)
    assert routing.domains == [ALL_OTHER, "people", "weights"]
    of_north = {route.domain: (route.reads, route.writes) for route in routing.routes if route.unit == "north"}
    assert of_north == {
        ALL_OTHER: (Side.LEGACY, Writes.LEGACY),
        "people": (Side.LEGACY, Writes.BOTH),
        "weights": (Side.MEDPLUM, Writes.MEDPLUM),
    }
    assert routing.route("south", "weights").writes is Writes.LEGACY
    moved = routed(UnitGate("north", 1, GateState.SHUT), **authority)
    assert {route.writes for route in moved.routes if route.unit == "north"} == {Writes.MEDPLUM}


def test_what_cannot_be_followed_is_no_document() -> None:
    one = Route(unit="north", domain=ALL_OTHER, reads=Side.LEGACY, writes=Writes.LEGACY, epoch=1)
    for wrong in (
        [],
        [one, one],
        [one, one.model_copy(update={"domain": "people", "epoch": 2})],  # two epochs of one unit
        [one, one.model_copy(update={"unit": "south", "domain": "people"})],  # holes
    ):
        with pytest.raises(ValidationError):
            Routing.of("tiny", wrong)
    with pytest.raises(ValidationError):
        Route.model_validate({**one.model_dump(), "reads": "nobody"})


epochs = st.tuples(*[st.integers(0, 4)] * 3)


def at(units: tuple[int, int, int]) -> Routing:
    """Odd epochs are Medplum's."""
    states = [GateState.SHUT if epoch % 2 else GateState.OPEN for epoch in units]
    gates = [UnitGate(*of) for of in zip(("shared", "north", "south"), units, states, strict=True)]
    return routing_of(PLAN, gates)


PLAN = plan()


@given(st.lists(epochs, min_size=1, max_size=12))
def test_an_older_epoch_never_replaces_a_newer(decided: list[tuple[int, int, int]]) -> None:
    present, versions, seen = None, [0], (0, 0, 0)
    for units in decided:
        new = at(units)
        if any(was > now for was, now in zip(seen, units, strict=True)):
            with pytest.raises(StaleRouting):
                replaced(present, new)
            continue
        changed = present is None or units != seen
        after = replaced(present, new)
        assert after.routes == new.routes
        assert after.version == versions[-1] + changed
        present, seen = after, units
        versions.append(after.version)


def test_another_migration_s_document_is_not_replaced() -> None:
    with pytest.raises(ForeignRouting, match="belongs to other"):
        replaced(at((0, 0, 0)).model_copy(update={"migration": "other"}), at((0, 0, 0)))


@given(epochs)
def test_what_flagd_reads_is_the_whole_document(units: tuple[int, int, int]) -> None:
    routing = at(units).model_copy(update={"version": 7})
    assert routing_in(flag_definitions(routing)) == routing


def test_a_flag_has_a_variant_for_each_unit_and_one_for_nobody() -> None:
    flags = json.loads(flag_definitions(at((0, 1, 0))))["flags"]
    flag = flags["medferry.tiny.all-other"]
    assert flag["variants"]["north"] == {"reads": "medplum", "writes": "medplum", "epoch": 1}
    assert flag["variants"][flag["defaultVariant"]]["writes"] == "nobody"
    assert {*flag["variants"]} == {"shared", "north", "south", UNKNOWN}


@pytest.mark.parametrize("text", [b"", b"{}", b'{"flags": {}}', b"[1]", b'{"flags": [], "metadata": {"flagSetId": 1}}'])
def test_a_file_of_others_is_told(text: bytes) -> None:
    with pytest.raises(ForeignRouting, match="not one that Medferry has written"):
        routing_in(text)


def test_a_file_that_somebody_has_edited_is_told() -> None:
    """Whatever was changed in it: what the clients do would not be what the document says."""
    text = flag_definitions(at((0, 1, 0)))
    for old, new in ((b'"ENABLED"', b'"DISABLED"'), (b'"epoch": 1', b'"epoch": 9'), (b'"shared",', b'"south",')):
        assert old in text
        if old == b'"epoch": 1':  # a document of its own, which the gates contradict
            assert routing_in(text.replace(old, new)).route("north", ALL_OTHER).epoch == 9
            continue
        with pytest.raises(ForeignRouting):
            routing_in(text.replace(old, new))
