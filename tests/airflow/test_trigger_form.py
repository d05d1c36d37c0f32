"""An operator in a real browser: log in, read the page, fill in the trigger form, watch the wave turn green."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from medferry_airflow.assets import Milestone
from medferry_airflow.local import ROOT, USER, LocalAirflow
from tests.airflow.conftest import PATIENCE, Platform, log_of

expect.set_options(timeout=60_000)  # a busy machine draws slowly

CHROMIUM = shutil.which("chromium")
SCREENSHOTS = ROOT / "build" / "screenshots"

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: tests/install_system_packages.sh"),
]


@pytest.fixture(scope="module")
def page(airflow: LocalAirflow) -> Iterator[Page]:
    """A browser page that is logged in."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1500, "height": 1150})
        page.set_default_timeout(60_000)
        page.goto(f"{airflow.url}/auth/login")
        page.locator("input[name=username]").fill(USER)
        page.locator("input[name=password]").fill(airflow.password)
        page.locator("button[type=submit]").click()
        page.wait_for_url(lambda url: "/auth/" not in url)
        yield page
        browser.close()


def open_form(page: Page, airflow: LocalAirflow, dag_id: str) -> None:
    page.goto(f"{airflow.url}/dags/{dag_id}")
    page.get_by_role("button", name="Trigger Dag", exact=True).click()
    expect(page.get_by_role("button", name="Run Parameters")).to_be_visible()


def test_the_page_of_a_wave_tells_what_it_does_to_whom(page: Page, airflow: LocalAirflow) -> None:
    assert airflow.api is not None
    airflow.api.wait_for_dag("wave_rest")
    page.goto(f"{airflow.url}/dags/wave_rest")
    page.get_by_role("button", name="Dag Docs").click()
    expect(page.get_by_role("heading", name="Migrate one wave")).to_be_visible()
    facts = page.get_by_role("table").filter(has_text="legacy_tiny")
    facts.scroll_into_view_if_needed()
    expect(facts).to_contain_text("Shared (shared), South clinic (south)")
    page.screenshot(path=SCREENSHOTS / "page_of_a_wave.png")


def test_the_big_bang_offers_the_units_by_title(page: Page, airflow: LocalAirflow) -> None:
    open_form(page, airflow, "big_bang")
    page.locator("#element_units").click()
    expect(page.get_by_role("option", name="North clinic (north)")).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "trigger_form_big_bang.png")


def test_a_wave_triggered_from_the_form_turns_green(page: Page, airflow: LocalAirflow, platform: Platform) -> None:
    platform.start_medplum()
    open_form(page, airflow, "wave_rest")
    page.get_by_text("Seldom needed", exact=True).click()
    batch_size = page.locator("input[name=element_batch_size]")
    expect(batch_size).to_have_value("200")
    batch_size.fill("9")
    batch_size.press("Tab")
    page.screenshot(path=SCREENSHOTS / "trigger_form_wave.png")
    before = _runs(airflow)
    page.get_by_role("dialog").get_by_role("button", name="Trigger", exact=True).click()
    assert airflow.api is not None
    airflow.api.until(lambda: len(_runs(airflow)) > len(before), PATIENCE, "the form made no run")
    (run_id,) = _runs(airflow) - before
    assert airflow.wait("wave_rest", run_id, PATIENCE) == "success"
    assert platform.run(f"wave_rest.{run_id}").options["batch_size"] == 9
    assert platform.report(f"wave_rest.{run_id}")["verdict"] == "proven"
    events = airflow.api.request("GET", "assets/events", source_dag_id="wave_rest", source_run_id=run_id)[
        "asset_events"
    ]
    assert {event["uri"] for event in events} == {f"medferry://tiny/rest/{milestone}" for milestone in Milestone}
    (told,) = {(event["extra"]["run"], event["extra"]["eligible"], event["extra"]["successful"]) for event in events}
    rows = platform.report(f"wave_rest.{run_id}")["rows"]
    assert isinstance(rows, list)
    assert told == (f"wave_rest.{run_id}", *(sum(row[name] for row in rows) for name in ("eligible", "successful")))
    page.goto(f"{airflow.url}/dags/wave_rest/runs/{run_id}")
    expect(page.get_by_text("conclude").first).to_be_visible()
    expect(page.get_by_text("Success").first).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "grid_of_a_wave.png")


def test_the_verdict_and_the_report_stand_beside_the_run(page: Page, airflow: LocalAirflow) -> None:
    assert airflow.api is not None
    run_id = sorted(_runs(airflow))[-1]
    links = airflow.api.request("GET", f"dags/wave_rest/dagRuns/{run_id}/taskInstances/conclude/links")
    page.goto(f"{airflow.url}{links['extra_links']['Medferry']}")
    shown = page.frame_locator("iframe[title=Medferry]")
    expect(shown.get_by_text("PROVEN", exact=True)).to_be_visible()
    report = shown.frame_locator("iframe")
    expect(report.get_by_role("heading", name="By entity and unit")).to_be_attached()
    page.screenshot(path=SCREENSHOTS / "page_of_a_run.png")
    page.goto(f"{airflow.url}/plugin/medferry")
    expect(page.frame_locator("iframe[title=Medferry]").get_by_text(run_id)).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "page_of_all_runs.png")
    for name in ("runs", f"dags/wave_rest/runs/{run_id}"):
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(f"{airflow.url}/medferry/{name}")
        expect(page.get_by_text("PROVEN", exact=True).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "wider than the screen"
        page.screenshot(path=SCREENSHOTS / f"narrow_{name.split('/')[0]}.png", full_page=True)
    assert log_of(airflow, "wave_rest", run_id, "conclude")[-1] == f"Run wave_rest.{run_id}: PROVEN"


def test_a_red_log_ends_with_what_is_wrong_and_what_to_do(airflow: LocalAirflow) -> None:
    run_id = airflow.trigger("wave_rest", {"dryrun": True})
    assert airflow.wait("wave_rest", run_id, PATIENCE) == "failed"
    problem, remedy = log_of(airflow, "wave_rest", run_id, "prepare")[-2:]
    assert problem.startswith("OptionError: ") and "dryrun" in problem
    assert remedy.startswith("What to do: ") and "dry_run" in remedy


def _runs(airflow: LocalAirflow) -> set[str]:
    assert airflow.api is not None
    runs = airflow.api.request("GET", "dags/wave_rest/dagRuns", limit=100)["dag_runs"]
    return {run["dag_run_id"] for run in runs}
