"""SQL Server through a stand-in: every statement is T-SQL that sqlglot reads, and values arrive as they are stored.

No SQL Server runs here: what the engine itself would say is not tested.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import sqlglot

from medferry.definition.checks import EntityChecks
from medferry.definition.inverses import faults_in_legacy
from medferry.errors import SettingsError, SourceError, SourceUnavailable
from medferry.mapping.inverse import InverseSpec
from medferry.plan.periods import Period
from medferry.source.changes.engines import journal_of
from medferry.source.columns import check_columns
from medferry.source.count import count_by_unit
from medferry.source.database import connect_engine, snapshot, stream
from medferry.source.dated import keys_of_period
from medferry.source.entity import SourceEntity, load_entities
from medferry.source.gate.engines import gate_of
from medferry.source.identity import identity_of
from medferry.source.keys import key_text
from medferry.source.legacy_table import LegacyTable
from medferry.source.lookup import row_of_key, stream_keys, units_of_keys
from medferry.source.slices import cut, rows_of
from medferry.source.sqlserver import SETTINGS
from medferry.source.types.mssql import REMEDIES, TYPES
from medferry.source.types.utf16 import UTF_16
from medferry.source.write_faults import WriterBlocked
from medferry.source.writeback import remove_row
from medferry.verification.legacy import LegacyReader
from medferry.verification.written import try_checks
from tests.source.fake_sql_server import FakeSqlServer, refusal

URL = "mssql://reader:p%40ss@sql.example:1433/legacy"

PATIENTS = {
    "patient_id": "int",
    "clinic": "varchar(20)",
    "mrn": "varchar(20)",
    "at": "datetime2(7)",
    "stamp": "datetimeoffset(7)",
    "changed": "datetime",
    "born": "date",
    "balance": "money",
    "weight": "decimal(18,4)",
    "voided": "bit",
    "guid": "uniqueidentifier",
    "version": "timestamp",
    "name": "nvarchar(100)",
    "ratio": "real",
}
ROW = (
    7, "North", "A1 ", "2024-01-15 08:30:00.1234567", "2024-01-15 08:30:00.1234567 +05:30",
    "2024-01-15 08:30:00.003", "1980-03-04", "12.5000", "0.1000", 0, "6F9619FF-8B86-D011-B42D-00C04FC964FF",
    b"\0\0\0\0\0\0\7\xd1", "José \u65e5", 0.10000000149011612,
)  # fmt: skip
READ = {
    "patient_id": 7, "clinic": "North", "mrn": "A1 ", "at": "2024-01-15 08:30:00.1234567",
    "stamp": "2024-01-15 08:30:00.1234567 +05:30", "changed": "2024-01-15 08:30:00.003", "born": "1980-03-04",
    "balance": "12.5000", "weight": "0.1000", "voided": False, "guid": "6F9619FF-8B86-D011-B42D-00C04FC964FF",
    "version": {"base64": "AAAAAAAAB9E="}, "name": "José \u65e5", "ratio": 0.1,
}  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSqlServer]:
    fake = FakeSqlServer({"patients": PATIENTS, "odd": {"shape": "geography", "id": "int"}})
    columns = ", ".join(f"[{name}]{' COLLATE NOCASE' if 'char' in kind else ''}" for name, kind in PATIENTS.items())
    fake.store.execute(f"CREATE TABLE patients ({columns})")
    fake.store.execute("CREATE TABLE odd (id, shape)")
    monkeypatch.setitem(sys.modules, "pyodbc", fake)
    yield fake
    for sql in fake.sent:  # whatever a test does, what was sent is T-SQL
        assert "SELECT" not in sql or sqlglot.parse_one(sql, read="tsql"), sql
    fake.store.close()


@pytest.fixture
def engine(server: FakeSqlServer) -> Iterator[sa.Engine]:
    assert server.paramstyle == "qmark"
    engine = connect_engine(URL)
    yield engine
    engine.dispose()


def fill(server: FakeSqlServer, *rows: tuple[Any, ...]) -> None:
    for row in rows:
        whole = (*row, *ROW[len(row) :])
        server.store.execute(f"INSERT INTO patients VALUES ({', '.join('?' * len(PATIENTS))})", whole)


def entity(folder: Path, sql: str = "SELECT * FROM patients", key: str = "patient_id") -> SourceEntity:
    (folder / "patient.sql").write_text(f"-- key: {key}\n-- unit: clinic\n-- dated: born\n{sql}\n")
    return load_entities(folder)["patient"]


def all_of(engine: sa.Engine, sql: str) -> list[dict[str, Any]]:
    with snapshot(engine) as connection:
        return list(stream(connection, sa.text(sql), {}))


def test_values_arrive_as_they_are_stored(server: FakeSqlServer, engine: sa.Engine, tmp_path: Path) -> None:
    fill(server, ROW)
    with snapshot(engine) as connection:
        statement, values = rows_of("mssql", entity(tmp_path), ["North"], None, None)
        (row,) = stream(connection, statement, values)
    assert row == READ
    assert list(row) == list(PATIENTS)
    assert all_of(engine, "SELECT * FROM patients") == [READ]
    assert server.decodings == {server.SQL_WCHAR: UTF_16}


def test_the_stand_in_gives_what_the_driver_would_without_a_conversion(server: FakeSqlServer) -> None:
    """Or the test above would prove nothing."""
    fill(server, ROW)
    cursor = server.Cursor().execute("SELECT [at], mrn, balance FROM patients")
    ((at, mrn, balance),) = cursor.fetchall()
    assert (at.microsecond, str(balance)) == (123456, "12.5000")
    assert mrn != "A1 "


def test_halves_of_a_pair_arrive_as_lone_surrogates() -> None:
    raw = "a".encode("utf-16-le") + b"\x3d\xd8"
    assert raw.decode(UTF_16) == "a\ud83d"
    assert "a\ud83d😀".encode(UTF_16).decode(UTF_16) == "a\ud83d😀"


@pytest.mark.parametrize("name", [*REMEDIES, "cursor"])
def test_a_type_that_is_not_read_is_refused_with_the_cast(
    server: FakeSqlServer, engine: sa.Engine, tmp_path: Path, name: str
) -> None:
    server.types["odd"]["shape"] = name
    assert name not in TYPES
    with snapshot(engine) as connection, pytest.raises(SourceError, match=f"shape is of the type {name}") as told:
        check_columns(connection, entity(tmp_path, "SELECT id AS patient_id, 1 AS clinic, shape FROM odd"))
    assert "shape" in told.value.remedy


def test_an_order_by_a_column_that_is_fetched_as_text_goes_by_its_value(engine: sa.Engine, tmp_path: Path) -> None:
    """An alias of the column's own name would make ``10.00`` come before ``9.00``."""
    with snapshot(engine) as connection:
        statement, values = rows_of("mssql", entity(tmp_path, key="weight"), None, None, None)
        list(stream(connection, statement, values))
    (sent,) = [sql for sql in engine.dialect.dbapi.sent if "ORDER BY weight" in sql]  # type: ignore[union-attr,attr-defined]
    assert "AS weight" not in sent
    assert "AS [weight]" not in sent


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("patient_id", range(1, 61)),
        ("mrn", [f"K{number:03}" for number in range(60)]),
        ("patient_id, mrn", [(number % 7, f"K{number:03}") for number in range(60)]),
        ("version", [number.to_bytes(8, "big") for number in range(60)]),
    ],
)
def test_slices_hold_every_row_once(
    server: FakeSqlServer, engine: sa.Engine, tmp_path: Path, key: str, values: Any
) -> None:
    names = key.split(", ")
    for value in values:
        row = dict(zip(PATIENTS, ROW, strict=True)) | dict(
            zip(names, value if isinstance(value, tuple) else [value], strict=True)
        )
        fill(server, tuple(row.values()))
    one = entity(tmp_path, key=key)
    with snapshot(engine) as connection:
        counts = count_by_unit(connection, one, ["North"])
        slices = cut(connection, one, counts, 25)
        found = [
            one.key_of(row)
            for piece in slices
            for row in stream(connection, *rows_of("mssql", one, piece.units, piece.low, piece.high))
        ]
    assert counts == {"North": 60}
    assert [piece.rows for piece in slices] == [25, 25, 10]
    assert len(found) == len(set(found)) == 60


def test_texts_are_cut_in_the_order_in_which_they_are_compared(
    server: FakeSqlServer, engine: sa.Engine, tmp_path: Path
) -> None:
    fill(server, *((number, "North", f"K{number}") for number in range(5)))
    with snapshot(engine) as connection:
        cut(connection, entity(tmp_path, key="mrn"), {"North": 5}, 2)
    assert any("OVER (ORDER BY CAST(mrn AS NVARCHAR(4000)))" in sql for sql in server.sent)


def test_keys_that_the_collation_takes_for_equal_are_refused(
    server: FakeSqlServer, engine: sa.Engine, tmp_path: Path
) -> None:
    fill(server, (1, "North", "a1"), (2, "North", "A1"))
    with snapshot(engine) as connection, pytest.raises(SourceError, match="is not unique: 2 rows, 1 keys") as told:
        count_by_unit(connection, entity(tmp_path, key="mrn"), ["North"])
    assert "collation ignores case, accents or blanks" in told.value.remedy


def test_units_that_the_collation_takes_for_equal_are_told_apart(
    server: FakeSqlServer, engine: sa.Engine, tmp_path: Path
) -> None:
    fill(server, (1, "North"), (2, "NORTH"))
    with snapshot(engine) as connection, pytest.raises(SourceError, match=r"1 row of patient belongs .*: NORTH"):
        count_by_unit(connection, entity(tmp_path), ["North"])


def test_a_key_is_looked_up_by_its_very_text(server: FakeSqlServer, engine: sa.Engine, tmp_path: Path) -> None:
    fill(server, (1, "North", "a1"), (2, "North", "B1"))
    one = entity(tmp_path, key="mrn")
    with snapshot(engine) as connection:
        assert [row["mrn"] for row in stream_keys(connection, one, ["North"], ["A1", "B1", "x"])] == ["B1"]
        assert units_of_keys(connection, one, ["a1", "B1"]) == {"a1": "North", "B1": "North"}
        assert row_of_key(connection, one, "A1") is None


@pytest.mark.parametrize("key", ["weight", "balance", "guid", "version", "ratio", "patient_id"])
def test_a_key_of_each_kind_finds_its_row(server: FakeSqlServer, engine: sa.Engine, tmp_path: Path, key: str) -> None:
    fill(server, ROW)
    if key == "guid":  # the engine takes either case
        server.store.execute("UPDATE patients SET guid = lower(guid)")
    expected = key_text(READ[key].lower() if key == "guid" else READ[key])
    assert expected is not None
    with snapshot(engine) as connection:
        found = units_of_keys(connection, entity(tmp_path, key=key), [expected, "none"])
    assert found == {expected: "North"}


@pytest.mark.parametrize("key", ["at", "born", "voided"])
def test_a_key_that_would_not_be_found_again_is_refused(engine: sa.Engine, tmp_path: Path, key: str) -> None:
    with snapshot(engine) as connection, pytest.raises(SourceError, match=f"{key} is of the type") as told:
        count_by_unit(connection, entity(tmp_path, key=key), ["North"])
    assert f"CONVERT(nvarchar(100), {key}" in told.value.remedy


def test_a_long_key_is_told(server: FakeSqlServer, engine: sa.Engine, tmp_path: Path) -> None:
    fill(server, (1, "North", "é" * 400))
    with snapshot(engine) as connection, pytest.raises(SourceError, match="has 1,200 bytes"):
        count_by_unit(connection, entity(tmp_path, key="mrn"), ["North"])


def test_rows_of_a_period(server: FakeSqlServer, engine: sa.Engine, tmp_path: Path) -> None:
    fill(server, ROW)
    one = entity(tmp_path)
    with snapshot(engine) as connection:
        within = keys_of_period(connection, one, ["North"], Period(date(1980, 1, 1), date(1981, 1, 1)), 5)
        beyond = keys_of_period(connection, one, ["North"], Period(date(1981, 1, 1), None))
    assert (within, beyond) == ({"7": "North"}, {})


def test_the_verification_reads_it(server: FakeSqlServer, engine: sa.Engine, tmp_path: Path) -> None:
    fill(server, ROW, (8, "North"))
    one = entity(tmp_path)
    plain = LegacyReader(engine, one, None)
    assert plain.count_by_unit() == {"North": 2}
    assert {row.key for row in plain.all_rows()} == {"7", "8"}
    assert [row.key for row in plain.rows_by_key(["8", "9"])] == ["8"]
    assert plain.rows(["7"])["7"] == READ


def test_the_checks_are_read_by_their_own_sql(server: FakeSqlServer, engine: sa.Engine, tmp_path: Path) -> None:
    fill(server, ROW, (8, "North", "A1 "))
    many = {"name": "names", "from": "patients n", "key": "n.patient_id", "sql": "n.[at]", "path": "name"}
    checks = EntityChecks.model_validate(
        {
            "from": "patients p",
            "key": "p.patient_id",
            "period": "p.[at]",
            "resources": {
                "main": {
                    "when": "p.patient_id > 7",
                    "checks": [{"name": "at", "sql": "p.[at]", "path": "birthDate", "compare": "text"}],
                    "many": [many | {"compare": "text"}],
                }
            },
        }
    )  # fmt: skip
    with snapshot(engine) as connection:
        try_checks(connection, tmp_path / "patient.yaml", checks)
    reader = LegacyReader(engine, entity(tmp_path), checks)
    when = "CASE WHEN p.patient_id > 7 THEN 1 ELSE 0 END"
    assert reader.values(["7", "8"]) == {"7": {when: 0, "p.[at]": READ["at"]}, "8": {when: 1, "p.[at]": READ["at"]}}
    assert reader.lists(checks.many("main")[0], ["7"]) == {"7": [READ["at"]]}
    assert reader.count_by_unit() == {"North": 2}
    assert {(row.key, row.period) for row in reader.all_rows()} == {("7", "2024"), ("8", "2024")}
    assert reader.referred("p.mrn", ["8"]) == {"8": "A1 "}
    assert reader.referring("p.mrn", ["A1 "]) == {"7": "A1 ", "8": "A1 "}
    assert reader.most_referred("p.mrn", 3) == {"A1 ": 2}


def test_every_connection_is_pinned_and_sees_one_state(server: FakeSqlServer, engine: sa.Engine) -> None:
    fill(server, ROW)
    all_of(engine, "SELECT patient_id FROM patients")
    sent = [sql for sql in server.sent if sql.startswith("SET ")]
    assert "SET TRANSACTION ISOLATION LEVEL SNAPSHOT" in sent[0]
    assert sent[1] == "; ".join(f"SET {name} {value}" for name, value in SETTINGS.items())
    names = [name for name, _ in (part.removeprefix("SET ").rsplit(" ", 1) for part in sent[1].split("; "))]
    assert names.index("LANGUAGE") < min(names.index("DATEFORMAT"), names.index("DATEFIRST"))


@pytest.mark.parametrize(
    ("told", "problem", "remedy"),
    [
        ({"version": 12}, "before 2016", "newer server"),
        ({"version": None}, "before 2016", "newer server"),
        ({"snapshots": 0}, "ALLOW_SNAPSHOT_ISOLATION is off", "SET ALLOW_SNAPSHOT_ISOLATION ON"),
        ({"is_secondary": 1}, "secondary replica", "Read the primary"),
        ({"may_look": 0}, "may not see", "VIEW DEFINITION"),
        ({"filters": 1}, "filters rows", "restored copy"),
        ({"masked": 2}, "masks columns", "UNMASK"),
    ],
)
def test_what_would_read_wrongly_is_refused(
    server: FakeSqlServer, engine: sa.Engine, told: dict[str, Any], problem: str, remedy: str
) -> None:
    server.told |= told
    with pytest.raises(SourceError) as caught:
        all_of(engine, "SELECT patient_id FROM patients")
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy
    server.told |= {"masked": 2, "sees_masked": 1} if "masked" in told else {}


def test_a_snapshot_that_is_not_allowed_is_told_by_the_server_s_number_too(
    server: FakeSqlServer, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.connect().close()
    failed = refusal(3952, "Snapshot isolation transaction failed accessing database 'legacy'")
    monkeypatch.setattr(server, "looked", _raising(failed))
    with pytest.raises(SourceError, match="ALLOW_SNAPSHOT_ISOLATION"), snapshot(engine):
        pass


@pytest.mark.parametrize(
    ("sql", "told", "remedy"),
    [
        ("SELECT patient_id, gone FROM patients", "207): Invalid column name 'gone'", "Correct the SQL"),
        ("SELECT * FROM nowhere", "208): Invalid table name 'nowhere'", "Correct the SQL"),
        ("SELECT patient_id FROM patients ORDER BY 1", "1033): The ORDER BY clause is invalid", "Correct the SQL"),
    ],
)
def test_a_refused_query_is_told_with_its_file(
    engine: sa.Engine, tmp_path: Path, sql: str, told: str, remedy: str
) -> None:
    with pytest.raises(SourceError) as caught, snapshot(engine) as connection:
        check_columns(connection, entity(tmp_path, sql))
    assert told in caught.value.problem
    assert "patient.sql:4" in caught.value.problem
    assert remedy in caught.value.remedy


def test_a_with_is_refused_by_name(engine: sa.Engine, tmp_path: Path) -> None:
    one = entity(tmp_path, "WITH x AS (SELECT * FROM patients) SELECT * FROM x")
    with snapshot(engine) as connection, pytest.raises(SourceError, match="no WITH inside"):
        check_columns(connection, one)


@pytest.mark.parametrize(
    ("number", "kind", "told"),
    [
        (18456, SettingsError, "refused the account"),
        (4060, SettingsError, "no database of that name"),
        (258, SourceUnavailable, "did not answer"),
    ],
)
def test_why_it_cannot_be_opened(
    server: FakeSqlServer, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, number: int, kind: type, told: str
) -> None:
    monkeypatch.setattr(server, "connect", _raising(refusal(number, "Login failed for user 'Ada'.", "28000")))
    with pytest.raises(kind, match=told) as caught, snapshot(engine):
        pass
    assert "Ada" not in str(caught.value)


def test_a_missing_odbc_driver_is_told(
    server: FakeSqlServer, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "[01000] [unixODBC][Driver Manager]Can't open lib 'x' : file not found (0) (SQLDriverConnect)"
    monkeypatch.setattr(server, "connect", _raising(server.Error("01000", text)))
    with pytest.raises(SettingsError, match="ODBC driver is not installed"), snapshot(engine):
        pass


@pytest.mark.parametrize(
    ("number", "text", "kind", "told"),
    [
        (1205, "Transaction was deadlocked", SourceUnavailable, "in each other's way"),
        (245, "Conversion failed when converting the nvarchar value 'Ada' to int.", SourceError, "(Error 245)"),
        (229, "The SELECT permission was denied on the object 'patients'", SourceError, "229): The SELECT permission"),
    ],
)
def test_errors_have_a_type_and_quote_no_row(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, number: int, text: str, kind: type, told: str
) -> None:
    engine.connect().close()
    with pytest.raises(kind) as caught, snapshot(engine) as connection:
        monkeypatch.setattr("tests.source.fake_sql_server.run", _raising(refusal(number, text)))
        connection.execute(sa.text("SELECT patient_id FROM patients"))
    assert told in str(caught.value)
    assert "Ada" not in str(caught.value)


def _raising(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def test_a_driver_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyodbc", None)
    with pytest.raises(SettingsError, match="not installed") as told:
        connect_engine(URL)
    assert "requirements-mssql.lock" in told.value.remedy
    assert "p@ss" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        (URL, "ODBC Driver 18 for SQL Server"),
        (f"{URL}?driver=FreeTDS", "FreeTDS"),
        ("mssql+pyodbc://u:p@h/d", "ODBC Driver 18 for SQL Server"),
    ],
)
def test_microsoft_s_driver_is_meant_unless_another_is_named(server: FakeSqlServer, url: str, driver: str) -> None:
    with connect_engine(url).connect():
        pass
    assert f"Driver={{{driver}}}" in server.connected[0].replace("DRIVER", "Driver")


def test_identity_is_that_of_the_backup_family(engine: sa.Engine) -> None:
    with snapshot(engine) as connection:
        identity = identity_of(connection)
    assert (identity.name, identity.server, identity.position) == ("SQL Server legacy", ":", None)


def test_what_writes_into_the_legacy_database_is_refused_by_name(engine: sa.Engine, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no capture for SQL Server"):
        journal_of(engine, Any)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="no gates for SQL Server"):
        gate_of(engine, [], Any)  # type: ignore[arg-type]
    one, table = entity(tmp_path), LegacyTable("patients", {"patient_id": "patient_id"}, {})
    with pytest.raises(WriterBlocked, match="nothing is written back into SQL Server"):
        remove_row(engine, one, [table], READ, mark=False)
    with snapshot(engine) as connection:
        told = list(
            faults_in_legacy(connection, one, InverseSpec("patient", (table,), _raising(SourceError("x", "y"))))
        )
    assert ["SQL Server" in problem for problem, _ in told] == [True]
