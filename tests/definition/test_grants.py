"""The grants of the reading account: each table that an entity or a check reads, and nothing that writes."""

from __future__ import annotations

from dataclasses import replace

from medferry.definition.grants import reader_grants
from medferry.definition.migration import load_migration
from tests.tiny_platform import MIGRATION


def test_each_table_is_granted_to_be_read_and_nothing_else() -> None:
    tables = ("clinic", "patient", "staff", "weight")
    tiny = load_migration(MIGRATION)
    wanted = [f"GRANT SELECT ON {table} TO the_reading_account" for table in tables]
    for dialect in ("postgresql", "mysql", "mariadb"):
        assert reader_grants(tiny, dialect) == wanted
    assert reader_grants(tiny, "mssql") == [*wanted, "GRANT VIEW DEFINITION TO the_reading_account"]
    assert reader_grants(tiny, "sqlite") == [], "a file has no accounts"


def test_tables_that_only_a_check_reads_are_there() -> None:
    clinics = load_migration("clinics")
    alone = clinics.checks.entities["patient"].model_copy(
        update={"tables": "patients p JOIN only_here o ON o.id = p.id"}
    )
    checks = replace(clinics.checks, entities={**clinics.checks.entities, "patient": alone})
    granted = reader_grants(replace(clinics, checks=checks), "postgresql")
    assert "GRANT SELECT ON only_here TO the_reading_account" in granted
    assert len(granted) == len(set(granted)) and all(line.startswith("GRANT SELECT ON ") for line in granted)


def test_where_rows_are_born_their_lines_are_read() -> None:
    clinics = load_migration("clinics")
    lines = "GRANT SELECT ON medferry_born TO the_reading_account"
    assert lines in reader_grants(clinics, "postgresql")
    none = {name: replace(inverse, births=None) for name, inverse in clinics.inverses.items()}
    assert lines not in reader_grants(replace(clinics, inverses=none), "postgresql")
