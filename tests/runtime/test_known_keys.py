"""A key that is made of something else is refused before anything is written: two patients would change places."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from medferry.cli.main import app
from medferry.definition.migration import load_migration
from medferry.manifest import audit
from medferry.manifest.entity_keys import known_origins
from medferry.manifest.runs import find_run
from medferry.manifest.tables import metadata
from medferry.runtime.continuing import Rekeyed
from medferry.runtime.environment import Environment
from medferry.runtime.known_keys import UnknownEntity, accept_keys, check_known_keys, check_planned_keys
from medferry.runtime.options import RunOptions
from medferry.runtime.systems import look_at_systems
from medferry.source.key_origins import KeyOrigin, key_origins
from medferry.stages.extract import extract_slice
from medferry.stages.prepare import prepare_run, scope_of
from medferry.workflows.leftovers import find_leftovers
from tests.tiny_platform import MIGRATION, variables
from tests.verification.test_subject import legacy
from tests.workflows.test_migrate import migrate

_SQL = "entities/staff.sql"
_TABLE = (
    "ALTER TABLE staff ADD COLUMN number INTEGER",
    "UPDATE staff SET number = 3 - id",  # both ranges are 1 and 2
    "CREATE VIEW people AS SELECT id AS no, number, clinic_id, family FROM staff",
)
_OF = "'shared' AS unit, clinic_id, family FROM"
_PLAIN = f"-- key: id\n-- unit: unit\nSELECT id, number, {_OF} staff"
_OTHER = "The key of staff was made of staff.id when its records were loaded, and is made of staff.number now"

Change = Callable[[str], Environment]


@pytest.fixture
def change(tiny: Environment, tmp_path: Path) -> Change:
    """The tiny migration with another SQL of the staff."""
    folder = Path(shutil.copytree(MIGRATION, tmp_path / "tiny", ignore=shutil.ignore_patterns("__pycache__")))
    legacy(tiny, *_TABLE)

    def changed(sql: str) -> Environment:
        (folder / _SQL).write_text(sql)
        return Environment(load_migration(folder), tiny.settings)

    return changed


def names(environment: Environment) -> dict[str, str]:
    with environment.medplum() as client:
        found = client.find("Practitioner", [])
    return {one["id"]: one["name"][0]["family"] for one in found}


def edit(environment: Environment, *edits: str) -> Environment:
    """With files changed: name, old and new text, of each in turn."""
    for name, old, new in zip(edits[::3], edits[1::3], edits[2::3], strict=True):
        path = environment.migration.folder / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    return Environment(load_migration(environment.migration.folder), environment.settings)


def forget(environment: Environment) -> None:
    """As in a manifest from before keys were kept."""
    with environment.manifest.begin() as connection:
        connection.execute(sa.delete(metadata.tables["entity_key"]))


def known(environment: Environment) -> dict[str, str]:
    with environment.manifest.begin() as connection:
        found = known_origins(connection, "tiny", environment.migration.entities.keys())
    return {name: str(origin) for name, origin in found.items()}


def refused(environment: Environment, told: str) -> None:
    with pytest.raises(Rekeyed, match=told):
        migrate(environment, "second")
    with pytest.raises(Rekeyed, match=told):
        check_planned_keys(environment)
    with environment.manifest.begin() as connection:
        assert find_run(connection, "second") is None
    assert re.match(told, {one.name: one.problem for one in look_at_systems(environment)}["keys"])


@pytest.mark.parametrize(
    "sql",
    [
        _PLAIN.replace("key: id", "key: number"),
        _PLAIN.replace("SELECT id, number", "SELECT number AS id"),
        f"-- key: no\n-- unit: unit\nSELECT number AS no, {_OF} people",
    ],
    ids=["the header", "the alias", "behind a view"],
)
def test_another_column_is_refused(change: Change, sql: str) -> None:
    tiny = change(_PLAIN)
    migrate(tiny, "first")
    before = names(tiny)
    refused(change(sql), _OTHER)
    assert names(tiny) == before


def test_columns_in_another_order_are_refused(change: Change) -> None:
    sql, checks = "entities/weight.sql", "checks/weight.yaml"
    to_be = (sql, "key: id", "key: id, patient_id", checks, "key: w.id", "key: [w.id, w.patient_id]")
    tiny = edit(change(_PLAIN), *to_be)
    migrate(tiny, "first")
    to_be = (sql, "id, patient_id\n", "patient_id, id\n", checks, "[w.id, w.patient_id]", "[w.patient_id, w.id]")
    turned = edit(tiny, *to_be)
    refused(turned, "The key of weight was made of weight.id, weight.patient_id .*of weight.patient_id, weight.id now")


def test_a_view_that_is_changed_between_two_tasks_is_refused(change: Change) -> None:
    tiny = change(f"-- key: no\n-- unit: unit\nSELECT no, {_OF} people")
    migrate(tiny, "first")
    slices = prepare_run(tiny, "second", "run", scope_of(tiny.migration, None, ["staff"]), RunOptions())
    view = "CREATE VIEW people AS SELECT number AS no, id, clinic_id, family FROM staff"
    legacy(tiny, "DROP VIEW people", view)
    for act in (lambda: extract_slice(tiny, "second", slices[0].id), lambda: check_known_keys(tiny)):
        with pytest.raises(Rekeyed, match=_OTHER):
            act()
    with tiny.medplum() as client, pytest.raises(Rekeyed, match=_OTHER):
        find_leftovers(tiny, client)


@pytest.mark.parametrize(
    "sql",
    [
        _PLAIN.replace("key: id", "key: no").replace("SELECT id,", "SELECT id AS no,"),
        _PLAIN.replace("SELECT id,", "SELECT CAST(id AS INTEGER) AS id,"),
        f"-- key: no\n-- unit: unit\nSELECT no, number, {_OF} people",
        _PLAIN.replace("FROM staff", "FROM staff WHERE id > 0").replace("number,", "number AS other,"),
    ],
    ids=["alias", "cast", "a view", "others"],
)
def test_the_same_column_by_another_name_is_the_same_key(change: Change, sql: str) -> None:
    migrate(change(_PLAIN), "first")
    done = migrate(change(sql), "second")
    assert (done["created"], done["updated"]) == (0, 0)


def test_a_column_that_was_renamed_is_accepted_by_the_entity_s_name(change: Change) -> None:
    tiny = change(_PLAIN)
    migrate(tiny, "first")
    legacy(tiny, "DROP VIEW people", "ALTER TABLE staff RENAME COLUMN id TO staff_id")
    renamed = change(_PLAIN.replace("SELECT id,", "SELECT staff_id AS id,"))
    renamed = edit(renamed, "checks/staff.yaml", "s.id", "s.staff_id")
    refused(renamed, "The key of staff was made of staff.id .*made of staff.staff_id now")
    with pytest.raises(UnknownEntity, match="no entity stuff"):
        accept_keys(renamed, ["stuff"])
    told = CliRunner().invoke(app, ["systems", "-m", str(renamed.migration.folder)], env=variables(renamed.settings))
    assert told.exit_code == 1 and "staff.staff_id" in told.output
    accepted = ["systems", "-m", str(renamed.migration.folder), "--accept-keys", "staff"]
    assert CliRunner().invoke(app, accepted, env=variables(renamed.settings)).exit_code == 0
    with renamed.manifest.begin() as connection:
        [line] = [one for one in audit.lines(connection, 9) if one.act == audit.Act.ACCEPTED]
        assert line.subject == "keys/staff: staff.staff_id" and list(audit.faults(connection)) == []
    done = migrate(renamed, "second")
    assert (done["created"], done["updated"]) == (0, 0)


def test_before_anything_is_loaded_a_key_may_be_another(change: Change) -> None:
    check_first = change(_PLAIN)
    prepare_run(check_first, "first", "run", scope_of(check_first.migration, None, None), RunOptions())
    check_known_keys(check_first)
    assert known(check_first)["staff"] == "staff.id"
    other = change(_PLAIN.replace("key: id", "key: number"))
    check_known_keys(other)
    assert known(other)["staff"] == "staff.number"


def test_a_dry_run_keeps_nothing(tiny: Environment) -> None:
    migrate(tiny, "dry", dry_run=True)
    assert known(tiny) == {}


def test_of_what_was_loaded_before_keys_were_kept_the_files_tell(change: Change) -> None:
    tiny = change(_PLAIN)
    migrate(tiny, "first")
    forget(tiny)
    legacy(tiny, "UPDATE staff SET family = family || 'x'")
    check_known_keys(tiny)
    assert known(tiny)["staff"] == "staff.id"


def test_or_the_rows_tell_where_the_files_were_changed(change: Change) -> None:
    tiny = change(_PLAIN)
    migrate(tiny, "first")
    forget(tiny)
    told = "Nothing tells what the keys were .*staff were loaded: .* of 2 rows that were compared 2 are not what"
    refused(change(_PLAIN.replace("SELECT id, number", "SELECT number AS id")), told)
    refused(change(_PLAIN.replace("key: id", "key: number")), told)
    again = edit(change(_PLAIN), "mappings/staff.py", 'version="1"', 'version="2"')
    check_known_keys(again)
    assert known(again)["staff"] == "staff.id"


def test_and_where_the_digests_are_unknown_nothing_does(change: Change) -> None:
    tiny = change(_PLAIN)
    migrate(tiny, "first")
    forget(tiny)
    for table in ("unit_state", "source_unit"):
        with tiny.manifest.begin() as connection:
            connection.execute(sa.update(metadata.tables[table]).values(source_digest=""))
    with pytest.raises(Rekeyed, match=r"of 0 rows that were compared 0 are not what they were"):
        check_known_keys(edit(tiny, "mappings/staff.py", 'version="1"', 'version="2"'))


def test_where_the_catalogue_tells_nothing_the_text_of_the_query_does(
    change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untold(*given: Any) -> dict[str, KeyOrigin]:
        return {name: replace(origin, made_of=None) for name, origin in key_origins(*given).items()}

    monkeypatch.setattr("medferry.runtime.known_keys.key_origins", untold)
    tiny = change(_PLAIN)
    migrate(tiny, "first")
    assert known(tiny)["staff"] == "id"
    check_known_keys(edit(tiny, "mappings/staff.py", 'version="1"', 'version="2"'))
    refused(change(_PLAIN.replace("SELECT id, number", "SELECT number AS id")), "Nothing tells what the keys were")


def test_a_table_that_is_gone_is_no_other_key(change: Change) -> None:
    tiny = change(_PLAIN)
    migrate(tiny, "first")
    forget(tiny)
    legacy(tiny, "DROP VIEW people", "ALTER TABLE staff RENAME TO persons")
    check_known_keys(edit(tiny, "mappings/staff.py", 'version="1"', 'version="2"'))
    assert "staff" not in known(tiny)
