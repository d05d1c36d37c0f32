"""What the README says is what the generator does."""

from pathlib import Path

import pytest

from demo_clinics import catalogue, codes, dirt
from demo_clinics.schema import ENTITIES, METADATA

FOLDER = Path(codes.__file__).parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_readme_shows_the_dirt_table() -> None:
    assert catalogue.as_markdown() in README


def test_codes_page_shows_the_code_tables() -> None:
    assert codes.as_markdown().strip() in (FOLDER / "CODES.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("entity", ENTITIES)
def test_readme_states_table_and_key_of_every_entity(entity: str) -> None:
    table, key = ENTITIES[entity]
    assert any(line.startswith(f"| {entity} | {table}") and key in line for line in README.splitlines())


@pytest.mark.parametrize("table", METADATA.tables.values(), ids=lambda table: table.name)
def test_readme_describes_every_column(table: object) -> None:
    paragraph = README.partition(f"**{table.name}** —")[2].partition("\n\n")[0]  # type: ignore[attr-defined]
    missing = {c.name for c in table.columns} - {"updated_at", "deleted_at"} - set(_words(paragraph))  # type: ignore[attr-defined]
    assert not missing


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() or c == "_" else " " for c in text).split()


def test_every_kind_can_be_dealt_and_every_function_has_a_kind() -> None:
    general = {(k.entity, k.name) for k in catalogue.KINDS if k.name == "soft-deleted" or k.name.startswith("orphan-")}
    kinds = {(k.entity, k.name) for k in catalogue.KINDS}
    assert kinds - general <= dirt._SPOIL.keys() <= kinds
    assert len(kinds) == len(catalogue.KINDS)


def test_approved_codes_have_a_target_and_others_have_none() -> None:
    for table in codes.TABLES.values():
        for code in table.values():
            assert (code.system is None) == (code.code is None)
            assert code.system is None or code.system == "(a FHIR code)" or code.system.startswith(("http://", "urn:"))
    unmapped = [c for table in codes.TABLES.values() for c in table.values() if c.code is None]
    assert {"FTT", "LEVO50", "VITDX", "CODN", "TRAV"} <= {c.local for c in unmapped}
