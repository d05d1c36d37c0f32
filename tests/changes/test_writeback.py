"""Changed columns reach the legacy row whole or not at all, and only the row that they were made from."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from medferry.source import writeback
from medferry.source.database import connect_engine, snapshot
from medferry.source.entity import SourceEntity
from medferry.source.legacy_table import LegacyTable, legacy_table
from medferry.source.lookup import row_of_key
from medferry.source.write_faults import RowConflict, WriterBlocked, WriteRefused
from medferry.source.write_transaction import waits_for_nobody, writing_rows
from medferry.source.writeback import lock_rows, remove_row, write_rows

SCHEMA = (
    "CREATE TABLE wb_person (id INTEGER PRIMARY KEY, unit VARCHAR(10), name VARCHAR(10) NOT NULL, born DATE, "
    "weight DECIMAL(6, 2), updated_at TIMESTAMP NULL)",
    "CREATE TABLE wb_phone (person_id INTEGER, kind VARCHAR(2), number VARCHAR(20) NOT NULL, gone_at TIMESTAMP NULL)",
)
SQL = (
    "SELECT p.id, p.unit, p.name, p.born, p.weight, p.updated_at, h.number AS phone FROM wb_person p "
    "LEFT JOIN wb_phone h ON h.person_id = p.id AND h.kind = 'H' AND h.gone_at IS NULL"
)
ENTITY = SourceEntity("person", Path("person.sql"), ("id",), "unit", "updated_at", "People", SQL, {})
TABLES = (
    legacy_table("wb_person", key="id", columns=("name", "born", "weight"), touched="updated_at"),
    legacy_table(
        "wb_phone", key={"person_id": "id"}, columns={"phone": "number"}, only={"kind": "H", "gone_at": None},
        optional=True, removed="gone_at",
    ),
)  # fmt: skip


@pytest.fixture
def legacy(engine: sa.Engine) -> Iterator[sa.Engine]:
    with engine.begin() as connection:
        for statement in SCHEMA:
            connection.exec_driver_sql(statement)
        for number in (1, 2):
            connection.exec_driver_sql(
                f"INSERT INTO wb_person VALUES ({number}, 'u', 'Ann', '1970-01-02', 70.5, '2020-01-01 00:00:00')"
            )
    yield engine
    with engine.begin() as connection:
        for table in ("wb_person", "wb_phone"):
            connection.exec_driver_sql(f"DROP TABLE {table}")


def row(engine: sa.Engine, key: str = "1") -> dict[str, Any]:
    with snapshot(engine) as connection:
        found = row_of_key(connection, ENTITY, key)
    assert found is not None
    return found


def write(engine: sa.Engine, **changes: Any) -> dict[str, Any]:
    return write_rows(engine, ENTITY, TABLES, [(row(engine), changes)])[0]


def without_time(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "updated_at"}


def test_only_the_changed_columns_are_written_and_read_back(legacy: sa.Engine) -> None:
    before, other = row(legacy), row(legacy, "2")
    written = write(legacy, name="Bea", weight=71.25, born="1971-03-04")
    assert written == row(legacy)
    assert (written["name"], float(written["weight"]), written["born"]) == ("Bea", 71.25, "1971-03-04")
    assert written["updated_at"] > before["updated_at"]
    assert row(legacy, "2") == other
    assert write(legacy, born=None)["born"] is None


def test_an_optional_row_comes_with_its_first_value_and_goes_with_its_last(legacy: sa.Engine) -> None:
    assert write(legacy, phone="555")["phone"] == "555"
    assert write(legacy, phone="556")["phone"] == "556"
    assert write(legacy, phone=None)["phone"] is None
    assert write(legacy, phone="557")["phone"] == "557"
    with legacy.connect() as connection:
        numbers = connection.execute(sa.text("SELECT number, gone_at FROM wb_phone ORDER BY number")).all()
    assert [(number, gone is None) for number, gone in numbers] == [("556", False), ("557", True)]


def test_a_row_that_somebody_changed_or_deleted_is_left_alone(legacy: sa.Engine) -> None:
    base = row(legacy)
    for statement, told in (
        ("UPDATE wb_person SET weight = 71 WHERE id = 1", "changed by somebody else"),
        ("DELETE FROM wb_person WHERE id = 1", "is gone"),
    ):
        with legacy.begin() as connection:
            connection.exec_driver_sql(statement)
        with pytest.raises(RowConflict, match=told):
            write_rows(legacy, ENTITY, TABLES, [(base, {"name": "Bea"})])


def test_a_row_goes_with_what_hangs_on_it_or_is_marked(legacy: sa.Engine) -> None:
    write(legacy, phone="555")
    base = row(legacy)
    with legacy.begin() as connection:
        connection.exec_driver_sql("UPDATE wb_person SET weight = 71 WHERE id = 1")
    with pytest.raises(RowConflict):
        remove_row(legacy, ENTITY, TABLES, base, mark=False)
    remove_row(legacy, ENTITY, TABLES, row(legacy), mark=False)
    with pytest.raises(RowConflict, match="is gone"):
        remove_row(legacy, ENTITY, TABLES, base, mark=False)
    with legacy.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM wb_phone")) == 0
    shown = row(legacy, "2")
    with pytest.raises(WriteRefused, match="still be read as it was"):
        own = replace(TABLES[0], touched=None, removed="removed_at")
        with legacy.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE wb_person ADD COLUMN removed_at TIMESTAMP NULL")
        remove_row(legacy, ENTITY, (own,), shown, mark=True)
    assert row(legacy, "2") == shown
    living = replace(ENTITY, sql=f"{SQL} WHERE p.removed_at IS NULL")
    remove_row(legacy, living, (own,), shown, mark=True)
    with snapshot(legacy) as connection:
        assert row_of_key(connection, living, "2") is None and row_of_key(connection, ENTITY, "2") is not None


@pytest.mark.parametrize(
    ("changes", "told"), [({"name": None}, "no room"), ({"weight": 1.234}, "another value|no room")]
)
def test_what_does_not_fit_is_refused_whole(legacy: sa.Engine, changes: dict[str, Any], told: str) -> None:
    if legacy.dialect.name == "sqlite" and "weight" in changes:
        pytest.skip("SQLite keeps any number of digits")
    before = row(legacy)
    with pytest.raises(WriteRefused, match=told) as refused:
        write(legacy, phone="555", **changes)
    assert "555" not in str(refused.value)
    assert row(legacy) == before


def test_a_text_is_no_number_that_has_its_digits(legacy: sa.Engine) -> None:
    """A telephone number in a column of numbers would lose its zero, and the user's own would then be made alike."""
    assert write(legacy, weight="71.25")["weight"] in ("71.25", 71.25)
    before = row(legacy)
    with pytest.raises(WriteRefused, match="another value in weight"):
        write(legacy, weight="071.25")
    assert row(legacy) == before


def test_a_row_that_the_inverse_does_not_find_is_refused_and_not_tried_for_ever(legacy: sa.Engine) -> None:
    wrong, base = (legacy_table("wb_person", key={"id": "born"}, columns=("name",)),), row(legacy)
    if legacy.dialect.name == "postgresql":  # which compares no number with a date
        wrong = (legacy_table("wb_person", key={"name": "unit"}, columns=("born",)),)
    for act in (lambda: write_rows(legacy, ENTITY, wrong, [(base, {"name": "Bea"})]),
                lambda: remove_row(legacy, ENTITY, wrong, base, mark=False)):  # fmt: skip
        with pytest.raises(WriteRefused, match="has 0 rows by the key"):
            act()
    assert row(legacy) == base


def test_a_key_of_bytes_finds_its_row(engine: sa.Engine) -> None:
    """As applications keep a UUID in MySQL."""
    kind, value = {
        "sqlite": ("BLOB", "x'00112233445566778899AABBCCDDEEFF'"),
        "postgresql": ("BYTEA", "'\\x00112233445566778899AABBCCDDEEFF'::bytea"),
    }.get(engine.dialect.name, ("BINARY(16)", "0x00112233445566778899AABBCCDDEEFF"))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE wb_bytes (id {kind}, unit VARCHAR(10), name VARCHAR(10))")
        connection.exec_driver_sql(f"CREATE TABLE wb_words (person_id {kind}, words VARCHAR(10))")
        connection.exec_driver_sql(f"INSERT INTO wb_bytes VALUES ({value}, 'u', 'Ann')")
    sql = "SELECT b.id, b.unit, b.name, w.words FROM wb_bytes b LEFT JOIN wb_words w ON w.person_id = b.id"
    entity = replace(ENTITY, changed=None, sql=sql)
    tables = (
        legacy_table("wb_bytes", key="id", columns=("name",)),
        legacy_table("wb_words", key={"person_id": "id"}, columns=("words",), optional=True),
    )
    try:
        with snapshot(engine) as connection:
            base = row_of_key(connection, entity, "ABEiM0RVZneImaq7zN3u/w==")
        assert base is not None
        written = write_rows(engine, entity, tables, [(base, {"name": "Bea", "words": "few"})])[0]
        assert written == {**base, "name": "Bea", "words": "few"}
        remove_row(engine, entity, tables, written, mark=False)
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM wb_bytes")) == 0
    finally:
        with engine.begin() as connection:
            for table in ("wb_bytes", "wb_words"):
                connection.exec_driver_sql(f"DROP TABLE {table}")


def test_another_schema_is_named(legacy: sa.Engine) -> None:
    wrong = (legacy_table("wb_person", key="id", columns={"name": "nom"}),)
    with pytest.raises(WriteRefused, match="another schema"):
        write_rows(legacy, ENTITY, wrong, [(row(legacy), {"name": "Bea"})])


def test_a_writer_that_dies_before_its_commit_leaves_nothing(
    legacy: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def dying(*_: Any) -> None:
        raise Killed

    before = row(legacy)
    monkeypatch.setattr("medferry.source.writeback._compare", dying)
    with pytest.raises(Killed):
        write(legacy, name="Bea", phone="555")
    assert row(legacy) == before
    monkeypatch.undo()
    assert write(legacy, name="Bea", phone="555")["phone"] == "555"


def test_a_session_that_writes_dates_in_another_way_changes_nothing(legacy: sa.Engine) -> None:
    if legacy.dialect.name != "postgresql":
        pytest.skip("of PostgreSQL")
    with legacy.connect() as connection:  # the pool gives the next one this very session
        connection.exec_driver_sql("SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Tokyo'")
        connection.commit()
    try:
        before = row(legacy)
        assert write(legacy, name="Bea")["updated_at"] > before["updated_at"]
    finally:
        legacy.dispose()


def test_the_row_is_locked_while_it_is_written(legacy: sa.Engine) -> None:
    """A second writer would wait: the lock is asked for with NOWAIT here, so nothing depends on time."""
    if legacy.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    with writing_rows(legacy, ENTITY) as (connection, _):
        assert lock_rows(connection, TABLES[0], [row(legacy)]) == [1]
        with legacy.connect() as other, pytest.raises(sa.exc.OperationalError):
            other.exec_driver_sql("SELECT id FROM wb_person WHERE id = 1 FOR UPDATE NOWAIT")


def test_a_row_that_a_user_holds_is_left_to_the_next_cycle(legacy: sa.Engine) -> None:
    """An open form must not hold up what goes to other rows, and says nothing about the value."""
    base, given = row(legacy), {"timeout": 0.01} if legacy.dialect.name == "sqlite" else {}
    writer = connect_engine(legacy.url.render_as_string(hide_password=False), given)
    try:
        with legacy.connect() as user:
            user.exec_driver_sql("UPDATE wb_person SET weight = 71 WHERE id = 1")
            with pytest.raises(RowConflict, match="holds person locked"):
                write_rows(writer, ENTITY, TABLES, [(base, {"name": "Bea"})])
            if legacy.dialect.name != "sqlite":
                assert write_rows(writer, ENTITY, TABLES, [(row(legacy, "2"), {"name": "Bea"})])[0]["name"] == "Bea"
        assert row(legacy) == base
        assert write_rows(writer, ENTITY, TABLES, [(base, {"name": "Bea"})])[0]["name"] == "Bea"
    finally:
        writer.dispose()


def test_several_rows_are_written_together_each_with_its_own_changes(legacy: sa.Engine) -> None:
    edits = [(row(legacy), {"name": "Bea", "phone": "555"}), (row(legacy, "2"), {"weight": 71.25})]
    first, second = write_rows(legacy, ENTITY, TABLES, edits)
    assert (first, second) == (row(legacy), row(legacy, "2"))
    assert (first["name"], first["phone"], float(first["weight"])) == ("Bea", "555", 70.5)
    assert (second["name"], second["phone"], float(second["weight"])) == ("Ann", None, 71.25)
    backwards = [(second, {"phone": "556"}), (first, {"phone": None})]
    assert [each["phone"] for each in write_rows(legacy, ENTITY, TABLES, backwards)] == ["556", None]


@pytest.mark.parametrize(
    ("statement", "changes", "kind"),
    [
        ("UPDATE wb_person SET weight = 71 WHERE id = 2", {"name": "Bea"}, RowConflict),
        ("DELETE FROM wb_person WHERE id = 2", {"name": "Bea"}, RowConflict),
        ("UPDATE wb_person SET weight = 70.5 WHERE id = 2", {"name": None}, WriteRefused),
        ("INSERT INTO wb_phone VALUES (2, 'H', '1', NULL), (2, 'H', '2', NULL)", {"phone": "3"}, WriteRefused),
    ],
    ids=["changed", "gone", "refused", "two rows of a key"],
)
def test_of_several_rows_all_are_written_or_none(
    legacy: sa.Engine, statement: str, changes: dict[str, Any], kind: type[Exception]
) -> None:
    edits = [(row(legacy), {"name": "Cat", "phone": "555"}), (row(legacy, "2"), changes)]
    with legacy.begin() as connection:
        connection.exec_driver_sql(statement)
    before = row(legacy)
    for some in (edits, edits[::-1]):
        with pytest.raises(kind):
            write_rows(legacy, ENTITY, TABLES, some)
        assert row(legacy) == before
    assert write_rows(legacy, ENTITY, TABLES, edits[:1])[0]["name"] == "Cat"


SHARED = (
    "CREATE TABLE wb_visit (id INTEGER PRIMARY KEY, room VARCHAR(10))",
    "CREATE TABLE wb_weight (id INTEGER PRIMARY KEY, unit VARCHAR(10), kg INTEGER, visit INTEGER)",
    "INSERT INTO wb_visit VALUES (7, 'A'), (8, 'B')",
    "INSERT INTO wb_weight VALUES (1, 'u', 70, 7), (2, 'v', 71, 7), (3, 'u', 72, NULL)",
)
WEIGHT = SourceEntity(
    "weight", Path("w.sql"), ("id",), "unit", None, "W",
    "SELECT w.id, w.unit, w.kg, w.visit, v.room FROM wb_weight w LEFT JOIN wb_visit v ON v.id = w.visit", {},
)  # fmt: skip
OF_WEIGHT = (
    legacy_table("wb_weight", key="id", columns=("kg",)),
    legacy_table("wb_visit", key={"id": "visit"}, columns=("room",)),
)


@contextmanager
def made(engine: sa.Engine, *statements: str) -> Iterator[None]:
    """The tables of some statements, for as long as the block."""
    try:
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        yield
    finally:
        with engine.begin() as connection:
            for statement in statements:
                if statement.startswith("CREATE"):
                    connection.exec_driver_sql(f"DROP TABLE IF EXISTS {statement.split()[2]}")


def remove(engine: sa.Engine, entity: SourceEntity, tables: Sequence[LegacyTable], key: str) -> None:
    with snapshot(engine) as connection:
        base = row_of_key(connection, entity, key)
    assert base is not None
    remove_row(engine, entity, tables, base, mark=False)


def left(engine: sa.Engine, statement: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.scalars(sa.text(statement)))


def test_what_other_rows_read_as_well_stays_until_the_last_of_them_goes(engine: sa.Engine) -> None:
    """Several weights of one visit: no foreign key says so."""
    with made(engine, *SHARED):
        for key, visits in (("3", [7, 8]), ("1", [7, 8]), ("2", [8])):
            remove(engine, WEIGHT, OF_WEIGHT, key)
            assert left(engine, "SELECT id FROM wb_visit ORDER BY id") == visits
        assert left(engine, "SELECT id FROM wb_weight") == []


def test_a_row_that_makes_several_records_goes_with_none_of_them(engine: sa.Engine) -> None:
    entity = replace(WEIGHT, key=("visit", "id"), sql=f"{WEIGHT.sql} WHERE v.id IS NOT NULL")
    own = replace(OF_WEIGHT[1], removed="gone_at")
    with made(engine, *SHARED, "ALTER TABLE wb_visit ADD COLUMN gone_at TIMESTAMP NULL"):
        with snapshot(engine) as connection:
            base = row_of_key(connection, entity, "7/1")
        assert base is not None
        for mark in (False, True):
            with pytest.raises(WriteRefused, match="makes other rows of weight"):
                remove_row(engine, entity, (own,), base, mark)
        assert left(engine, "SELECT count(*) FROM wb_visit WHERE gone_at IS NULL") == [2]


def test_a_row_of_a_key_that_only_looks_alike_is_not_taken_along(engine: sa.Engine) -> None:
    """The key is compared exactly, and the column that refers to it by letters alone."""
    if engine.dialect.name == "postgresql":
        pytest.skip("it compares every text exactly, unless an expert has made a collation")
    exact, loose = {
        "sqlite": ("VARCHAR(9)", "VARCHAR(9) COLLATE NOCASE"),
        "mariadb": (
            "VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            "VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
        ),
    }[engine.dialect.name]
    make = (
        f"CREATE TABLE wb_name (id {exact} PRIMARY KEY, unit VARCHAR(10), name VARCHAR(10))",
        f"CREATE TABLE wb_call (name_id {loose}, number VARCHAR(10))",
        "INSERT INTO wb_name VALUES ('ab', 'u', 'Ann'), ('AB', 'u', 'Bea'), ('cd', 'u', 'Cid'), ('ef', 'u', 'Eve')",
        "INSERT INTO wb_name VALUES ('EF', 'u', 'Fay')",
        "INSERT INTO wb_call VALUES ('AB', '1'), ('CD', '2'), ('ef', '3'), ('EF', '4')",
    )
    sql = "SELECT n.id, n.unit, n.name, c.number FROM wb_name n LEFT JOIN wb_call c ON n.id = c.name_id"
    entity = SourceEntity("name", Path("n.sql"), ("id",), "unit", None, "N", sql, {})
    tables = (
        legacy_table("wb_name", key="id", columns=("name",)),
        legacy_table("wb_call", key={"name_id": "id"}, columns=("number",), optional=True),
    )
    with made(engine, *make):
        remove(engine, entity, tables, "ab")
        for key, told in (("cd", "does not read by that key"), ("ef", "does not tell apart")):
            with pytest.raises(WriteRefused, match=told):
                remove(engine, entity, tables, key)
        assert left(engine, "SELECT number FROM wb_call ORDER BY number") == ["1", "2", "3", "4"]
        assert left(engine, "SELECT name FROM wb_name ORDER BY name") == ["Bea", "Cid", "Eve", "Fay"]
        remove(engine, entity, tables, "AB")
        assert left(engine, "SELECT number FROM wb_call ORDER BY number") == ["2", "3", "4"]


WB_DOCTOR = (
    "CREATE TABLE wb_doctor (id INTEGER PRIMARY KEY, name VARCHAR(10))",
    "INSERT INTO wb_doctor VALUES (1, 'Ono')",
    "CREATE TABLE wb_visit (id INTEGER PRIMARY KEY, unit VARCHAR(10), doctor INTEGER, words VARCHAR(10), "
    "FOREIGN KEY (doctor) REFERENCES wb_doctor (id))",
    "INSERT INTO wb_visit VALUES (1, 'u', NULL, 'a'), (2, 'u', NULL, 'b')",
    "CREATE TABLE wb_seen (visit INTEGER PRIMARY KEY, note VARCHAR(10))",
    "INSERT INTO wb_seen VALUES (1, 'c'), (2, 'd')",
)
VISIT = SourceEntity(
    "visit", Path("v.sql"), ("id",), "unit", None, "V",
    "SELECT v.id, v.unit, v.doctor, v.words, s.note, d.name FROM wb_visit v JOIN wb_seen s ON s.visit = v.id "
    "LEFT JOIN wb_doctor d ON d.id = v.doctor", {},
)  # fmt: skip
VISITS = (
    legacy_table("wb_visit", key="id", columns=("doctor", "words")),
    legacy_table("wb_seen", key={"visit": "id"}, columns=("note",)),
)


@pytest.fixture
def visits(engine: sa.Engine) -> Iterator[sa.Engine]:
    """Who waits for a user whose form is open for the whole test waits for ever: so it is by the servers' defaults."""
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    with engine.begin() as connection:
        for statement in WB_DOCTOR:
            connection.exec_driver_sql(statement)
    try:
        yield engine
    finally:
        with engine.begin() as connection:
            for table in ("wb_seen", "wb_visit", "wb_doctor"):
                connection.exec_driver_sql(f"DROP TABLE {table}")


def visit(engine: sa.Engine, key: str) -> dict[str, Any]:
    with snapshot(engine) as connection:
        found = row_of_key(connection, VISIT, key)
    assert found is not None
    return found


@pytest.mark.parametrize("keys", [("1",), ("1", "2"), ("2", "1")], ids=" ".join)
@pytest.mark.parametrize(
    ("held", "changes"),
    [
        ("UPDATE wb_visit SET words = 'x' WHERE id = 1", {"words": "y"}),
        ("UPDATE wb_seen SET note = 'x' WHERE visit = 1", {"words": "y"}),
        ("DELETE FROM wb_doctor WHERE id = 1", {"doctor": 1}),
    ],
    ids=["the row", "another table's row", "what a foreign key refers to"],
)
def test_what_somebody_else_holds_is_not_waited_for(
    visits: sa.Engine, held: str, changes: dict[str, Any], keys: tuple[str, ...]
) -> None:
    """The user may want a row that is held in turn, and MariaDB would end the user's transaction."""
    edits = [(visit(visits, key), changes if key == "1" else {"words": "z"}) for key in keys]
    with visits.connect() as user:
        user.exec_driver_sql(held)
        with pytest.raises(RowConflict, match="holds visit locked"):
            write_rows(visits, VISIT, VISITS, edits)
        user.exec_driver_sql("UPDATE wb_visit SET words = 'mine' WHERE id = 1")
        user.rollback()
    assert [row["words"] for row in write_rows(visits, VISIT, VISITS, [(visit(visits, "2"), {"words": "z"})])] == ["z"]


def test_where_a_lock_is_waited_for_in_any_case_rows_are_written_one_by_one(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.connect():
        assert waits_for_nobody(engine)
    if engine.dialect.name in ("mysql", "mariadb"):
        for name, value in (("is_mariadb", False), ("server_version_info", (10, 2, 44))):
            with monkeypatch.context() as patched:
                patched.setattr(engine.dialect, name, value)
                assert not waits_for_nobody(engine)


def test_a_table_that_somebody_has_locked_is_not_waited_for(visits: sa.Engine) -> None:
    """A vendor changes it: by MariaDB's own patience a transaction would hold its rows for a day."""
    mine = visits.dialect.name == "postgresql"
    edits = [(visit(visits, key), {"words": "z"}) for key in ("1", "2")]
    with visits.connect() as vendor:
        vendor.exec_driver_sql("LOCK TABLE wb_seen" if mine else "LOCK TABLES wb_seen WRITE")
        try:
            for some in (edits, edits[:1]):
                with pytest.raises(RowConflict, match="holds visit locked"):
                    write_rows(visits, VISIT, VISITS, some)
        finally:
            vendor.exec_driver_sql("COMMIT" if mine else "UNLOCK TABLES")


def test_the_next_number_of_a_journal_is_not_waited_for_and_is_no_refusal(visits: sa.Engine) -> None:
    """MariaDB's INSERT … SELECT holds the table's numbers until it ends, and so do the journal's triggers."""
    if visits.dialect.name == "postgresql":
        pytest.skip("of MariaDB")
    base, began = visit(visits, "1"), threading.Event()
    with visits.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE wb_log (id INTEGER AUTO_INCREMENT PRIMARY KEY, visit INTEGER)")
        connection.exec_driver_sql(
            "CREATE TRIGGER wb_logged AFTER UPDATE ON wb_visit FOR EACH ROW "
            "INSERT INTO wb_log (visit) SELECT v.id FROM (SELECT NEW.id AS id) v"
        )

    def insert_slowly() -> None:
        with visits.begin() as user:
            began.set()
            user.exec_driver_sql("INSERT INTO wb_log (visit) SELECT seq + 0 * SLEEP(1) FROM seq_1_to_5")

    slow = threading.Thread(target=insert_slowly)
    try:
        slow.start()
        began.wait()
        with pytest.raises(RowConflict):
            while slow.is_alive():  # until it has begun to insert
                [base] = write_rows(visits, VISIT, VISITS, [(base, {"words": f"{base['words'][:8]}+"})])
    finally:
        slow.join()
        with visits.begin() as connection:
            connection.exec_driver_sql("DROP TRIGGER wb_logged")
            connection.exec_driver_sql("DROP TABLE wb_log")


def test_who_reads_next_in_the_same_session_is_as_patient_as_ever(visits: sa.Engine) -> None:
    if visits.dialect.name == "postgresql":
        pytest.skip("there it is the transaction's own")
    names = ("innodb_lock_wait_timeout", "lock_wait_timeout")
    writer = connect_engine(visits.url.render_as_string(hide_password=False))
    try:
        write_rows(writer, VISIT, VISITS, [(visit(visits, "1"), {"words": "z"})])
        with snapshot(writer) as connection:
            for name in names:
                found, usual = connection.exec_driver_sql(f"SELECT @@{name}, @@GLOBAL.{name}").one()
                assert found == usual > 1
    finally:
        writer.dispose()


def test_a_reader_of_sqlite_is_not_waited_for_while_nobody_else_may_read(engine: sa.Engine, tmp_path: Path) -> None:
    """A report that is open keeps a COMMIT from ending, and that keeps all others from reading."""
    if engine.dialect.name != "sqlite":
        pytest.skip("of SQLite")
    legacy = connect_engine(f"sqlite:///{tmp_path}/read.db", {"timeout": 30})
    with legacy.begin() as connection:
        for statement in (
            *SCHEMA,
            "INSERT INTO wb_person VALUES (1, 'u', 'Ann', NULL, NULL, NULL), (2, 'u', 'Bo', 0, 0, 0)",
        ):
            connection.exec_driver_sql(statement)
    base = row(legacy)
    with sqlite3.connect(f"{tmp_path}/read.db") as report:
        reading = report.execute("SELECT id FROM wb_person")
        assert reading.fetchone() == (1,)
        with pytest.raises(RowConflict):
            write_rows(legacy, ENTITY, TABLES, [(base, {"name": "Bea"})])
        reading.close()
    assert write_rows(legacy, ENTITY, TABLES, [(base, {"name": "Bea"})])[0]["name"] == "Bea"
    with legacy.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
    legacy.dispose()


@pytest.mark.parametrize("changes", [({"city": "Salem"}, {"city": "Boston"}), ({"city": "Salem"}, {"city": "Salem"})])
@pytest.mark.parametrize("there", [False, True])
def test_rows_that_share_a_row_of_another_table_give_it_no_second(
    engine: sa.Engine, changes: tuple[dict[str, Any], dict[str, Any]], there: bool
) -> None:
    """Two of a household have one address. Who writes them one after the other would see the first's in the second."""
    make = (
        "CREATE TABLE wb_member (id INTEGER PRIMARY KEY, unit VARCHAR(10), home INTEGER)",
        "CREATE TABLE wb_home (home INTEGER, city VARCHAR(10))",
        "INSERT INTO wb_member VALUES (1, 'u', 7), (2, 'u', 7)",
    )
    sql = "SELECT m.id, m.unit, m.home, (SELECT MAX(h.city) FROM wb_home h WHERE h.home = m.home) AS city "
    entity = SourceEntity("member", Path("m.sql"), ("id",), "unit", None, "M", f"{sql} FROM wb_member m", {})
    tables = (
        legacy_table("wb_member", key="id", columns=()),
        legacy_table("wb_home", key={"home": "home"}, columns=("city",), optional=True),
    )
    try:
        with engine.begin() as connection:
            for statement in (*make, *(["INSERT INTO wb_home VALUES (7, 'Lynn')"] if there else [])):
                connection.exec_driver_sql(statement)
        with snapshot(engine) as connection:
            bases = [row_of_key(connection, entity, key) for key in ("1", "2")]
        edits = [(base, one) for base, one in zip(bases, changes, strict=True) if base is not None]
        if there and changes[0] == changes[1]:  # said twice
            assert [one["city"] for one in write_rows(engine, entity, tables, edits)] == ["Salem", "Salem"]
        else:
            with pytest.raises((RowConflict, WriteRefused)):
                write_rows(engine, entity, tables, edits)
        with engine.connect() as connection:
            cities = connection.scalars(sa.text("SELECT city FROM wb_home")).all()
        assert cities == ([] if not there else ["Salem"] if changes[0] == changes[1] else ["Lynn"])
    finally:
        with engine.begin() as connection:
            for table in ("wb_member", "wb_home"):
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "NO ACTION"])
@pytest.mark.parametrize("schema", [False, True])
def test_rows_that_would_follow_keep_a_row_where_it_is(engine: sa.Engine, action: str, schema: bool) -> None:
    """A visit of a patient whose resource somebody deleted in Medplum is no less true."""
    dialect = engine.dialect.name
    named = {"postgresql": "public", "sqlite": "main"}.get(dialect, str(engine.url.database))
    parent = f"{named}.wb_parent" if schema else "wb_parent"
    make = (
        "CREATE TABLE wb_parent (a INTEGER, b INTEGER, unit VARCHAR(10), name VARCHAR(10), PRIMARY KEY (a, b))",
        "CREATE TABLE wb_child (id INTEGER PRIMARY KEY, b INTEGER, a INTEGER, words VARCHAR(10), "
        f"FOREIGN KEY (a, b) REFERENCES wb_parent (a, b) ON DELETE {action})",
        "INSERT INTO wb_parent VALUES (1, 1, 'u', 'Ann'), (1, 2, 'u', 'Bea')",
        "INSERT INTO wb_child VALUES (10, 2, 1, 'penicillin'), (11, 1, NULL, NULL)",
    )
    entity = SourceEntity("person", Path("p.sql"), ("a", "b"), "unit", None, "P", f"SELECT * FROM {parent}", {})
    tables = (legacy_table(parent, key={"a": "a", "b": "b"}, columns=("name",)),)
    try:
        with engine.begin() as connection:
            for statement in make:
                connection.exec_driver_sql(statement)
        bases = []
        for key in ("1/1", "1/2"):
            with snapshot(engine) as connection:
                bases.append(row_of_key(connection, entity, key))
        assert bases[0] is not None and bases[1] is not None
        with pytest.raises(WriteRefused, match=r"wb_child|refused a change") as refused:
            remove_row(engine, entity, tables, bases[1], mark=False)
        assert "penicillin" not in str(refused.value)
        remove_row(engine, entity, tables, bases[0], mark=False)
        with engine.connect() as connection:
            left = connection.execute(sa.text("SELECT id, b FROM wb_child ORDER BY id")).all()
            assert [tuple(one) for one in left] == [(10, 2), (11, 1)]
            assert connection.scalar(sa.text("SELECT count(*) FROM wb_parent")) == 1
    finally:
        with engine.begin() as connection:
            for table in ("wb_child", "wb_parent"):
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")


PARENT = SourceEntity("person", Path("p.sql"), ("id",), "unit", None, "P", "SELECT * FROM wb_parent", {})
PARENTS = (legacy_table("wb_parent", key="id", columns=("name",)),)


def made_parent(engine: sa.Engine, *more: str) -> dict[str, Any]:
    """A row to be removed, as it reads, with whatever else there is to be."""
    with engine.begin() as connection:
        for statement in (
            "CREATE TABLE wb_parent (id INTEGER PRIMARY KEY, unit VARCHAR(10), name VARCHAR(10))",
            "INSERT INTO wb_parent VALUES (1, 'u', 'Ann')",
            *more,
        ):
            connection.exec_driver_sql(statement)
    with snapshot(engine) as connection:
        base = row_of_key(connection, PARENT, "1")
    assert base is not None
    return base


def test_a_table_that_no_catalogue_shows_for_a_moment_keeps_a_row_where_it_is(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MariaDB passes over one that is being changed; its rows would go by the time of the deletion."""
    make = (
        "CREATE TABLE wb_child (id INTEGER PRIMARY KEY, parent INTEGER, "
        "FOREIGN KEY (parent) REFERENCES wb_parent (id) ON DELETE CASCADE)",
        "INSERT INTO wb_child VALUES (10, 1)",
    )
    real, looks = writeback.followers, list[int]()

    def hidden_at_first(*given: Any) -> Any:
        looks.append(1)
        return real(*given) if len(looks) > 1 else []

    monkeypatch.setattr(writeback, "followers", hidden_at_first)
    try:
        base = made_parent(engine, *make)
        with pytest.raises(RowConflict, match="refers to wb_parent was changed"):
            remove_row(engine, PARENT, PARENTS, base, mark=False)
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM wb_child")) == 1
    finally:
        with engine.begin() as connection:
            for table in ("wb_child", "wb_parent"):
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")


def test_a_table_that_cannot_be_opened_keeps_a_row_where_it_is(engine: sa.Engine) -> None:
    """MariaDB's catalogue passes over it, and always will: nobody would hear of it as of a table that is changed."""
    if engine.dialect.name != "mariadb":
        pytest.skip("of MariaDB, which opens a table to tell its foreign keys")
    make = "CREATE TABLE wb_child (id INTEGER, FOREIGN KEY (id) REFERENCES wb_parent (id) ON DELETE CASCADE)"
    try:
        base = made_parent(engine, make, "RENAME TABLE wb_child TO wb_broken")  # which closes it: no cache has it
        with engine.connect() as connection:
            folder = Path(str(connection.scalar(sa.text("SELECT @@datadir")))) / str(engine.url.database)
        definition = folder / "wb_broken.frm"
        whole = definition.read_bytes()
        definition.write_bytes(whole[:40])
        with pytest.raises(WriteRefused, match=r"may refer to wb_parent cannot be opened \(1033\)"):
            remove_row(engine, PARENT, PARENTS, base, mark=False)
        definition.write_bytes(whole)
        remove_row(engine, PARENT, PARENTS, base, mark=False)
    finally:
        with engine.begin() as connection:
            for table in ("wb_broken", "wb_parent"):
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")


def test_an_account_that_cannot_see_who_follows_removes_nothing(engine: sa.Engine) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("of PostgreSQL, where every account sees the foreign keys")
    make = (
        "CREATE TABLE wb_child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES wb_parent ON DELETE CASCADE)",
        "CREATE ROLE wb_writer LOGIN PASSWORD 'w'",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON wb_parent TO wb_writer",
    )
    writer = connect_engine(engine.url.set(username="wb_writer", password="w").render_as_string(hide_password=False))
    try:
        base = made_parent(engine, *make)
        with pytest.raises(WriteRefused, match="wb_child refers to wb_parent") as refused:
            remove_row(writer, PARENT, PARENTS, base, mark=False)
        assert not isinstance(refused.value, WriterBlocked)
        with engine.begin() as connection:
            connection.exec_driver_sql("GRANT SELECT ON wb_child TO wb_writer")
        remove_row(writer, PARENT, PARENTS, base, mark=False)
    finally:
        writer.dispose()
        with engine.begin() as connection:
            for statement in ("DROP TABLE wb_child, wb_parent", "DROP ROLE wb_writer"):
                connection.exec_driver_sql(statement)
