"""The local codes of the demo's legacy system and the standard codes they stand for.

They are in `codes.txt`, one code a line: `local | meaning | target | display`. The target is `prefix:code`,
its prefix one of SYSTEMS, or `-` where the group's terminologists have not agreed on one: only the local code may be
carried over then. CODES.md shows the same tables; a test compares them.
"""

from dataclasses import dataclass
from pathlib import Path

IDENTIFIER_BASE = "https://clinics.example/legacy"

SYSTEMS = {
    "loinc": "http://loinc.org",
    "sct": "http://snomed.info/sct",
    "rx": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "cvx": "http://hl7.org/fhir/sid/cvx",
    "ucum": "http://unitsofmeasure.org",
    "gender": "http://hl7.org/fhir/administrative-gender",
    "actcode": "http://terminology.hl7.org/CodeSystem/v3-ActCode",
    "actsite": "http://terminology.hl7.org/CodeSystem/v3-ActSite",
    "interp": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation",
    "marital": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus",
    "lang": "urn:ietf:bcp:47",
    "physical": "http://terminology.hl7.org/CodeSystem/location-physical-type",
    "degree": "http://terminology.hl7.org/CodeSystem/v2-0360",
    "role": "http://terminology.hl7.org/CodeSystem/practitioner-role",
    "apptype": "http://terminology.hl7.org/CodeSystem/v2-0276",
    "relation": "http://terminology.hl7.org/CodeSystem/subscriber-relationship",
    "clinical": "http://terminology.hl7.org/CodeSystem/condition-clinical",
    "allergy": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical",
    "fhir": "(a FHIR code)",
}


@dataclass(frozen=True, slots=True)
class Code:
    """One local code; `system`, `code` and `display` are None where no target is agreed."""

    table: str
    local: str
    meaning: str
    system: str | None
    code: str | None
    display: str | None


def _code(table: str, line: str) -> Code:
    local, meaning, target, display = (part.strip() for part in line.split("|"))
    prefix, _, code = target.partition(":")
    if not code:
        return Code(table, local, meaning, None, None, None)
    return Code(table, local, meaning, SYSTEMS[prefix], code, display or None)


def _parse(text: str) -> dict[str, dict[str, Code]]:
    tables: dict[str, dict[str, Code]] = {}
    for line in filter(str.strip, text.splitlines()):
        if line.startswith("["):
            table = line.strip("[] ")
            tables[table] = {}
        else:
            code = _code(table, line)
            tables[table][code.local] = code
    return tables


TABLES = _parse(Path(__file__).with_name("codes.txt").read_text(encoding="utf-8"))


def as_markdown() -> str:
    """The code tables as the README shows them."""
    lines: list[str] = []
    for table, codes in TABLES.items():
        lines += [f"### `{table}`", "", "| local | meaning | target | display |", "|---|---|---|---|"]
        for c in codes.values():
            target = f"`{c.system}` `{c.code}`" if c.code else "none agreed (`unmapped`)"
            lines.append(f"| `{c.local}` | {c.meaning} | {target} | {c.display or ''} |")
        lines.append("")
    return "\n".join(lines)
