"""Types of one identifier (QuestionnaireResponse, Composition) or none (Provenance): loaded, found and proven."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medferry.definition.migration import load_migration
from medferry.errors import DefinitionError
from medferry.fhir.identifiers import IdentifierForm, form_of, identifiers_of
from medferry.governance.verdict import verdict_of
from medferry.runtime.environment import Environment
from medferry.runtime.options import LoadMode
from medferry.verification.identity import TWICE
from medferry.verification.run import verify_subject
from medferry.workflows.heal import heal
from tests import tiny_platform
from tests.stages.test_unchanged import change
from tests.verification.test_subject import unequal
from tests.workflows.test_migrate import migrate

FORMS = """
from medferry.mapping import mapping

@mapping(entity="staff", version="1", owner="test", produces={"main": "QuestionnaireResponse", "letter": "Composition"})
def staff(row, ctx):
    family = ctx.text(row["family"], "family")
    yield ctx.resource(status="completed", item=[{"linkId": "1", "answer": [{"valueString": family}]}])
    yield ctx.resource(
        "letter", status="final", type={"text": "letter"}, date="2020-01-01", title=family, author=[{"display": "x"}]
    )
"""

CHECKS = """
from: staff s
key: s.id
resources:
  main:
    checks:
      - {name: answer, sql: s.family, path: item.answer.valueString, compare: text}
  letter:
    checks:
      - {name: title, sql: s.family, path: title, compare: text}
"""


def written(folder: Path, mapping: str) -> Path:
    """A copy of the tiny migration whose staff are mapped so."""
    copy = folder / "tiny"
    shutil.copytree(tiny_platform.MIGRATION, copy)
    (copy / "mappings" / "staff.py").write_text(mapping, encoding="utf-8")
    (copy / "checks" / "staff.yaml").write_text(CHECKS, encoding="utf-8")
    return copy


@pytest.mark.parametrize("mode", LoadMode)
def test_they_are_loaded_found_again_and_proven(tiny: Environment, tmp_path: Path, mode: LoadMode) -> None:
    forms = Environment(load_migration(written(tmp_path, FORMS)), tiny.settings)
    stored: list[dict[str, str]] = []
    for number in (1, 2):
        migrate(forms, f"run{number}", load_mode=mode)
        with forms.manifest.begin() as connection:
            assert verdict_of(connection, f"run{number}").unresolved == []
        with forms.medplum() as client:
            stored.append({r["id"]: r["title"] for r in client.search_all("Composition", [])})
            assert len(list(client.search_all("QuestionnaireResponse", []))) == 2
        change(forms, "UPDATE staff SET family = 'Nightingale' WHERE id = 1")
    assert stored[0].keys() == stored[1].keys()
    assert sorted(stored[0].values()) == ["Lindqvist", "Okafor"]
    assert sorted(stored[1].values()) == ["Lindqvist", "Nightingale"]


PROVENANCE = """
from medferry.mapping import mapping

@mapping(entity="staff", version="1", owner="test", produces={"main": "Practitioner", "letter": "Provenance"},
         references=("staff",))
def staff(row, ctx):
    family = ctx.text(row["family"], "family")
    yield ctx.resource(name=[{"family": family}])
    yield ctx.resource("letter", target=[ctx.reference("staff", row["id"])], recorded="2020-01-01T00:00:00Z",
                       agent=[{"who": {"display": family}}])
"""


@pytest.fixture
def provenance(tiny: Environment, tmp_path: Path) -> Environment:
    folder = written(tmp_path, PROVENANCE)
    checks = CHECKS.replace("item.answer.valueString", "name.family").replace("path: title", "path: agent.who.display")
    (folder / "checks" / "staff.yaml").write_text(checks, encoding="utf-8")
    return Environment(load_migration(folder), tiny.settings)


@pytest.mark.parametrize("mode", LoadMode)
def test_what_has_no_identifier_is_found_by_its_tag(provenance: Environment, mode: LoadMode) -> None:
    stored: list[dict[str, str]] = []
    for number in (1, 2):
        migrate(provenance, f"run{number}", load_mode=mode)
        with provenance.manifest.begin() as connection:
            assert verdict_of(connection, f"run{number}").unresolved == []
        with provenance.medplum() as client:
            found = list(client.search_all("Provenance", []))
            stored.append({one["id"]: one["agent"][0]["who"]["display"] for one in found})
            system = provenance.migration.naming.system("staff", "letter")
            tag = found[0]["meta"]["tag"][0]
            assert tag["system"] == system
            assert [one["id"] for one in client.by_name("Provenance", system, [tag["code"]])] == [found[0]["id"]]
            assert client.any_of_system("Provenance", system)
        change(provenance, "UPDATE staff SET family = 'Nightingale' WHERE id = 1")
    assert stored[0].keys() == stored[1].keys()
    assert sorted(stored[1].values()) == ["Lindqvist", "Nightingale"]


def test_a_second_one_under_a_tag_is_seen_and_healed(provenance: Environment) -> None:
    migrate(provenance, "run1")
    with provenance.medplum() as client:
        first = next(iter(client.search_all("Provenance", [])))
        again = {name: value for name, value in first.items() if name != "id"}
        client.batch([{"resource": again, "request": {"method": "POST", "url": "Provenance"}}], 100)
    assert (TWICE, "staff") in unequal(verify_subject(provenance))
    [healed] = heal(provenance, "test", apply=True)
    assert healed.reason is None
    assert healed.twin.name[1] == first["meta"]["tag"][0]["code"]
    with provenance.medplum() as client:
        left = {one["id"] for one in client.search_all("Provenance", [])}
    assert (len(left), first["id"] in left) == (2, True)
    assert unequal(verify_subject(provenance)) == set()


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("Binary", "Medplum searches no Binary"),
        ("Patiennt", "Patiennt is no FHIR R4 resource"),
        ("OperationOutcome", "OperationOutcome is no FHIR R4 resource"),
        ("HumanName", "HumanName is no FHIR R4 resource"),
        ("EffectEvidenceSynthesis", "EffectEvidenceSynthesis is of R4 and not of R4B"),
        ("Citation", "Citation is of R4B"),
    ],
)
def test_a_type_that_cannot_be_produced_is_told_before_anything_is_done(tmp_path: Path, kind: str, told: str) -> None:
    folder = written(tmp_path, FORMS.replace("Composition", kind))
    with pytest.raises(DefinitionError, match=rf"staff\.py:1: {told}"):
        load_migration(folder)


def test_the_forms_are_those_of_r4() -> None:
    assert form_of("Patient") is IdentifierForm.LIST
    assert {form_of(kind) for kind in ("Bundle", "Composition", "QuestionnaireResponse")} == {IdentifierForm.ONE}
    assert {form_of(kind) for kind in ("Binary", "Provenance", "AuditEvent", "")} == {IdentifierForm.NONE}


def test_identifiers_are_read_in_either_form() -> None:
    one = {"system": "s", "value": "1"}
    assert identifiers_of({"identifier": one}) == identifiers_of({"identifier": [one, "odd", None]}) == [one]
    assert identifiers_of({}) == identifiers_of({"identifier": None}) == identifiers_of({"identifier": "odd"}) == []
