"""A history's periods follow each other without a gap, and hold every day there is."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest

from medferry.errors import DefinitionError
from medferry.plan.load import load_plan
from medferry.plan.model import Every, History
from medferry.plan.periods import Period, next_start, period_between, periods_of
from tests import tiny_platform


def history(every: str, since: str) -> History:
    return History.model_validate({"every": every, "from": since})


@pytest.mark.parametrize("every", list(Every))
@pytest.mark.parametrize("today", [date(2026, 11, 28), date(2027, 1, 1), date(2026, 12, 31)])
def test_they_follow_each_other_from_what_is_undated_to_what_is_to_come(every: Every, today: date) -> None:
    found = periods_of(history(every, "2019-01-01"), today)
    assert (found[0].end, found[-1].start) == (None, None)
    assert all(newer.start == older.end for newer, older in pairwise(found))
    assert all(each.start is None or next_start(every, each.start) <= today for each in found)
    assert len(found) == (
        7 + (today.year - 2026) if every is Every.YEAR else 12 * (today.year - 2019) + today.month - 1
    )


def test_a_period_of_its_own_is_that_of_the_list() -> None:
    monthly, today = history("month", "2026-08-01"), date(2026, 11, 28)
    alone = [period_between(monthly, date(2026, month, 1), date(2026, month + 1, 1), today) for month in (10, 9, 8)]
    assert alone == periods_of(monthly, today)
    assert alone[1] == Period(date(2026, 9, 1), date(2026, 10, 1))


def test_where_no_period_is_over_the_first_takes_all() -> None:
    assert periods_of(history("year", "2026-01-01"), date(2026, 11, 28)) == [Period(None, None)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{every: month, from: 2010-01-15}", "first day of a month"),
        ("{every: year, from: 2010-02-01}", "first day of a year"),
        ("{every: week, from: 2010-02-01}", "'month' or 'year'"),
    ],
)
def test_a_history_that_begins_within_a_period_is_refused(tmp_path: Path, line: str, problem: str) -> None:
    text = (tiny_platform.MIGRATION / "plan.yaml").read_text()
    path = tmp_path / "plan.yaml"
    path.write_text(text.replace("units: [north]}", f"units: [north], history: {line}}}"))
    with pytest.raises(DefinitionError, match=problem):
        load_plan(path)
