"""One environment for several migrations: what each of its variables says for one, and what they may not share."""

from __future__ import annotations

import pytest

from medferry.runtime.several import MIGRATION, SharedByMigrations, listed_migrations, variables_of
from medferry.runtime.variables import VARIABLES

TWO = {"MEDFERRY_MIGRATION": "clinics, /srv/labs ,"}


def test_they_are_listed_by_commas() -> None:
    assert listed_migrations({}) == listed_migrations({"MEDFERRY_MIGRATION": ""}) == []
    assert listed_migrations({"MEDFERRY_MIGRATION": "clinics"}) == ["clinics"]
    assert listed_migrations(TWO) == ["clinics", "/srv/labs"]


@pytest.mark.parametrize("listed", [{}, {"MEDFERRY_MIGRATION": "labs"}, TWO])
def test_the_migration_s_name_stands_in_the_values(listed: dict[str, str]) -> None:
    given = {"MEDFERRY_STAGING_URL": f"s3://bucket/{MIGRATION}/staging", "PATH": f"/{MIGRATION}"}
    assert variables_of("labs", given | listed) == {"MEDFERRY_STAGING_URL": "s3://bucket/labs/staging"} | listed


OWN = [name.replace("<NAME>", "LOCKED_OUT") for name, variable in VARIABLES.items() if variable.own]


@pytest.mark.parametrize("name", OWN)
def test_what_no_two_may_have_in_common_says_of_which_it_is(name: str) -> None:
    with pytest.raises(SharedByMigrations, match=f"for all of them {name} is the same"):
        variables_of("labs", TWO | {name: "postgresql://legacy"})
    assert variables_of("labs", TWO | {name: ""})[name] == ""
    assert variables_of("labs", TWO | {name: f"/run/{MIGRATION}"})[name] == "/run/labs"
    assert variables_of("labs", {name: "one alone"})[name] == "one alone"


def test_the_legacy_systems_and_medplum_s_clients_are_among_them() -> None:
    assert {"MEDFERRY_SOURCE_URL", "MEDFERRY_CAPTURE_URL", "MEDFERRY_LEGACY_WRITER_URL"} <= set(OWN)
    assert {"MEDFERRY_MEDPLUM_CLIENT_ID", "MEDFERRY_MEDPLUM_CLIENT_SECRET", "MEDFERRY_ROUTING_FILE"} <= set(OWN)


@pytest.mark.parametrize("of", ["MEDFERRY_", "MEDFERRY_REHEARSAL_"])
def test_two_manifests_have_no_staging_area_in_common(of: str) -> None:
    manifest, staging, own = f"{of}MANIFEST_URL", f"{of}STAGING_URL", f"/srv/{MIGRATION}"
    for shared in ({}, {staging: "/srv/staging"}):
        with pytest.raises(SharedByMigrations, match=staging):
            variables_of("labs", TWO | {manifest: own} | shared)
    variables_of("labs", TWO | {manifest: own, staging: own})
    variables_of("labs", TWO | {manifest: "postgresql://manifest", staging: "/srv/staging"})
