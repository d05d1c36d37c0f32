"""What a verdict lets people do while both systems move."""

from __future__ import annotations

import pytest

from medferry.governance.verdict import Verdict
from medferry.manifest.checks import CheckResult, CheckStatus

EQUAL = CheckResult("values", "patient", CheckStatus.EQUAL, 9)
MOVING = CheckResult("values", "weight", CheckStatus.IN_FLIGHT, 4, unchecked=3)


def test_what_is_in_flight_stands_against_no_cutover_and_proves_nothing() -> None:
    verdict = Verdict([EQUAL, MOVING], (), 0)
    assert verdict.text() == "proven but for 3 in flight"
    assert (verdict.proven_but_for_in_flight, verdict.passed) == (True, False)


@pytest.mark.parametrize(
    "results",
    [[], [MOVING]] + [[EQUAL, MOVING, CheckResult("values", "staff", status, 1)] for status in CheckStatus],
    ids=lambda results: "+".join(result.status for result in results) or "nothing",
)
def test_anything_else_stands_against_it(results: list[CheckResult]) -> None:
    harmless = {CheckStatus.EQUAL, CheckStatus.IN_FLIGHT, CheckStatus.NOTHING}
    expected = {result.status for result in results} <= harmless and EQUAL in results
    assert Verdict(results, (), 0).proven_but_for_in_flight is expected


def test_charts_that_differ_stand_against_it() -> None:
    assert not Verdict([EQUAL, MOVING], (), 1).proven_but_for_in_flight
