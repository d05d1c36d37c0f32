"""Write the bill of materials (CycloneDX 1.6, JSON) and the list of licences of what `requirements.lock` installs.

    python release/sbom.py build/sbom        # sbom.cdx.json and licences.csv, in that folder

The lock says name, version and hashes; the licence is what the installed package says of itself. So it is to be run
where the lock is installed, and the same lock gives the same files.
"""

from __future__ import annotations

import csv
import json
import re
import sys
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
UNKNOWN = "unknown"

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[^\]]*\])?==(?P<version>[^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_CLASSIFIER = "License :: OSI Approved :: "
_LONGEST = 100
"""Of a licence as a package says it: some put the whole text there."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package of the lock. `hashes` are SHA-256 of its files, of which one is installed."""

    name: str
    version: str
    hashes: tuple[str, ...]
    licence: str

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{re.sub(r'[-_.]+', '-', self.name).lower()}@{self.version}"


def packages(lock: str) -> Iterator[Package]:
    """Those of a lock, in its order."""
    pins = [(number, found) for number, line in enumerate(lock.splitlines()) if (found := _PIN.match(line))]
    lines = lock.splitlines()
    ends = [*(number for number, _ in pins[1:]), len(lines)]
    for (start, found), end in zip(pins, ends, strict=True):
        hashes = tuple(_HASH.findall("\n".join(lines[start:end])))
        yield Package(found["name"], found["version"], hashes, licence_of(found["name"], found["version"]))


def licence_of(name: str, version: str) -> str:
    """As the installed package says it; "unknown" where another version, or none, is installed here."""
    try:
        said = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return UNKNOWN
    if said["Version"] != version:
        return UNKNOWN
    classifiers = [one.removeprefix(_CLASSIFIER) for one in said.get_all("Classifier", []) if _CLASSIFIER in one]
    short = (said.get("License") or "").strip().splitlines()[:1]
    written = short[0] if short and len(short[0]) <= _LONGEST else ""
    return said.get("License-Expression") or " AND ".join(sorted(classifiers)) or written or UNKNOWN


def bill(found: Iterable[Package], version: str) -> dict[str, Any]:
    """The bill of materials."""
    components = [_component(package) for package in found]
    names = "\n".join(component["purl"] for component in components)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'medferry {version} {names}')}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "medferry",
                "name": "medferry",
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": components,
    }


def _component(package: Package) -> dict[str, Any]:
    licence = {} if package.licence == UNKNOWN else {"licenses": [{"license": {"name": package.licence}}]}
    return {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "hashes": [{"alg": "SHA-256", "content": one} for one in package.hashes],
        **licence,
    }


def main(folder: Path) -> None:
    """Write both files into a folder."""
    sys.path.insert(0, str(ROOT / "include"))
    from medferry import __version__

    found = list(packages((ROOT / "requirements.lock").read_text(encoding="utf-8")))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sbom.cdx.json").write_text(json.dumps(bill(found, __version__), indent=2) + "\n", encoding="utf-8")
    with (folder / "licences.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["package", "version", "licence"])
        writer.writerows((one.name, one.version, one.licence) for one in found)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
