"""The manifest belongs to one Medplum, one staging area, and its migrations to identifiers of their own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from embedded_medplum.server import EmbeddedMedplum
from medferry.definition.migration import load_migration
from medferry.errors import MedferryError, VerificationFailed
from medferry.manifest import homes, runs
from medferry.manifest.database import create_manifest
from medferry.manifest.homes import Home, LegacyHome
from medferry.manifest.renamed import renamings
from medferry.manifest.runs import UnknownRun
from medferry.medplum.errors import RequestRefused
from medferry.medplum.oauth import Token, id_of_project, project_of
from medferry.runtime.continuing import OtherMigration, OtherSystem, Renamed
from medferry.runtime.environment import Environment
from medferry.runtime.legacy_home import SourceBehind
from medferry.runtime.options import RunOptions
from medferry.runtime.staging import StagedFileChanged
from medferry.runtime.systems import accept_systems, check_systems, look_at_systems
from medferry.source.identity import LegacyIdentity
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_slice
from medferry.stages.prepare import prepare_run, scope_of
from medferry.stages.transform import transform_slice
from medferry.verification.run import verify_run, verify_subject
from medferry.workflows.leftovers import _candidates
from tests.tiny_platform import MIGRATION
from tests.workflows.test_migrate import migrate


@pytest.fixture
def another() -> Iterator[EmbeddedMedplum]:
    with EmbeddedMedplum(quota=1_000_000_000) as server:
        yield server


def at(tiny: Environment, **settings: str) -> Environment:
    return Environment(tiny.migration, replace(tiny.settings, **settings))


def patients(environment: Environment) -> int:
    with environment.medplum() as client:
        return client.count("Patient")


def problems(environment: Environment) -> dict[str, str]:
    return {state.name: state.problem for state in look_at_systems(environment)}


NONE = {"legacy": "", "Medplum": "", "staging": "", "identifiers": "", "keys": ""}


def test_another_medplum_is_refused_by_name_before_anything_is_prepared(
    tiny: Environment, another: EmbeddedMedplum
) -> None:
    migrate(tiny, "first")
    other = at(tiny, medplum_base_url=another.base_url)
    told = rf"belongs to the project .* at {tiny.settings.medplum_base_url}; this is the project .*{another.base_url}"
    with pytest.raises(OtherSystem, match=told):
        migrate(other, "second")
    with tiny.manifest.begin() as connection, pytest.raises(UnknownRun):
        runs.get_run(connection, "second")
    for verified in (lambda: verify_run(other, "first"), lambda: verify_subject(other)):
        with pytest.raises(OtherSystem):
            verified()
    assert patients(other) == 0
    assert problems(other) == {**NONE, "Medplum": "another one"}
    migrate(other, "dry", dry_run=True)
    accept_systems(other)
    assert problems(other) == NONE and problems(tiny) == {**NONE, "Medplum": "another one"}


def test_a_run_begun_in_one_is_not_loaded_into_another(tiny: Environment, another: EmbeddedMedplum) -> None:
    migrate(tiny, "first", units=["north"])
    slices = prepare_run(tiny, "second", "run", scope_of(tiny.migration, None, None), RunOptions())
    for slice_ in slices:
        extract_slice(tiny, "second", slice_.id)
        transform_slice(tiny, "second", slice_.id)
    other = at(tiny, medplum_base_url=another.base_url)
    with pytest.raises(OtherSystem):
        load_slice(other, "second", slices[0].id)
    assert patients(other) == 0


def test_the_first_medplum_is_taken_on_trust_when_it_answers(tiny: Environment, another: EmbeddedMedplum) -> None:
    away = at(tiny, medplum_base_url="http://127.0.0.1:9/")
    with pytest.raises(MedferryError):
        migrate(away, "away")
    with tiny.manifest.begin() as connection:
        assert homes.medplums_of(connection, "tiny") == []
    migrate(tiny, "first")
    with pytest.raises(OtherSystem):
        migrate(at(tiny, medplum_base_url=another.base_url), "second")


@pytest.mark.parametrize(
    ("known", "present", "same"),
    [
        (("https://a/", "p"), ("https://a/", "p"), True),
        (("https://a/", "p"), ("https://a/", "q"), False),
        (("https://a/", "p"), ("https://b/", "p"), False),  # a copy of the database?
        (("http://127.0.0.1:1/", "p"), ("http://localhost:2/", "p"), True),
        (("http://127.0.0.1:1/", "p"), ("http://127.0.0.1:1/", "q"), False),
        (("https://a/", ""), ("https://a/", "p"), True),
        (("https://a/", "p"), ("https://a/", ""), True),
        (("https://a/", ""), ("https://b/", ""), False),
        (("http://127.0.0.1:1/", ""), ("http://127.0.0.1:2/", ""), False),
    ],
)
def test_a_medplum_is_known_by_project_and_address(
    tiny: Environment,
    monkeypatch: pytest.MonkeyPatch,
    known: tuple[str, str],
    present: tuple[str, str],
    same: bool,
) -> None:
    migrate(tiny, "first", dry_run=True)
    with tiny.manifest.begin() as connection:
        homes.add_medplum(connection, "tiny", Home(*known))
    monkeypatch.setattr("medferry.runtime.systems._present", lambda *_, **__: Home(*present))
    assert problems(tiny) == {**NONE, "Medplum": "" if same else "another one"}
    accept_systems(tiny)
    assert problems(tiny) == NONE
    with tiny.manifest.begin() as connection:
        kept = homes.medplums_of(connection, "tiny")
    # The same project may have two addresses; another project takes the place of the first.
    assert (Home(*known) in kept) == (known == present or (known[1] == present[1] != ""))


def execute(environment: Environment, sql: str) -> None:
    engine = sa.create_engine(environment.settings.source_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(sql)
    engine.dispose()


def copy_of_legacy(environment: Environment, folder: Path) -> Environment:
    """The same platform with a copy of its legacy database, under the old name, in another folder."""
    folder.mkdir()
    shutil.copy(environment.settings.source_url.removeprefix("sqlite:///"), folder / "legacy.db")
    return at(environment, source_url=f"sqlite:///{folder}/legacy.db")


def families(environment: Environment) -> set[str]:
    with environment.medplum() as client:
        return {patient["name"][0]["family"] for patient in client.search_all("Patient", [])}


def test_an_older_copy_of_the_legacy_database_is_refused(tiny: Environment, tmp_path: Path) -> None:
    old = copy_of_legacy(tiny, tmp_path / "last week")
    execute(tiny, "UPDATE patient SET family = 'Ada-Married' WHERE id = 1")
    migrate(tiny, "first")
    with pytest.raises(OtherSystem, match=r"SQLite legacy.db stands at position .* this is an older copy of it"):
        migrate(old, "second")
    for refused in (lambda: verify_run(old, "first"), lambda: verify_subject(old), lambda: _candidates(old)):
        with pytest.raises(OtherSystem, match="older copy"):
            refused()
    assert problems(old) == {**NONE, "legacy": "an older copy"}
    assert "Ada-Married" in families(tiny)
    accept_systems(old)  # it was restored for good
    assert problems(old) == NONE
    migrate(old, "third")
    assert "Ada" in families(tiny)
    migrate(tiny, "fourth")  # what is further on is the same, as far as anybody can tell


def test_another_legacy_database_is_refused_by_name(tiny: Environment, tmp_path: Path) -> None:
    migrate(tiny, "first")
    shutil.copy(tmp_path / "legacy.db", tmp_path / "test.db")
    other = at(tiny, source_url=f"sqlite:///{tmp_path}/test.db")
    with pytest.raises(OtherSystem, match=r"belongs to the legacy database SQLite legacy.db.*; this is SQLite test.db"):
        migrate(other, "second")
    assert problems(other) == {**NONE, "legacy": "another one"}
    migrate(other, "rehearsed", dry_run=True)


def test_a_task_that_reads_an_older_copy_than_its_run_was_prepared_with_stages_nothing(
    tiny: Environment, tmp_path: Path
) -> None:
    old = copy_of_legacy(tiny, tmp_path / "old")
    execute(tiny, "UPDATE patient SET family = 'Ada-Married' WHERE id = 1")
    create_manifest(tiny.settings.manifest_url)
    check_systems(tiny, dry=False)
    slices = prepare_run(tiny, "r", "run", scope_of(tiny.migration, None, None), RunOptions())
    with pytest.raises(OtherSystem, match="older copy"):
        extract_slice(old, "r", slices[0].id)
    assert extract_slice(tiny, "r", slices[0].id)


@pytest.mark.parametrize(
    ("present", "problem"),
    [
        (LegacyIdentity("PostgreSQL a", "7:1:5", 10), ""),
        (LegacyIdentity("PostgreSQL a", "7:1:5", 11, is_standby=True), ""),
        (LegacyIdentity("PostgreSQL a", "7:1:5", None), ""),
        (LegacyIdentity("PostgreSQL a", "::5", 12), ""),
        (LegacyIdentity("PostgreSQL a", "7:1:5", 9), "an older copy"),
        (LegacyIdentity("PostgreSQL a", "7:1:5", 9, is_standby=True), "behind"),
        (LegacyIdentity("PostgreSQL a", "7:2:5", 11), "another one"),
        (LegacyIdentity("PostgreSQL b", "7:1:5", 11), "another one"),
    ],
)
def test_a_legacy_database_is_known_by_name_server_and_position(
    tiny: Environment, monkeypatch: pytest.MonkeyPatch, present: LegacyIdentity, problem: str
) -> None:
    migrate(tiny, "first", dry_run=True)
    with tiny.manifest.begin() as connection:
        homes.keep_legacy(connection, "tiny", LegacyHome("PostgreSQL a", "7:1:5", 10))
    monkeypatch.setattr("medferry.runtime.legacy_home.identity_of", lambda _: present)
    assert problems(tiny)["legacy"] == problem
    if problem:
        with pytest.raises(SourceBehind if problem == "behind" else OtherSystem):
            check_systems(tiny, dry=False)
    else:
        check_systems(tiny, dry=False)
    with tiny.manifest.begin() as connection:
        known = homes.legacy_of(connection, "tiny")
    assert known is not None
    assert known.position == (10 if problem or present.position is None else present.position)


def test_a_manifest_learns_what_its_legacy_database_did_not_tell_before(
    tiny: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Manifests of before know no search path: the first that is met is taken on trust, and no other then."""
    migrate(tiny, "first", dry_run=True)
    with tiny.manifest.begin() as connection:
        homes.keep_legacy(connection, "tiny", LegacyHome("PostgreSQL a", "7:1:5", 10))
    for schemas, problem in (("{public}", ""), ("{other}", "another one"), ("{public}", "")):
        present = LegacyIdentity("PostgreSQL a", f"7:1:5:{schemas}", 10)
        monkeypatch.setattr("medferry.runtime.legacy_home.identity_of", lambda _, present=present: present)
        assert problems(tiny)["legacy"] == problem
        with pytest.raises(OtherSystem) if problem else nullcontext():
            check_systems(tiny, dry=False)
    with tiny.manifest.begin() as connection:
        assert homes.legacy_of(connection, "tiny") == LegacyHome("PostgreSQL a", "7:1:5:{public}", 10)
        homes.complete_legacy(connection, "tiny", LegacyHome("PostgreSQL a", "7:1:4", 10), "7:1:4:{public}")
        assert homes.legacy_of(connection, "tiny") == LegacyHome("PostgreSQL a", "7:1:5:{public}", 10)


def test_the_position_is_never_put_back_by_another_who_reads(tiny: Environment) -> None:
    migrate(tiny, "first", dry_run=True)
    with tiny.manifest.begin() as connection:
        homes.keep_legacy(connection, "tiny", LegacyHome("PostgreSQL a", "7:1:5", None))
        for position, kept in ((7, 7), (5, 7), (None, 7), (9, 9)):
            homes.advance_legacy(connection, "tiny", LegacyHome("PostgreSQL a", "7:1:5", position))
            assert homes.legacy_of(connection, "tiny") == LegacyHome("PostgreSQL a", "7:1:5", kept)
        homes.keep_legacy(connection, "tiny", LegacyHome("PostgreSQL b", "8:1:5", 1))
        assert homes.legacy_of(connection, "tiny") == LegacyHome("PostgreSQL b", "8:1:5", 1)


def test_two_manifests_do_not_share_a_staging_area(tiny: Environment, tmp_path: Path) -> None:
    migrate(tiny, "first")
    other = at(tiny, manifest_url=f"sqlite:///{tmp_path}/other.db")
    for options in ({}, {"dry_run": True}):
        with pytest.raises(OtherSystem, match=r"staging area .* belongs to another manifest"):
            migrate(other, "second", **options)
    assert problems(other)["staging"] == "of another manifest"
    accept_systems(other)
    assert problems(other) == NONE
    with pytest.raises(OtherSystem, match="staging area"):
        migrate(tiny, "third")


@pytest.mark.parametrize("kind", ["rows", "unchanged", "bundles"])
def test_a_staged_file_that_somebody_else_has_written_is_not_used(tiny: Environment, kind: str) -> None:
    slices = prepare_run(tiny, "r", "run", scope_of(tiny.migration, None, None), RunOptions())
    slice_id = next(slice_.id for slice_ in slices if slice_.entity == "clinic")
    extract_slice(tiny, "r", slice_id)
    if kind == "bundles":
        transform_slice(tiny, "r", slice_id)
    [staged] = [path for path in Path(tiny.settings.staging_url, "r", kind).rglob("*.gz") if slice_id in str(path)]
    staging = Environment(tiny.migration, tiny.settings).staging("r")
    if kind == "bundles":
        staging.write_bundle(slice_id, 0, b'{"resourceType": "Bundle", "type": "batch", "entry": []}')
    else:
        staging._write(f"{kind}/{slice_id}.ndjson.gz", [b'"9"\n'])
    with pytest.raises(StagedFileChanged, match=rf"{kind}/{slice_id}.* of run r is not what was staged"):
        (load_slice if kind == "bundles" else transform_slice)(tiny, "r", slice_id)
    assert staged.exists()


def test_two_migrations_do_not_write_under_the_same_identifiers(tiny: Environment, tmp_path: Path) -> None:
    folder = tmp_path / "twin"
    shutil.copytree(MIGRATION, folder, ignore=shutil.ignore_patterns("__pycache__"))
    plan = (folder / "plan.yaml").read_text()
    (folder / "plan.yaml").write_text(plan.replace("name: tiny", "name: twin"))
    twin = Environment(load_migration(folder), tiny.settings)
    assert twin.migration.name == "twin" and twin.migration.systems == tiny.migration.systems
    prepare_run(tiny, "dry", "run", scope_of(tiny.migration, None, None), RunOptions(dry_run=True))
    migrate(tiny, "first")
    with pytest.raises(OtherMigration, match=r"migration tiny writes under the identifier system .*identifier_base"):
        migrate(twin, "second")
    assert problems(twin)["identifiers"] == "5 belong to another migration"
    accept_systems(twin)
    assert problems(twin) == NONE
    with pytest.raises(OtherMigration, match="migration twin writes"):
        migrate(tiny, "third")


def test_a_renamed_entity_is_not_created_anew_without_a_word(tiny: Environment, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MIGRATION, tmp_path / "renamed", ignore=shutil.ignore_patterns("__pycache__")))
    for kind in ("entities/{}.sql", "checks/{}.yaml", "mappings/{}.py"):
        (folder / kind.format("staff")).rename(folder / kind.format("person"))
    for name in ("mappings/person.py", "checks/person.yaml"):
        text = (folder / name).read_text().replace('"staff"', '"person"').replace("entity: staff", "entity: person")
        (folder / name).write_text(text)
    renamed = Environment(load_migration(folder), tiny.settings)
    migrate(tiny, "first")
    with pytest.raises(Renamed, match=r"2 Practitioner .*legacy/staff, .*legacy/person is new .*2 such pairs"):
        migrate(renamed, "second")
    migrate(renamed, "dry", dry_run=True)
    with tiny.manifest.begin() as connection:
        assert runs.find_run(connection, "second") is None
    assert "legacy/person is new" in problems(renamed)["identifiers"] and problems(tiny) == NONE
    accept_systems(renamed)
    assert problems(renamed) == NONE
    with pytest.raises(VerificationFailed):  # by the leftovers, as the plan says nothing else of them
        migrate(renamed, "third")


def test_a_new_entity_is_no_renaming_while_all_that_was_made_still_is(tiny: Environment) -> None:
    migrate(tiny, "first")
    types = dict.fromkeys(("urn:new", tiny.migration.naming.system("patient")), "Patient")
    known = {
        tiny.migration.naming.system(entity, slot): kind
        for entity, spec in tiny.migration.specs.items()
        for slot, kind in spec.produces.items()
    }
    with tiny.manifest.begin() as connection:
        assert renamings(connection, "tiny", known | types) == []
        assert renamings(connection, "tiny", known) == renamings(connection, "other", known | types) == []
        patient = tiny.migration.naming.system("patient")
        less = {system: kind for system, kind in known.items() if system != patient} | {"urn:new": "Patient"}
        assert renamings(connection, "tiny", less) == [("Patient", patient, "urn:new", 3)]


def test_a_project_is_told_by_the_token_or_by_the_server(medplum: EmbeddedMedplum, tiny: Environment) -> None:
    with tiny.medplum() as first, tiny.medplum() as second:
        assert first.project() == second.project(patient=False) != ""
        first._tokens.project = ""
        assert first.project() == second.project()
        answers = {"project": {"resourceType": "Project", "id": "p"}}
        first._tokens.project = ""
        assert project_of(first._tokens, lambda *_: httpx.Response(200, json=answers)) == "p"
        first._tokens.shared.token = Token()
        assert project_of(first._tokens, lambda *_: httpx.Response(200, text="<html>")) == ""

        def refused(*_: object) -> httpx.Response:
            raise RequestRefused("no such thing")

        assert project_of(first._tokens, refused) == ""
    assert [id_of_project(one) for one in ({"reference": "Project/x"}, {"id": "y"}, {}, None)] == ["x", "y", "", ""]


def test_an_embedded_medplum_is_the_same_project_as_long_as_it_has_the_same_data(tmp_path: Path) -> None:
    def project(data: Path | None) -> str:
        with EmbeddedMedplum(data=data) as server:
            form = {"grant_type": "client_credentials", "client_id": server.client_id}
            answer = httpx.post(f"{server.base_url}oauth2/token", data={**form, "client_secret": server.client_secret})
            me = httpx.get(
                f"{server.base_url}auth/me", headers={"Authorization": f"Bearer {answer.json()['access_token']}"}
            )
            assert httpx.get(f"{server.base_url}auth/me").status_code == 401
            assert answer.json()["project"] == {"reference": f"Project/{me.json()['project']['id']}"}
            return str(me.json()["project"]["id"])

    assert project(tmp_path / "a.db") == project(tmp_path / "a.db")
    assert len({project(tmp_path / "a.db"), project(tmp_path / "b.db"), project(None), project(None)}) == 4
