"""Verifications: how a manifest that has them by run is brought to those that have an id of their own."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from medferry.manifest import database
from medferry.manifest.checks import checks_of, differences_of, parts_of, verification_of
from medferry.manifest.exceptions import exceptions_of
from medferry.manifest.tables import metadata, period_account

RUN = (
    "INSERT INTO run VALUES "
    "('{}', 'm', 'run', 'succeeded', '[\"north\"]', '[\"patient\"]', '{{}}', 'f', 't', 't', '', '')"
)
FILL = (
    RUN.format("one"),
    RUN.format("two"),
    "INSERT INTO verification VALUES ('one', 't1', 't2', 1.0, 0, 'f')",
    "INSERT INTO verification VALUES ('two', 't1', NULL, 0.5, 7, 'f')",
    *(
        statement.format(run)
        for run in ("one", "two")
        for statement in (
            "INSERT INTO verified_part VALUES ('{}', 'run', 't1', 't2', 3, 4)",
            "INSERT INTO check_result VALUES ('{}', 'a', 'patient', 'run', 'different', 3, 1, 0, '[\"1\"]', 'n', 't2')",
            "INSERT INTO difference (run_id, part, name, entity, key, field, kind, place) "
            "VALUES ('{}', 'run', 'a', 'patient', '1', 'f', 'k', 'Patient/1')",
            "INSERT INTO period_account VALUES ('{}', 'patient', 'north', '2024', 'successful', 3)",
            "INSERT INTO exception (run_id, family, entity, category, severity, different, unchecked, digest, edition, "
            "found_at) VALUES ('{}', 'a', 'patient', 'c', 'major', 1, 0, 'd', 1, 't2')",
        )
    ),
)


@pytest.fixture
def first(manifest: sa.Engine) -> sa.Engine:
    """A manifest of the first revision, with a verification that has finished and one that has not."""
    with manifest.begin() as connection:
        metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE alembic_version")
        config = Config()
        config.set_main_option("script_location", str(database.Path(database.__file__).parent / "revisions"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in FILL:
            connection.exec_driver_sql(statement)
    return manifest


def test_what_runs_have_been_verified_to_be_is_kept(first: sa.Engine) -> None:
    database.upgrade(first)
    with first.begin() as connection:
        found = verification_of(connection, "one")
        assert found is not None
        assert (found.run_id, found.started_at, found.finished_at, found.sample_share) == ("one", "t1", "t2", 1.0)
        assert found.subject == {"units": ["north"], "entities": ["patient"], "keys": {}}
        [result] = checks_of(connection, "one")
        assert (result.name, result.status, result.examples, result.note) == ("a", "different", ["1"], "n")
        [line] = differences_of(connection, "one")
        assert (line.key, line.place) == ("1", "Patient/1")
        assert [part.resources for part in parts_of(connection, "one")] == [3]
        assert connection.scalar(sa.select(sa.func.sum(period_account.c.rows))) == 6
        [exception] = exceptions_of(connection, "one")
        assert (exception.run_id, exception.verification_id, exception.decision) == ("one", None, "open")
        assert verification_of(connection, "two") is None
        assert checks_of(connection, "two") == []
        assert len(parts_of(connection, "two")) == 1
