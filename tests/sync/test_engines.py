"""The same on PostgreSQL and MariaDB: writers at work, transactions that commit late or never, cuts between them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from unittest.mock import Mock

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from medferry.cutover.drain import Time, cut_until, write_fence
from medferry.errors import LeaseHeld
from medferry.manifest.held_back import HeldBack, held_back_of
from medferry.runtime.environment import Environment
from medferry.source.births import BornLine, add_born
from medferry.source.changes.engines import install
from medferry.sync import adopt, reverse_born
from medferry.sync.aside import EntityUnreadable, entities_of, refused_now
from medferry.sync.cycle import Cycle, cycle
from medferry.sync.pruning import prune
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.status import status_of
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import SyncedWave, synced_wave
from tests import tiny_platform
from tests.sync.conftest import FREE, families, load, written_back
from tests.sync.taking_births import births_wave
from tests.sync.taking_births import rows as born_rows
from tests.sync.test_births import Users, dying, lines, notes
from tests.sync.test_cycle import Killed, ends, reason
from tests.sync.test_reverse_cycle import held, looked_at_again
from tests.sync.test_unreadable import kilograms

WRITERS, TRANSACTIONS = 4, 12


@pytest.fixture(params=["postgresql", "mariadb"])
def wave(request: pytest.FixtureRequest, captured: Environment) -> Iterator[SyncedWave]:
    """The pilot wave in step, its legacy database on a server."""
    start = servers.embedded if request.param == "postgresql" else servers.mariadb
    with ExitStack() as stack:
        try:
            url = stack.enter_context(start()).url
        except servers.BinariesMissing as missing:
            pytest.skip(str(missing))
        tiny_platform.fill(url)
        environment = Environment(captured.migration, replace(captured.settings, source_url=url))
        with environment.source.begin() as connection:  # without, MariaDB's updates wait for every open transaction
            connection.exec_driver_sql("ALTER TABLE patient ADD PRIMARY KEY (id)")
        load(environment, None)
        wave = synced_wave(environment, "pilot")
        install(environment.capture, wave.journal)
        sweep_wave(wave, FREE)
        yield wave
        environment.source.dispose()
        environment.capture.dispose()


def work(engine: sa.Engine, number: int) -> None:
    """What one user does: each transaction renames two patients of the wave or one more is born; some are undone."""
    chance = random.Random(number)
    for round_ in range(TRANSACTIONS):
        with engine.connect() as connection:
            key = 100 + number * 100 + round_
            name = f"w{number}x{round_}"
            connection.exec_driver_sql(f"UPDATE patient SET family = '{name}' WHERE id = {chance.choice((1, 2))}")
            connection.exec_driver_sql(
                f"INSERT INTO patient VALUES ({key}, 'north', 1, '{name}', '1999-09-09', 'F', NULL)"
            )
            if chance.random() < 0.25:
                connection.rollback()
            else:
                connection.commit()


def rows(wave: SyncedWave) -> dict[str, str]:
    """The patients of the wave that Medplum is to have."""
    wanted = "SELECT id, family FROM patient WHERE unit IN ('north', 'shared') AND deleted_at IS NULL"
    with wave.environment.source.connect() as connection:
        return {str(key): str(family) for key, family in connection.execute(sa.text(wanted))}


def test_what_users_edit_reaches_the_row_once_and_comes_back_to_nobody(wave: SyncedWave) -> None:
    both = written_back(wave.environment, wave.id)
    assert both.environment.legacy_writer.dialect.name == wave.environment.source.dialect.name
    back_cycle(both)
    system = wave.environment.migration.naming.system("patient")
    with both.environment.medplum() as client:
        [ada] = client.search_all("Patient", [("identifier", f"{system}|1")])
        edited = {**ada, "name": [{"family": "Bäcker"}], "birthDate": "1971-01-01"}
        client.batch([{"resource": edited, "request": {"method": "PUT", "url": f"Patient/{ada['id']}"}}], 100)
    with both.environment.source.begin() as connection:  # the row changes, too, in another column
        connection.exec_driver_sql("UPDATE patient SET sex = 'M' WHERE id = 1")
    assert back_cycle(both).written == {"patient": 1}
    with both.environment.source.connect() as connection:
        [row] = connection.exec_driver_sql("SELECT family, born, sex FROM patient WHERE id = 1").all()
    assert tuple(row) == ("Bäcker", "1971-01-01", "M")
    assert cycle(both).records == 1
    with both.environment.medplum() as client:
        [ada] = client.search_all("Patient", [("identifier", f"{system}|1")])
    assert (ada["name"][0]["family"], ada["birthDate"], ada["gender"]) == ("Bäcker", "1971-01-01", "male")
    assert not back_cycle(both).written
    assert (cycle(both), held_back_of_wave(both)) == (Cycle(), [])
    both.environment.legacy_writer.dispose()


def test_a_birth_is_inserted_once_whatever_dies_and_comes_back_to_nobody(wave: SyncedWave) -> None:
    taking = births_wave(wave)
    users = Users(taking)
    first = users.create(identifier=None)
    assert back_cycle(taking).born == {"Patient": 1}
    second = users.create(name=[{"family": "Ono"}], identifier=None)
    with pytest.MonkeyPatch.context() as patched:  # its row is there, its identifier is not
        patched.setattr(reverse_born, "insert_row", dying(reverse_born.insert_row, "after"))
        with pytest.raises(Killed):
            back_cycle(taking)
    assert [row[:4] for row in born_rows(taking)] == [(9, "north", 1, "Ito"), (10, "north", 1, "Ono")]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(adopt.Adopter, "adopt", Mock(side_effect=LeaseHeld("busy", "wait")))
        assert ends(cycle(taking)) == {"successful": 1, "quarantined": 1}, "the way forth leaves the row alone"
    assert (reason(taking, "patient", "10"), notes(taking)) == ("born-in-medplum", 1)
    looked_at_again(taking)
    assert not back_cycle(taking).born, "it was finished before, by what the legacy database says"
    cycle(taking)
    for id_, key in ((first, "9"), (second, "10")):
        assert users.id_of("patient", key) == id_
        assert {"system": users.system, "value": key} in users.read("Patient", id_)["identifier"]
    assert (lines(taking), notes(taking), held(taking)) == (2, 0, set())
    with taking.environment.medplum() as client:
        assert client.count("Patient") == 3 + 2
    versions = [users.read("Patient", id_)["meta"]["versionId"] for id_ in (first, second)]
    assert (back_cycle(taking).born, back_cycle(taking).written, cycle(taking)) == ({}, {}, Cycle())
    assert versions == [users.read("Patient", id_)["meta"]["versionId"] for id_ in (first, second)]
    assert families(taking.environment) == rows(taking)
    taking.environment.legacy_writer.dispose()
    taking.environment.source.dispose()


def test_a_birth_whose_commit_is_still_at_work_stays_noted(wave: SyncedWave) -> None:
    """Its process was killed: nobody sees the row, and nobody can tell whether it comes."""
    taking = births_wave(wave)
    users = Users(taking)
    id_ = users.create(identifier=None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reverse_born, "insert_row", dying(reverse_born.insert_row, "before"))
        with pytest.raises(Killed):
            back_cycle(taking)
    line = {"resource_type": "Patient", "medplum_id": id_, "entity": "patient", "slot": "main", "key": "9"}
    with taking.environment.source.connect() as connection, connection.begin() as at_work:
        connection.exec_driver_sql("INSERT INTO patient VALUES (9, 'north', 1, 'Ito', '2001-02-03', 'F', NULL)")
        add_born(connection, BornLine(**line, made="another"))
        looked_at_again(taking)
        assert (back_cycle(taking).born, lines(taking), notes(taking)) == ({}, 0, 1)
        at_work.commit()
    cycle(taking)
    looked_at_again(taking)
    back_cycle(taking)
    cycle(taking)
    assert (users.id_of("patient", "9"), lines(taking), notes(taking)) == (id_, 1, 0)
    assert len(born_rows(taking)) == 1
    with taking.environment.medplum() as client:
        assert client.count("Patient") == 3 + 1
    taking.environment.legacy_writer.dispose()
    taking.environment.source.dispose()


def writes(wave: SyncedWave, *statements: str) -> None:
    with wave.environment.source.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_an_entity_that_cannot_be_read_waits_alone(wave: SyncedWave) -> None:
    writes(wave, "ALTER TABLE weight RENAME COLUMN kg TO kilograms")
    writes(wave, "UPDATE patient SET family = 'Adair' WHERE id = 1", "UPDATE weight SET kilograms = 71 WHERE id = 0")
    assert cycle(wave).records == 1 and families(wave.environment)["1"] == "Adair"
    assert [(one.entity, one.changes) for one in entities_of(wave)] == [("weight", 1)]
    writes(wave, "ALTER TABLE weight RENAME COLUMN kilograms TO kg")
    assert (cycle(wave).records, entities_of(wave), cycle(wave)) == (1, [], Cycle())
    a_dropped_table_waits_alone_and_is_read_when_another_is_in_its_place(wave)


def a_dropped_table_waits_alone_and_is_read_when_another_is_in_its_place(wave: SyncedWave) -> None:
    """The next has another type of key. No test of its own: a server takes long to start."""
    writes(wave, "UPDATE weight SET kg = 99 WHERE id = 0", "ALTER TABLE weight RENAME TO kept")
    writes(wave, "DELETE FROM kept WHERE id = 4", "UPDATE patient SET family = 'Bell' WHERE id = 1")
    assert cycle(wave).records == 1 and families(wave.environment)["1"] == "Bell"
    [aside] = entities_of(wave)
    assert aside.entity == "weight" and aside.changes >= 2 and "weight" in aside.problem
    as_text = "CAST(id AS CHAR(20))" if wave.environment.source.dialect.name != "postgresql" else "CAST(id AS text)"
    rest = "unit, patient_id, kg, taken_at, updated_at"
    writes(wave, f"CREATE TABLE weight AS SELECT {as_text} AS id, {rest} FROM kept WHERE id > 0")
    writes(wave, "UPDATE patient SET family = 'Cole' WHERE id = 1")
    assert cycle(wave).records == 1 and [one.entity for one in entities_of(wave)] == ["weight"]
    install(wave.environment.capture, wave.journal)
    writes(wave, "DROP TABLE kept", f"INSERT INTO weight (id, {rest}) SELECT '0', {rest} FROM weight WHERE id = '1'")
    writes(wave, "UPDATE weight SET kg = 98 WHERE id = '0'")
    done = ends(cycle(wave))
    assert done["skipped"] == 1 and done["successful"] > 1 and entities_of(wave) == []
    weights = kilograms(wave)
    assert (reason(wave, "weight", "4"), weights["0"], len(weights)) == ("source-row-gone", 98, 30)
    assert cycle(wave) == Cycle() and not sweep_wave(wave, FREE).applied


def by_a_reader(wave: SyncedWave) -> tuple[SyncedWave, sa.Engine]:
    """The wave, whose legacy database is read by an account that may read each table, and see its triggers; and who
    grants that.
    """
    url = sa.make_url(wave.environment.settings.source_url)
    mariadb = url.get_backend_name() != "postgresql"
    root = sa.create_engine(url.set(username="root") if mariadb else url)
    with root.begin() as connection:
        made = "USER looker IDENTIFIED BY" if mariadb else "ROLE looker LOGIN PASSWORD"
        connection.exec_driver_sql(f"CREATE {made} 'pw'")
        for table in sa.inspect(connection).get_table_names():
            connection.exec_driver_sql(f"GRANT SELECT{', TRIGGER' if mariadb else ''} ON {table} TO looker")
    reader = url.set(username="looker", password="pw").render_as_string(hide_password=False)
    settings = replace(wave.environment.settings, source_url=reader, capture_url=wave.environment.settings.source_url)
    return SyncedWave(Environment(wave.environment.migration, settings), wave.id), root


def test_a_right_that_is_taken_away_is_noticed_while_nothing_changes(wave: SyncedWave) -> None:
    reading, root = by_a_reader(wave)
    assert cycle(reading) == Cycle() and refused_now(reading) == {}
    with root.begin() as connection:
        connection.exec_driver_sql("REVOKE SELECT ON weight FROM looker")
    assert cycle(reading) == Cycle()
    assert [one.entity for one in entities_of(reading)] == ["weight"]
    write_fence(reading, "t1")
    with pytest.raises(EntityUnreadable, match="weight"):
        cut_until(reading, "t1", lambda: None, Time())
    writes(wave, "UPDATE weight SET kg = 99 WHERE id = 0", "UPDATE patient SET family = 'Adair' WHERE id = 1")
    assert ends(cycle(reading)) == {"successful": 1} and families(wave.environment)["1"] == "Adair"
    with root.begin() as connection:
        connection.exec_driver_sql("GRANT SELECT ON weight TO looker")
    assert ends(cycle(reading))["successful"] > 1 and kilograms(wave)["0"] == 99
    assert cycle(reading) == Cycle() and entities_of(reading) == []
    for engine in (root, reading.environment.source, reading.environment.capture):
        engine.dispose()


def held_back_of_wave(wave: SyncedWave) -> list[HeldBack]:
    with wave.environment.manifest.begin() as connection:
        return held_back_of(connection, "tiny", wave.units)


def test_what_is_committed_arrives_whenever_it_was_and_nothing_else(wave: SyncedWave) -> None:
    engine = wave.environment.source
    with engine.connect() as late:
        late.exec_driver_sql("INSERT INTO patient VALUES (99, 'north', 1, 'Late', '1999-09-09', 'F', NULL)")
        with ThreadPoolExecutor(WRITERS) as pool:
            users = [pool.submit(work, engine, number) for number in range(WRITERS)]
            while not all(user.done() for user in users):
                cycle(wave)
            for user in users:
                user.result()
        cycle(wave)
        assert "99" not in families(wave.environment)
        assert (status_of(wave).oldest_transaction_seconds or 0) >= 0
        late.commit()
    assert cycle(wave).records == 1
    assert cycle(wave) == Cycle()
    assert families(wave.environment) == rows(wave)
    assert not sweep_wave(wave, FREE).applied
    assert {each.pending for each in status_of(wave).entities} == {0}
    assert prune(wave.environment, 1) == 0
    assert prune(wave.environment, 0) >= 0
