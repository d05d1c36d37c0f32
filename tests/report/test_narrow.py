"""The report on a telephone: it scrolls down, never sideways."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from medferry.report.write import write_report
from medferry.runtime.environment import Environment
from tests.workflows.test_migrate import migrate

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: tests/install_system_packages.sh"),
]


def test_on_a_narrow_screen_nothing_is_wider_than_the_page(tiny: Environment, tmp_path: Path) -> None:
    migrate(tiny, "r")
    page_of = write_report(tiny, "r", tmp_path).html
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 420, "height": 900})
        page.goto(Path(str(page_of)).resolve().as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= 420
        browser.close()
