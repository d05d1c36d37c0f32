"""Keys that a collation takes for one are two: by their case, accents, a trailing blank, a character of no weight."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from medferry.source.changes.cuts import next_cut
from medferry.source.changes.engines import install, journal_of, remove
from medferry.source.changes.journal import Cut, Journal
from medferry.source.changes.observe import ages_in_cut
from medferry.source.changes.rules import watched
from medferry.source.keys import fault_of, key_text

ASKED = int(os.environ.get("MEDFERRY_KEY_EXAMPLES", "0"))
ALIKE = [
    "A1",
    "A1 ",
    "A1  ",
    "a1",
    " A1",
    "e",
    "é",
    "e\u0301",
    "E",
    "ß",
    "ss",
    "ſs",
    "\u00ad",
    "ab",
    "a\u00adb",
    "a/b",
    "a\\b",
]
COLUMN = {
    "sqlite": "TEXT COLLATE NOCASE",
    "postgresql": 'VARCHAR(60) COLLATE "POSIX"',
    "mariadb": "VARCHAR(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci",
}
EXACT = {
    "sqlite": "TEXT",
    "postgresql": "VARCHAR(60)",
    "mariadb": "VARCHAR(60) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
}
OTHER = {"postgresql": 'VARCHAR(60) COLLATE "C"'}
"""Of two columns with a collation each PostgreSQL says that it does not know by which to compare them together."""
RULES = watched(
    {
        "single": {"alike": "word"},
        "double": {"alike": ["word", "other"]},
        "found": {"alike": "SELECT e.word FROM exact e WHERE e.word = {row}.other"},
    }
)
"""`word` and `other` hold the same."""


@pytest.fixture
def journal(engine: sa.Engine) -> Iterator[Journal]:
    name = engine.dialect.name
    with engine.begin() as connection:
        for table in ("alike", "exact", "medferry_change", "medferry_heartbeat"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
        columns = f"word {COLUMN[name]}, other {OTHER.get(name, EXACT[name])}"
        connection.exec_driver_sql(f"CREATE TABLE alike (id INTEGER PRIMARY KEY, {columns})")
        connection.exec_driver_sql(f"CREATE TABLE exact (word {EXACT[name]})")
    journal = journal_of(engine, RULES)
    install(engine, journal)
    yield journal
    remove(engine, journal)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE alike")
        connection.exec_driver_sql("DROP TABLE exact")


def take(engine: sa.Engine, journal: Journal, previous: str | None = None) -> Cut:
    with next_cut(journal, engine, engine, previous) as (connection, cut):
        if previous is not None:
            own = {entity: set(keys) for entity, keys in cut.keys.items()}
            ages = ages_in_cut(journal, connection, previous, cut.position, own)
            assert set(ages) == set(own)
        return cut


def keys_of(words: list[str]) -> dict[str, tuple[str, ...]]:
    doubles = tuple(sorted(str(key_text([word, word])) for word in words))
    return {"single": tuple(sorted(words)), "double": doubles, "found": tuple(sorted(words))}


WORDS = st.lists(
    (st.sampled_from(ALIKE) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)).filter(
        lambda word: fault_of(word) is None
    ),
    min_size=2,
    max_size=12,
    unique=True,
)


@settings(
    max_examples=ASKED or 15,
    derandomize=not ASKED,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(words=ALIKE)
@given(words=WORDS)
def test_every_key_that_changed_is_in_the_cut_by_itself(engine: sa.Engine, journal: Journal, words: list[str]) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM alike")
        connection.exec_driver_sql("DELETE FROM exact")
        connection.execute(sa.text("INSERT INTO exact VALUES (:word)"), [{"word": word} for word in words])
    start = take(engine, journal)
    insert = sa.text("INSERT INTO alike VALUES (:id, :word, :word)")
    with engine.begin() as connection:
        connection.execute(insert, [{"id": number, "word": word} for number, word in enumerate(words)])
    made = take(engine, journal, start.position)
    assert made.keys == keys_of(words)
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM alike WHERE id > 0"))
        connection.execute(sa.text("UPDATE alike SET word = :word, other = :word WHERE id = 0"), {"word": words[-1]})
    assert take(engine, journal, made.position).keys == keys_of(words)


@pytest.mark.parametrize("pair", [("A1", "A1 "), ("a", "A"), ("e", "é"), ("a\u00adb", "ab")])
def test_a_row_that_gets_a_key_alike_logs_both(engine: sa.Engine, journal: Journal, pair: tuple[str, str]) -> None:
    """In one line of a trigger; the trigger's own comparison is the column's otherwise."""
    before, after = pair
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO alike VALUES (1, :word, :word)"), {"word": before})
        connection.execute(sa.text("INSERT INTO exact VALUES (:word)"), [{"word": word} for word in pair])
    start = take(engine, journal)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alike SET word = :word, other = :word"), {"word": after})
    assert take(engine, journal, start.position).keys == keys_of(list(pair))


@pytest.mark.parametrize("pair", [("A1", "A1 "), ("a", "A"), ("e", "é")])
def test_a_key_alike_that_cascades_is_logged(engine: sa.Engine, pair: tuple[str, str]) -> None:
    if engine.dialect.name not in ("mysql", "mariadb"):
        pytest.skip("elsewhere a cascade fires the child's triggers")
    kind = "VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci"
    before, after = pair
    with engine.begin() as connection:
        for table in ("kid", "dam", "medferry_change", "medferry_heartbeat"):
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
        connection.exec_driver_sql(f"CREATE TABLE dam (word {kind} PRIMARY KEY)")
        refers = "FOREIGN KEY (dam) REFERENCES dam (word) ON UPDATE CASCADE"
        connection.exec_driver_sql(f"CREATE TABLE kid (id INTEGER PRIMARY KEY, dam {kind}, {refers})")
        connection.execute(sa.text("INSERT INTO dam VALUES (:word)"), {"word": before})
        connection.execute(sa.text("INSERT INTO kid VALUES (7, :word)"), {"word": before})
    journal = journal_of(engine, watched({"kid": {"kid": "id"}}))
    install(engine, journal)
    try:
        start = take(engine, journal)
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE dam SET word = :word"), {"word": after})
            assert connection.scalar(sa.text("SELECT dam FROM kid")) == after
        assert take(engine, journal, start.position).keys == {"kid": ("7",)}
    finally:
        remove(engine, journal)
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE kid")
            connection.exec_driver_sql("DROP TABLE dam")
