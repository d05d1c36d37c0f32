"""What the report says of a cutover: its acts, how long nobody could write, and the gates that were asked."""

from __future__ import annotations

from medferry.cutover.acts import Act
from medferry.governance.readiness import ReadinessGate
from medferry.manifest import cutovers
from medferry.manifest.cutovers import ActRow, AttemptState, Direction
from medferry.manifest.runs import list_runs
from medferry.report.cutovers import frozen
from medferry.report.reconciliation import reconcile
from medferry.report.write import render_html
from medferry.sync.wave import SyncedWave
from tests.sync.conftest import captured, loaded, wave  # noqa: F401 - fixtures

NOW = "2026-11-28T10:01:00.000Z"


def row(act: Act, begun: int, ended: int | None, failed: bool = False) -> ActRow:
    end = None if ended is None else f"2026-11-28T10:00:{ended:02d}.000Z"
    return ActRow(act, "Ada", f"2026-11-28T10:00:{begun:02d}.000Z", end, failed, "")


def test_the_freeze_lasts_from_the_closing_until_somebody_can_write_again() -> None:
    closing, opening = row(Act.CLOSE_LEGACY, 3, 4), row(Act.OPEN_MEDPLUM, 9, 11)
    forth = [row(Act.CLOSE_MEDPLUM, 0, 1), closing, row(Act.VERIFY, 5, 8), opening, row(Act.ROUTE, 12, 13)]
    assert frozen(Direction.FORTH, forth, NOW) == (8.0, False)
    failed = [closing, row(Act.VERIFY, 5, 8, failed=True), row(Act.THAW, 8, 9)]
    assert frozen(Direction.FORTH, failed, NOW) == (6.0, False)
    twice = [closing, row(Act.THAW, 8, 9), row(Act.CLOSE_LEGACY, 20, 21), row(Act.OPEN_MEDPLUM, 24, 25)]
    assert frozen(Direction.FORTH, twice, NOW) == (11.0, False)
    assert frozen(Direction.FORTH, [closing, row(Act.OPEN_MEDPLUM, 9, None)], NOW) == (57.0, True)
    assert frozen(Direction.FORTH, [row(Act.CLOSE_MEDPLUM, 0, 1)], NOW) == (None, False)
    back = [row(Act.CLOSE_MEDPLUM, 0, 1), row(Act.PROVE, 2, 5), row(Act.REOPEN_LEGACY, 5, 7)]
    assert frozen(Direction.BACK, back, NOW) == (7.0, False)
    assert frozen(Direction.PREPARE, back, NOW) == (None, False)


def test_the_page_shows_each_act_and_what_the_gates_said(wave: SyncedWave) -> None:  # noqa: F811
    with wave.environment.manifest.begin() as connection:
        attempt = cutovers.begin_attempt(connection, "tiny", "pilot", Direction.FORTH, ["north"], "Ada", 1, {})
        for act, failed in ((Act.CLOSE_LEGACY, False), (Act.VERIFY, True), (Act.THAW, False)):
            number = cutovers.begin_act(connection, attempt, act, "Ada")
            cutovers.end_act(connection, number, f"<{act}>", failed)
        cutovers.end_attempt(connection, attempt, AttemptState.BACKED_OUT)
        run = list_runs(connection, "tiny", 1)[0]
        content = reconcile(connection, wave.environment.migration, run.id)
    [found] = content.cutovers
    assert [(one.stage, one.act, one.failed) for one in found.acts] == [
        ("freeze", Act.CLOSE_LEGACY, False), ("verify", Act.VERIFY, True), ("", Act.THAW, False),
    ]  # fmt: skip
    assert found.freeze is not None and not found.frozen_still
    gates = [
        ReadinessGate("lag", True, "p99 1 s"),
        ReadinessGate("order", False, "not its turn", "Flip <pilot> first."),
    ]
    page = render_html(content, {"pilot": gates})
    assert "Cutover of wave pilot" in page and "nobody could write the units" in page
    assert "failed: &lt;verify&gt;" in page
    assert "1 of 2 gates do not hold" in page and "Flip &lt;pilot&gt; first." in page
    assert content.as_json()["cutovers"][0]["acts"][1]["act"] == Act.VERIFY
    assert "Readiness of wave" not in render_html(content)
