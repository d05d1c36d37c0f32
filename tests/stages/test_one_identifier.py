"""QuestionnaireResponse and Composition have one identifier and no list: they are loaded, found and proven as any."""

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
from tests import tiny_platform
from tests.stages.test_unchanged import change
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


@pytest.mark.parametrize("kind", ["Provenance", "Binary", "Patiennt"])
def test_a_type_without_identifiers_is_told_before_anything_is_done(tmp_path: Path, kind: str) -> None:
    folder = written(tmp_path, FORMS.replace("Composition", kind))
    with pytest.raises(DefinitionError, match=rf"staff\.py:1: {kind} is no FHIR R4 type that has an identifier"):
        load_migration(folder)


def test_the_forms_are_those_of_r4() -> None:
    assert form_of("Patient") is IdentifierForm.LIST
    assert {form_of(kind) for kind in ("Bundle", "Composition", "QuestionnaireResponse")} == {IdentifierForm.ONE}
    assert {form_of(kind) for kind in ("Binary", "Provenance", "AuditEvent", "")} == {IdentifierForm.NONE}


def test_identifiers_are_read_in_either_form() -> None:
    one = {"system": "s", "value": "1"}
    assert identifiers_of({"identifier": one}) == identifiers_of({"identifier": [one, "odd", None]}) == [one]
    assert identifiers_of({}) == identifiers_of({"identifier": None}) == identifiers_of({"identifier": "odd"}) == []
