"""The bill of materials has what the lock has, and each with its hashes."""

from __future__ import annotations

import csv
import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sbom")
    runpy.run_path(str(ROOT / "release" / "sbom.py"))["main"](folder)
    return folder


def test_each_line_of_the_lock_is_a_component_with_the_hashes_that_are_installed_by(written: Path) -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = [line.split("==")[0].partition("[")[0] for line in lock.splitlines() if line[:1].isalnum()]
    bill = json.loads((written / "sbom.cdx.json").read_text(encoding="utf-8"))
    components = bill["components"]
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6") and bill["serialNumber"][:9] == "urn:uuid:"
    assert [one["name"] for one in components] == pinned and len(pinned) > 100
    assert sum(len(one["hashes"]) for one in components) == lock.count("--hash=sha256:")
    purls = [one["purl"] for one in components]
    assert len(set(purls)) == len(purls) and all(one["hashes"] for one in components)
    assert next(one for one in components if one["name"] == "httpx")["purl"].startswith("pkg:pypi/httpx@")


def test_the_licences_are_listed(written: Path) -> None:
    with (written / "licences.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    known = {line["package"]: line["licence"] for line in lines}
    assert known["httpx"] == "BSD-3-Clause" or "BSD" in known["httpx"]
    unknown = [name for name, licence in known.items() if licence == "unknown"]
    assert len(unknown) < len(known) / 20, unknown


def test_the_same_lock_gives_the_same_bill(written: Path, tmp_path: Path) -> None:
    runpy.run_path(str(ROOT / "release" / "sbom.py"))["main"](tmp_path)
    for name in ("sbom.cdx.json", "licences.csv"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()
