"""The documentation builds as a site, every page is in its navigation, and every link and anchor leads somewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--config-file", str(root / "mkdocs.yml"), "-d", str(site)],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_site_builds_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    home = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert "Medferry moves a running digital" in home
    assert 'src="images/grid.png"' in home
    assert 'href="runbooks/wave.html"' in home
    assert "fonts.googleapis" not in home  # it fetches nothing


def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    for name in ("docs", "mkdocs.yml", "README.md"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    with (tmp_path / "docs/plan.md").open("a", encoding="utf-8") as page:
        page.write("\nSee [the moon](types.md#the-moon).\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "the-moon" in done.stderr
