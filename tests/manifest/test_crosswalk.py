"""What the crosswalk is asked for besides single names."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest.crosswalk import ConfirmedWrite, ids_in_crosswalk, record_confirmed, systems_of


def write(manifest: sa.Engine, migration: str, slot: str, key: str, medplum_id: str) -> None:
    confirmed = ConfirmedWrite(
        f"https://x.example/{slot}", key, slot.partition("/")[0], "Patient", medplum_id, "v1", "hash", "created"
    )
    with manifest.begin() as connection:
        record_confirmed(connection, migration, "run", "slice", [confirmed])


def test_the_systems_of_a_migration_are_those_of_its_targets(manifest: sa.Engine) -> None:
    for slot, key in (("patient", "1"), ("patient", "2"), ("patient/record", "1"), ("clinic", "1")):
        write(manifest, "tiny", slot, key, f"{slot}-{key}")
    write(manifest, "other", "staff", "1", "staff-1")
    with manifest.begin() as connection:
        assert systems_of(connection, "tiny") == [
            ("clinic", "https://x.example/clinic"),
            ("patient", "https://x.example/patient"),
            ("patient", "https://x.example/patient/record"),
        ]
        assert systems_of(connection, "none") == []


def test_an_id_is_known_whichever_migration_has_it(manifest: sa.Engine) -> None:
    write(manifest, "tiny", "patient", "1", "a")
    write(manifest, "other", "patient", "1", "b")
    with manifest.begin() as connection:
        assert ids_in_crosswalk(connection, ["a", "b", "c"]) == {"a", "b"}
        assert ids_in_crosswalk(connection, []) == set()
