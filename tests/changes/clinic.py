"""A small legacy clinic: entities that read several tables, and foreign keys that cascade over two levels."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from medferry.source.changes.rules import watched

ENTITIES = {
    "person": "SELECT p.id, p.name, (SELECT min(a.city) FROM address a WHERE a.person_id = p.id) AS city FROM person p",
    "visit": "SELECT v.id, v.person_id, v.note, p.name FROM visit v LEFT JOIN person p ON p.id = v.person_id",
    "finding": "SELECT f.id, f.visit_id, f.text FROM finding f",
    "remark": "SELECT r.id, r.text FROM remark r",
}
"""What an engineer would have written; the key is `id`."""

CAPTURED = {
    "person": {"person": "id", "address": "person_id"},
    "visit": {"visit": "id", "person": "SELECT v.id FROM visit v WHERE v.person_id = {row}.id"},
    "finding": {"finding": "{row}.id"},
    "remark": {"remark": "id"},
}
WATCHED = watched(CAPTURED)

TABLES = ("finding", "visit", "address", "remark", "person")
"""Children first."""

_SCHEMA = """
CREATE TABLE person (id INTEGER PRIMARY KEY, name VARCHAR(40));
CREATE TABLE address (id INTEGER PRIMARY KEY, city VARCHAR(40), person_id INTEGER,
  FOREIGN KEY (person_id) REFERENCES person (id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE visit (id INTEGER PRIMARY KEY, note VARCHAR(40), person_id INTEGER,
  FOREIGN KEY (person_id) REFERENCES person (id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE finding (id INTEGER PRIMARY KEY, text VARCHAR(40), visit_id INTEGER,
  FOREIGN KEY (visit_id) REFERENCES visit (id) ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE remark (id INTEGER PRIMARY KEY, text VARCHAR(40))
"""

State = dict[str, dict[str, tuple[Any, ...]]]
"""Entity → key → row."""


def drop(engine: sa.Engine) -> None:
    """Drop the tables, and the journal's."""
    cascade = " CASCADE" if engine.dialect.name == "postgresql" else ""
    with engine.begin() as connection:
        for table in (*TABLES, "medferry_change", "medferry_heartbeat"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}{cascade}")


def create(engine: sa.Engine, people: int = 20) -> None:
    """Drop what an earlier test left, and make and fill the tables."""
    drop(engine)
    with engine.begin() as connection:
        for statement in _SCHEMA.split(";"):
            connection.exec_driver_sql(statement)
        for number in range(1, people + 1):
            connection.exec_driver_sql(f"INSERT INTO person VALUES ({number}, 'p{number}')")
            connection.exec_driver_sql(f"INSERT INTO address VALUES ({number}, 'c{number}', {number})")
            connection.exec_driver_sql(f"INSERT INTO remark VALUES ({number}, 'r{number}')")
            for visit in (2 * number, 2 * number + 1):
                connection.exec_driver_sql(f"INSERT INTO visit VALUES ({visit}, 'v', {number})")
                connection.exec_driver_sql(f"INSERT INTO finding VALUES ({visit}, 'f', {visit})")


def state(connection: sa.Connection, keys: dict[str, list[str]] | None = None) -> State:
    """Every entity's rows by key, or those of some keys."""
    found: State = {}
    for entity, sql in ENTITIES.items():
        if keys is None:
            rows = connection.execute(sa.text(sql)).all()
        elif not keys.get(entity):
            rows = []
        else:
            numbers = ", ".join(str(int(key)) for key in keys[entity])
            rows = connection.execute(sa.text(f"SELECT * FROM ({sql}) AS x WHERE id IN ({numbers})")).all()
        found[entity] = {str(row[0]): tuple(row) for row in rows}
    return found


def differing(before: State, after: State) -> set[tuple[str, str]]:
    """(entity, key) of every row that is not the same in both."""
    return {
        (entity, key)
        for entity in ENTITIES
        for key in before[entity].keys() | after[entity].keys()
        if before[entity].get(key) != after[entity].get(key)
    }
