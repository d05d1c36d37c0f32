"""Makes the records of a legacy database, and fills a database with them. Same arguments, same rows, same truth."""

import random
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Integer, Table, bindparam, insert, inspect, text

from demo_clinics.chart import add_patient
from demo_clinics.dealer import Dealer
from demo_clinics.group import build_group
from demo_clinics.record import Record
from demo_clinics.schema import ENTITIES, METADATA
from demo_clinics.truth import Truth, TruthFile, expectations
from demo_clinics.world import Loose, World

DEFAULT_PATIENTS = 850
DEFAULT_CLINICS = 4

_BATCH = 2_000
# Rows of some kilobytes and more: a batch must stay under the servers' packet limits.
_BATCH_BYTES = 2_000_000


@dataclass(slots=True)
class Chart:
    """What belongs together: the group, or one patient. What a record references is in it or in an earlier one."""

    records: list[Record]
    loose: list[Loose]


def generate(
    seed: int,
    patients: int = DEFAULT_PATIENTS,
    clinics: int = DEFAULT_CLINICS,
    canary: str | None = None,
    pace: float = 1.0,
    truth: Truth | None = None,
) -> Iterator[Chart]:
    """Yield the group, then one chart a patient, and note every record in `truth` (a new one if None).

    canary: goes into every tenth patient's family name. pace: how dirty, 1 is about 3 % of the rows, 0 none.
    """
    truth = Truth() if truth is None else truth
    truth.settings = {"seed": seed, "patients": patients, "clinics": clinics, "pace": pace, "canary": canary}
    world = World(random.Random(seed), Dealer(pace))
    build_group(world, clinics)
    yield _chart(world, truth)
    for _ in range(patients):
        add_patient(world, canary)
        yield _chart(world, truth)
    truth.outside = world.outside


def _chart(world: World, truth: Truth) -> Chart:
    records, loose, world.loose = world.take(), world.loose, []
    for record in records:
        truth.note(record)
    return Chart(records, loose)


def fill(
    engine: Engine,
    seed: int,
    patients: int = DEFAULT_PATIENTS,
    clinics: int = DEFAULT_CLINICS,
    canary: str | None = None,
    pace: float = 1.0,
    truth_path: Path | None = None,
) -> Truth:
    """Create the tables in an empty database, fill them in one transaction, and return the truth.

    truth_path: where truth.json goes; `.expected.ndjson.gz` goes beside it. Raises FileExistsError if a table is there.
    """
    if set(inspect(engine).get_table_names()) & METADATA.tables.keys():
        raise FileExistsError("the database already holds tables of the demo")
    truth = Truth()
    file = TruthFile(truth_path) if truth_path else None
    with file or nullcontext(), engine.begin() as connection:
        METADATA.create_all(connection)
        tables = Tables(connection)
        for chart in generate(seed, patients, clinics, canary, pace, truth):
            for record in chart.records:
                tables.add(record.table, record.row)
                _expect(record, truth, file)
            for table, row in chart.loose:
                tables.add(table, row)
        tables.flush()
        _spoil_bytes(connection, truth)
        if engine.dialect.name == "postgresql":
            _number_on(connection)
            # A running system has statistics; without them joins over the fresh tables are planned as nested loops.
            connection.execute(text("ANALYZE"))
    if file:
        file.finish(truth)
    return truth


def _number_on(connection: Connection) -> None:
    """Let PostgreSQL's sequences go on behind the rows, as in a running system; other engines do so by themselves."""
    for table in METADATA.sorted_tables:
        [key] = table.primary_key
        if isinstance(key.type, Integer):
            newest = f"SELECT setval(pg_get_serial_sequence('{table}', '{key.name}'), max({key.name})) FROM {table}"
            connection.execute(text(newest))


def _expect(record: Record, truth: Truth, file: TruthFile | None) -> None:
    for line in expectations(record):
        truth.resources[line["resource"]["resourceType"]] += 1
        if file:
            file.expect(line)


@dataclass(slots=True)
class Tables:
    """Collects rows per table and inserts them in bulk."""

    connection: Connection
    _rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _bytes: dict[str, int] = field(default_factory=dict)

    def add(self, table: str, row: dict[str, Any]) -> None:
        """Take a row; columns it lacks are NULL, other names are left out."""
        rows = self._rows.setdefault(table, [])
        rows.append({column.name: row.get(column.name) for column in METADATA.tables[table].columns})
        size = sum(len(value) for value in row.values() if isinstance(value, str | bytes))
        self._bytes[table] = self._bytes.get(table, 0) + size
        if len(rows) >= _BATCH or self._bytes[table] >= _BATCH_BYTES:
            self._insert(table)

    def flush(self) -> None:
        """Insert what is left."""
        for table in list(self._rows):
            self._insert(table)

    def _insert(self, table: str) -> None:
        rows, self._bytes[table] = self._rows.pop(table, []), 0
        if rows:
            self.connection.execute(insert(METADATA.tables[table]), rows)


def _spoil_bytes(connection: Connection, truth: Truth) -> None:
    """Put a raw Latin-1 byte where U+FFFD stands, on SQLite: it stores what it is given; servers would refuse it."""
    if connection.dialect.name != "sqlite":
        return
    columns = {"patient": "family_name", "note": "body"}
    for row in truth.rows:
        if row["kind"] == "undecodable-text":
            table, key = ENTITIES[str(row["entity"])]
            _spoil_value(connection, METADATA.tables[table], key, columns[str(row["entity"])], str(row["key"]))


def _spoil_value(connection: Connection, table: Table, key: str, column: str, value: str) -> None:
    where = text(f"SELECT {column} FROM {table.name} WHERE {key} = :key")
    stored = connection.execute(where, {"key": int(value)}).scalar_one()
    raw = stored.encode().replace("\ufffd".encode(), b"\xe9")
    change = text(f"UPDATE {table.name} SET {column} = CAST(:raw AS TEXT) WHERE {key} = :key")
    connection.execute(change.bindparams(bindparam("raw"), bindparam("key")), {"raw": raw, "key": int(value)})
