"""While a unit's gate is closed nobody writes what belongs to it, and nobody who writes is passed over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from demo_clinics.schema import METADATA
from medferry.definition.migration import load_migration
from medferry.source.changes.engines import execute, install, remove, to_install
from medferry.source.changes.rules import KeyOf
from medferry.source.entity import SourceEntity
from medferry.source.gate.engines import gate_of
from medferry.source.gate.gate import GATE, REFUSAL, Gate, GateBroken, GateMoved, GateState, UnitGate, WritersInFlight
from medferry.source.gate.passing import passed
from medferry.source.write_faults import WriteRefused
from medferry.source.write_transaction import writing_rows

UNITS = ("harbor", "hill", "shared")

GATED = {
    "visit": KeyOf.of("", "clinic"),
    "person": KeyOf.of("", "CASE WHEN {row}.clinics > 1 THEN 'shared' ELSE {row}.clinic END"),
    "note": KeyOf.of("", "SELECT v.clinic FROM visit v WHERE v.id = {row}.visit_id"),
}

_SCHEMA = """
CREATE TABLE visit (id INTEGER PRIMARY KEY, clinic VARCHAR(40), text VARCHAR(40));
CREATE TABLE person (id INTEGER PRIMARY KEY, clinic VARCHAR(40), clinics INTEGER);
CREATE TABLE note (id INTEGER PRIMARY KEY, visit_id INTEGER);
INSERT INTO visit VALUES (1, 'harbor', 'a'), (2, 'hill', 'b'), (3, NULL, 'c'), (4, 'elsewhere', 'd');
INSERT INTO person VALUES (1, 'harbor', 1), (2, 'harbor', 2);
INSERT INTO note VALUES (1, 1), (2, 2)
"""


OF_HARBOR = [
    "INSERT INTO visit VALUES (10, 'harbor', 'x')",
    "UPDATE visit SET text = 'x' WHERE id = 1",
    "UPDATE visit SET clinic = 'hill' WHERE id = 1",
    "UPDATE visit SET clinic = 'harbor' WHERE id = 2",
    "UPDATE visit SET text = 'x'",
    "DELETE FROM visit WHERE id = 1",
    "UPDATE person SET clinics = 3 WHERE id = 1",
    "INSERT INTO note VALUES (10, 1)",
    "DELETE FROM note WHERE id = 1",
]
OF_OTHERS = [
    "INSERT INTO visit VALUES (10, 'hill', 'x')",
    "UPDATE visit SET text = 'x' WHERE id > 1",
    "DELETE FROM visit WHERE id = 2",
    "UPDATE visit SET clinic = 'hill' WHERE id = 3",
    "INSERT INTO visit VALUES (10, 'nowhere', 'x')",
    "UPDATE person SET clinics = 3 WHERE id = 2",
    "INSERT INTO note VALUES (10, 2)",
    "INSERT INTO note VALUES (10, 99)",
]
OF_OTHER_ROWS = [
    "UPDATE visit SET text = 'x' WHERE id = 2",
    "UPDATE person SET clinics = 3 WHERE id = 2",
    "INSERT INTO note VALUES (10, 2)",
]
"""That touch no row which a transaction with the first of `OF_HARBOR` has locked."""


@pytest.fixture
def gate(engine: sa.Engine) -> Iterator[Gate]:
    """The clinic with its gates, all open; nothing of it is there afterwards."""
    _drop(engine)
    write(engine, *_SCHEMA.split(";"))
    gate = gate_of(engine, UNITS, GATED)
    install(engine, gate)
    yield gate
    remove(engine, gate)
    _drop(engine)


def _drop(engine: sa.Engine) -> None:
    write(engine, *(f"DROP TABLE IF EXISTS {table}" for table in (*GATED, GATE)))


def write(engine: sa.Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def refused(engine: sa.Engine, statement: str) -> bool:
    """Whether a gate refuses the statement; what it would have done is taken back."""
    with engine.connect() as connection:
        try:
            connection.exec_driver_sql(statement)
        except DBAPIError as error:
            assert REFUSAL in str(error.orig)
            return True
        return False


def expire(engine: sa.Engine, unit: str) -> None:
    """Let the time of a closed gate be over."""
    past = {"sqlite": "julianday('now') - 1"}.get(engine.dialect.name, "'2020-01-01 00:00:00'")
    write(engine, f"UPDATE {GATE} SET closed_until = {past} WHERE unit = '{unit}'")


def state(engine: sa.Engine, gate: Gate, unit: str = "harbor") -> tuple[GateState, int]:
    with engine.connect() as connection:
        found = gate.read(connection, unit)
    return found.state, found.epoch


def test_a_closed_gate_refuses_every_write_of_its_unit_and_no_other(engine: sa.Engine, gate: Gate) -> None:
    assert [one for one in OF_HARBOR + OF_OTHERS if refused(engine, one)] == []
    closed = gate.close(engine, "harbor", 0, seconds=600, patience=5)
    assert closed.state is GateState.CLOSED and closed.seconds_left is not None and 500 < closed.seconds_left < 601
    assert [one for one in OF_HARBOR if not refused(engine, one)] == []
    assert [one for one in OF_OTHERS if refused(engine, one)] == []
    gate.open(engine, "harbor", 0)
    gate.open(engine, "harbor", 0)
    assert [one for one in OF_HARBOR if refused(engine, one)] == []


def test_a_gate_whose_time_is_over_is_open_by_itself(engine: sa.Engine, gate: Gate) -> None:
    gate.close(engine, "harbor", 0, seconds=600, patience=5)
    expire(engine, "harbor")
    assert state(engine, gate) == (GateState.OPEN, 0)
    assert not refused(engine, OF_HARBOR[0])
    with pytest.raises(GateMoved, match="open at epoch 0"):
        gate.shut(engine, "harbor", 0)
    assert gate.close(engine, "harbor", 0, seconds=600, patience=5).state is GateState.CLOSED
    assert refused(engine, OF_HARBOR[0])


def test_what_is_shut_for_good_is_opened_by_a_way_back_alone(engine: sa.Engine, gate: Gate) -> None:
    gate.close(engine, "harbor", 0, seconds=600, patience=5)
    assert gate.shut(engine, "harbor", 0) == gate.shut(engine, "harbor", 0) == UnitGate("harbor", 1, GateState.SHUT)
    assert refused(engine, OF_HARBOR[0])
    for act in (gate.open, gate.reopen):
        with pytest.raises(GateMoved, match="shut at epoch 1"):
            act(engine, "harbor", 0)
    with pytest.raises(GateMoved):
        gate.open(engine, "harbor", 1)
    with pytest.raises(GateMoved):
        gate.close(engine, "harbor", 1, seconds=1, patience=1)
    assert gate.reopen(engine, "harbor", 1) == gate.reopen(engine, "harbor", 1) == UnitGate("harbor", 2, GateState.OPEN)
    assert not refused(engine, OF_HARBOR[0])
    assert state(engine, gate, "hill") == (GateState.OPEN, 0)


def test_an_act_of_another_epoch_changes_nothing(engine: sa.Engine, gate: Gate) -> None:
    with pytest.raises(GateMoved, match=r"epoch 0.*epoch 4"):
        gate.close(engine, "harbor", 4, seconds=600, patience=5)
    with pytest.raises(GateMoved):
        gate.shut(engine, "harbor", 0)
    with pytest.raises(GateBroken, match="no gate"):
        gate.close(engine, "nowhere", 0, seconds=600, patience=5)
    assert state(engine, gate) == (GateState.OPEN, 0)


@contextmanager
def closing(engine: sa.Engine, gate: Gate, patience: float = 60) -> Iterator[list[object]]:
    """Close harbor in a thread of its own; what it came to is in the list when the block has ended."""
    result: list[object] = []

    def close() -> None:
        try:
            result.append(gate.close(engine, "harbor", 0, seconds=600, patience=patience).state)
        except WritersInFlight as error:
            result.append(error)

    thread = threading.Thread(target=close)
    thread.start()
    yield result
    thread.join()


@pytest.fixture
def several(engine: sa.Engine) -> sa.Engine:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    return engine


def waits(engine: sa.Engine) -> None:
    """Return when a session waits for the gate's row."""
    waiting = {
        "postgresql": "pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%WITH gone%%'",
        "mysql": "information_schema.processlist WHERE info LIKE CONCAT('%%FOR', ' UPDATE%%')",
    }[engine.dialect.name.replace("mariadb", "mysql")]
    while True:
        with engine.connect() as connection:
            if connection.exec_driver_sql(f"SELECT count(*) FROM {waiting}").scalar():
                return


def test_closing_waits_for_the_writers_in_flight_and_for_them_alone(several: sa.Engine, gate: Gate) -> None:
    with several.connect() as in_flight:
        in_flight.exec_driver_sql(OF_HARBOR[0])
        with closing(several, gate) as closed:
            waits(several)
            assert closed == []
            assert [one for one in OF_OTHER_ROWS if refused(several, one)] == []
            if several.dialect.name == "postgresql":  # whoever comes later is not waited for
                assert refused(several, OF_HARBOR[1])
            in_flight.commit()
        assert closed == [GateState.CLOSED]
    assert refused(several, OF_HARBOR[1])
    with several.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM visit WHERE id = 10").scalar() == 1


def test_closing_gives_up_and_leaves_the_gate_open(several: sa.Engine, gate: Gate) -> None:
    with several.connect() as in_flight:
        in_flight.exec_driver_sql(OF_HARBOR[0])
        with pytest.raises(WritersInFlight):
            gate.close(several, "harbor", 0, seconds=600, patience=1)
        in_flight.exec_driver_sql("UPDATE visit SET text = 'more' WHERE id = 1")
        in_flight.commit()
    assert state(several, gate) == (GateState.OPEN, 0)
    assert not refused(several, OF_HARBOR[1])


@pytest.fixture
def two_phase(engine: sa.Engine) -> sa.Engine:
    if engine.dialect.name != "mariadb":
        pytest.skip("XA is MySQL's and MariaDB's; PostgreSQL's prepared transactions keep all of their locks")
    return engine


@contextmanager
def prepared(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A coordinator whose transaction with a write of harbor is prepared; what is left of it is taken back."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as coordinator:
        for statement in ("XA START 'x'", OF_HARBOR[0], "XA END 'x'", "XA PREPARE 'x'"):
            coordinator.exec_driver_sql(statement)
        try:
            yield coordinator
        finally:
            if coordinator.exec_driver_sql("XA RECOVER").all():
                coordinator.exec_driver_sql("XA ROLLBACK 'x'")


def test_closing_waits_for_a_prepared_transaction(two_phase: sa.Engine, gate: Gate) -> None:
    """At its preparation InnoDB gives the shared lock of the gate's row back."""
    with prepared(two_phase) as coordinator:
        with closing(two_phase, gate) as closed:
            while state(two_phase, gate) != (GateState.CLOSED, 0):
                assert closed == []
            assert refused(two_phase, OF_HARBOR[7])  # whoever comes later is not waited for
            assert closed == []
            coordinator.exec_driver_sql("XA COMMIT 'x'")
        assert closed == [GateState.CLOSED]
    with two_phase.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM visit WHERE id = 10").scalar() == 1


def test_closing_gives_up_on_a_prepared_transaction_and_leaves_the_gate_open(two_phase: sa.Engine, gate: Gate) -> None:
    with prepared(two_phase), pytest.raises(WritersInFlight, match="XA"):
        gate.close(two_phase, "harbor", 0, seconds=600, patience=1)
    assert state(two_phase, gate) == (GateState.OPEN, 0)
    assert not refused(two_phase, OF_HARBOR[1])


def test_closing_for_less_than_a_prepared_transaction_takes_is_told(two_phase: sa.Engine, gate: Gate) -> None:
    with prepared(two_phase) as coordinator, pytest.raises(WritersInFlight, match="time of harbor was over"):
        ending = threading.Timer(1.5, lambda: coordinator.exec_driver_sql("XA COMMIT 'x'"))
        ending.start()
        try:
            gate.close(two_phase, "harbor", 0, seconds=0.5, patience=60)
        finally:
            ending.join()


def test_an_account_that_may_not_see_prepared_transactions_closes_nothing(two_phase: sa.Engine, gate: Gate) -> None:
    root = sa.create_engine(two_phase.url.set(username="root"))
    blind = sa.create_engine(two_phase.url.set(username="blind"))
    write(root, f"CREATE USER blind IDENTIFIED BY '{two_phase.url.password}'", "GRANT ALL ON legacy.* TO blind")
    try:
        with blind.connect() as connection, pytest.raises(GateBroken, match="PROCESS"):
            gate.check(connection)
        with pytest.raises(GateBroken, match="PROCESS"):
            gate.close(blind, "harbor", 0, seconds=600, patience=1)
    finally:
        blind.dispose()
        write(root, "DROP USER blind")
        root.dispose()
    assert state(two_phase, gate) == (GateState.OPEN, 0)


@pytest.mark.parametrize("statement", OF_HARBOR)
def test_a_transaction_older_than_the_closing_is_refused(several: sa.Engine, gate: Gate, statement: str) -> None:
    with several.connect().execution_options(isolation_level="REPEATABLE READ") as old:
        old.exec_driver_sql("SELECT count(*) FROM visit").scalar()
        old.exec_driver_sql(f"SELECT count(*) FROM {GATE}").scalar()
        gate.close(several, "harbor", 0, seconds=600, patience=5)
        with pytest.raises(DBAPIError) as error:
            old.exec_driver_sql(statement)
        assert REFUSAL in str(error.value.orig) or getattr(error.value.orig, "sqlstate", "") == "40001"


def test_a_transaction_older_than_the_shutting_is_refused(several: sa.Engine, gate: Gate) -> None:
    """It still sees the closed gate, and that its time is over."""
    gate.close(several, "harbor", 0, seconds=1.5, patience=5)
    with several.connect().execution_options(isolation_level="REPEATABLE READ") as old:
        old.exec_driver_sql(f"SELECT count(*) FROM {GATE}").scalar()
        gate.shut(several, "harbor", 0)
        old.exec_driver_sql("SELECT pg_sleep(1.6)" if several.dialect.name == "postgresql" else "SELECT sleep(1.6)")
        with pytest.raises(DBAPIError) as error:
            old.exec_driver_sql(OF_HARBOR[0])
        assert REFUSAL in str(error.value.orig) or getattr(error.value.orig, "sqlstate", "") == "40001"


def test_a_writer_that_came_when_the_time_was_over_is_never_shut_in(several: sa.Engine, gate: Gate) -> None:
    gate.close(several, "harbor", 0, seconds=600, patience=5)
    expire(several, "harbor")
    result: list[object] = []

    def shut() -> None:
        with pytest.raises(GateMoved) as error:
            gate.shut(several, "harbor", 0)
        result.append(error.value)

    with several.connect() as in_flight:
        in_flight.exec_driver_sql(OF_HARBOR[0])
        thread = threading.Thread(target=shut)
        thread.start()
        waits(several)
        assert result == []
        in_flight.commit()
        thread.join()
    assert len(result) == 1 and state(several, gate) == (GateState.OPEN, 0)


def test_what_is_not_as_it_must_be_is_found_and_mended(engine: sa.Engine, gate: Gate) -> None:
    with engine.connect() as connection:
        gate.check(connection)
        name = gate.found(connection)[0].drop[0]
    execute(engine, gate, [name, f"DELETE FROM {GATE} WHERE unit = 'hill'"])
    with engine.connect() as connection, pytest.raises(GateBroken, match=r"2 fault.*hill has no gate; the trigger"):
        gate.check(connection)
    assert install(engine, gate) and to_install(engine, gate) == []


def test_a_gate_that_is_moved_keeps_its_state_when_installed_again(engine: sa.Engine, gate: Gate) -> None:
    gate.close(engine, "harbor", 0, seconds=600, patience=5)
    gate.shut(engine, "harbor", 0)
    with engine.connect() as connection:
        name = gate.found(connection)[0].drop[0]
    execute(engine, gate, [name])
    install(engine, gate)
    assert state(engine, gate) == (GateState.SHUT, 1)


def test_a_switched_off_trigger_is_found(engine: sa.Engine, gate: Gate) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("triggers cannot be switched off there")
    write(engine, "ALTER TABLE visit DISABLE TRIGGER medferry_gate")
    with engine.connect() as connection, pytest.raises(GateBroken, match="switched off"):
        gate.check(connection)
    install(engine, gate)
    with engine.connect() as connection:
        gate.check(connection)


def test_truncate_is_a_write_of_every_unit(engine: sa.Engine, gate: Gate) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("TRUNCATE fires no trigger there")
    assert not refused(engine, "TRUNCATE visit")
    gate.close(engine, "hill", 0, seconds=600, patience=5)
    assert refused(engine, "TRUNCATE visit")


def test_removing_leaves_nothing(engine: sa.Engine, gate: Gate) -> None:
    remove(engine, gate)
    with engine.connect() as connection:
        assert GATE not in sa.inspect(connection).get_table_names()
        assert gate.found(connection) == []
    assert not refused(engine, OF_HARBOR[0])


def test_the_demo_s_tables_ask_the_gates(engine: sa.Engine) -> None:
    migration = load_migration("clinics")
    assert migration.gate is not None
    gate = gate_of(engine, migration.plan.unit_ids, migration.gate.gated())
    tables = METADATA.tables
    METADATA.create_all(engine)
    try:
        with engine.begin() as connection:
            for clinic in ("harbor", "hillside"):
                connection.execute(_row(tables["clinics"], clinic_id=clinic))
            for patient, homes in ((1, ("harbor",)), (2, ("harbor", "hillside")), (3, ())):
                connection.execute(_row(tables["patients"], patient_id=patient, home_clinic_id="harbor"))
                for home in homes:
                    number = 10 * patient + len(home)
                    values = {"registration_id": number, "patient_id": patient, "clinic_id": home}
                    connection.execute(_row(tables["clinic_registrations"], **values))
                connection.execute(_row(tables["patient_phones"], phone_id=patient, patient_id=patient))
        install(engine, gate)
        gate.close(engine, "harbor", 0, seconds=600, patience=5)
        phones = [refused(engine, f"UPDATE patient_phones SET number = '1' WHERE patient_id = {n}") for n in (1, 2, 3)]
        names = [refused(engine, f"UPDATE patients SET family_name = 'x' WHERE patient_id = {n}") for n in (1, 2, 3)]
        assert phones == names == [True, False, True]
        assert not refused(engine, "UPDATE clinics SET name = 'x'")
        remove(engine, gate)
    finally:
        METADATA.drop_all(engine)


def _row(table: sa.Table, **values: object) -> sa.Insert:
    """A row with something in each column that must have a value."""
    filled: dict[str, object] = {}
    for column in table.columns:
        if not column.nullable and column.name not in values:
            python = column.type.python_type
            filled[column.name] = datetime(2026, 1, 1) if python is datetime else python(1)  # noqa: DTZ001
    return sa.insert(table).values({**filled, **values})


def test_what_is_written_back_goes_through_gates_that_nobody_sees_open(engine: sa.Engine, gate: Gate) -> None:
    gate.close(engine, "harbor", 0, seconds=600, patience=5)
    gate.shut(engine, "harbor", 0)
    with engine.connect() as connection:
        with passed(connection, ["harbor", "hill"]):
            connection.exec_driver_sql(OF_HARBOR[1])
        connection.commit()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT text FROM visit WHERE id = 1").scalar_one() == "x"
    assert (state(engine, gate), state(engine, gate, "hill")) == ((GateState.SHUT, 1), (GateState.OPEN, 0))
    assert refused(engine, OF_HARBOR[0])
    with engine.connect() as connection, pytest.raises(ZeroDivisionError), passed(connection, ["harbor"]):
        raise ZeroDivisionError
    assert state(engine, gate) == (GateState.SHUT, 1)
    with engine.connect() as connection:  # none of them is closed, and none becomes so
        with passed(connection, ["hill"]):
            connection.exec_driver_sql(OF_OTHERS[1])
        connection.commit()
    assert state(engine, gate, "hill") == (GateState.OPEN, 0)


def test_a_transaction_that_writes_back_leaves_the_gates_closed(engine: sa.Engine, gate: Gate) -> None:
    """It commits with them closed again, and one that is refused has never opened them."""
    gate.close(engine, "harbor", 0, seconds=600, patience=5)
    gate.shut(engine, "harbor", 0)
    visits = SourceEntity("visit", Path("visit.sql"), ("id",), "clinic", None, "Visits", "SELECT * FROM visit", {})
    with writing_rows(engine, visits, ["harbor"]) as (connection, _):
        connection.exec_driver_sql(OF_HARBOR[1])
    with pytest.raises(WriteRefused), writing_rows(engine, visits, ["harbor"]):
        raise WriteRefused("Another value would be kept.", "Correct it.")
    engine.dispose()  # its sessions wait for nobody from now on
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT text FROM visit WHERE id = 1").scalar_one() == "x"
    assert state(engine, gate) == (GateState.SHUT, 1) and refused(engine, OF_HARBOR[0])


def test_while_one_goes_through_another_is_refused(engine: sa.Engine, gate: Gate) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("one writer at a time")
    gate.close(engine, "harbor", 0, seconds=600, patience=5)
    gate.shut(engine, "harbor", 0)
    found: list[bool] = []
    with engine.connect() as connection:
        with passed(connection, ["harbor"]):
            connection.exec_driver_sql(OF_HARBOR[1])
            other = threading.Thread(target=lambda: found.append(refused(engine, OF_HARBOR[0])))
            other.start()
            other.join(0.5)  # it is refused, or waits
        connection.commit()
    other.join(20)
    assert found == [True]
