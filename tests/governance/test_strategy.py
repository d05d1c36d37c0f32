"""A large organisation moves at once only where an approver answers for it; the sizes are told with both numbers."""

from __future__ import annotations

from typing import Any

import pytest

from medferry.governance.readiness import strategy
from medferry.governance.strategy import LARGEST, TooLargeAtOnce, require_small_or_accepted, sizes_of
from medferry.plan.model import Plan


def plan_of(units: int, users: int | None = 10, integrations: int | None = 1, **others: Any) -> Plan:
    return Plan.model_validate(
        {
            "name": "toy",
            "title": "Toy",
            "strategy": "big_bang",
            "identifier_base": "https://toy.example",
            "source": {"connection": "legacy", "time_zone": "UTC"},
            "units": [{"id": "all", "shared": True}, *({"id": f"u{number}"} for number in range(units))],
            "organisation": {"users": users, "integrations": integrations},
            **others,
        }
    )


def test_a_small_one_may_move_at_once() -> None:
    plan = plan_of(LARGEST["units"], LARGEST["users"], LARGEST["integrations"])
    assert strategy(plan, sizes_of(plan, LARGEST["records"])).ok
    require_small_or_accepted(plan, LARGEST["records"])


@pytest.mark.parametrize("name", LARGEST)
def test_each_size_counts(name: str) -> None:
    sizes = {"units": 2, "users": 10, "integrations": 1, "records": 1_000} | {name: LARGEST[name] + 1}
    plan = plan_of(sizes["units"], sizes["users"], sizes["integrations"])
    with pytest.raises(TooLargeAtOnce, match=f"{LARGEST[name] + 1:,} {name}, more than {LARGEST[name]:,}"):
        require_small_or_accepted(plan, sizes["records"])
    gate = strategy(plan, sizes_of(plan, sizes["records"]))
    assert not gate.ok and f"more than {LARGEST[name]:,}" in gate.evidence


def test_the_risk_is_accepted_by_one_who_approves_the_cutover() -> None:
    risk = {"accepted_by": "Ada", "reason": "All clinics share one front desk."}
    people = [{"name": "Ada", "role": "director", "contact": "ada@toy.example", "approves": ["rollback"]}]
    plans = [
        plan_of(9, big_bang=risk),
        plan_of(9, big_bang=risk, stakeholders=people),
        plan_of(9, big_bang=risk, stakeholders=[{**people[0], "approves": ["cutover"]}]),
    ]
    assert [strategy(plan, sizes_of(plan, 1)).ok for plan in plans] == [True, False, True]


def test_what_nobody_has_counted_is_not_small() -> None:
    for plan, records in ((plan_of(2, users=None), 10), (plan_of(2), None)):
        gate = strategy(plan, sizes_of(plan, records))
        assert not gate.ok and "unknown size" in gate.evidence
        require_small_or_accepted(plan, records)  # it blocks the cutover, not the plan


def test_whoever_flips_all_units_together_moves_at_once_whatever_it_is_called() -> None:
    both = {"units": ["u0", "u1"]}
    waves: dict[str, tuple[list[dict[str, Any]], bool]] = {
        "one wave": ([{"id": "w", **both}], True),
        "two waves": ([{"id": "v", "units": ["u0"]}, {"id": "w", "units": ["u1"]}], False),
        "none": ([], True),
    }
    for name, (given, at_once) in waves.items():
        plan = plan_of(2, strategy="phased", waves=given)
        assert sizes_of(plan, None).at_once == at_once, name
