"""The journal on each engine: what a change logs, what installing and removing do, and when a position is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.source.changes.cuts import next_cut, writing
from medferry.source.changes.engines import install, journal_of, remove
from medferry.source.changes.fences import add_fence, has_passed
from medferry.source.changes.journal import FENCE, CaptureBroken, Cut, Journal, PositionLost
from medferry.source.changes.observe import census as written_by
from medferry.source.changes.rules import watched
from medferry.source.database import connect_engine
from tests.changes import clinic

Write = Callable[..., None]


def take(engine: sa.Engine, journal: Journal, previous: str | None = None) -> Cut:
    with next_cut(journal, engine, engine, previous) as (_, cut):
        return cut


def changed(engine: sa.Engine, journal: Journal, write: Write, *statements: str) -> dict[str, tuple[str, ...]]:
    """The keys of the cut after a transaction."""
    start = take(engine, journal)
    write(*statements)
    return dict(take(engine, journal, start.position).keys)


def test_the_first_cut_is_a_position_and_no_changes(engine: sa.Engine, journal: Journal, write: Write) -> None:
    write("UPDATE remark SET text = 'x' WHERE id = 1")
    first = take(engine, journal)
    assert (first.keys, first.whole) == ({}, frozenset())
    assert take(engine, journal, first.position).keys == {}


@pytest.mark.parametrize(
    ("statement", "keys"),
    [
        ("INSERT INTO remark VALUES (99, 'x')", {"remark": ("99",)}),
        ("UPDATE remark SET text = 'x' WHERE id IN (3, 10)", {"remark": ("10", "3")}),
        ("UPDATE remark SET id = 77 WHERE id = 3", {"remark": ("3", "77")}),
        ("DELETE FROM remark WHERE id = 4", {"remark": ("4",)}),
        ("UPDATE address SET city = 'x' WHERE id = 5", {"person": ("5",)}),
        ("UPDATE address SET person_id = 6 WHERE id = 5", {"person": ("5", "6")}),
        ("INSERT INTO address VALUES (99, 'nobody', NULL)", {}),
        ("UPDATE person SET name = 'x' WHERE id = 2", {"person": ("2",), "visit": ("4", "5")}),
        ("DELETE FROM visit WHERE id = 4", {"finding": ("4",), "visit": ("4",)}),
        ("UPDATE visit SET id = 400 WHERE id = 4", {"finding": ("4",), "visit": ("4", "400")}),
    ],
)
def test_a_change_logs_the_keys_of_the_entities_that_read_it(
    engine: sa.Engine, journal: Journal, write: Write, statement: str, keys: dict[str, tuple[str, ...]]
) -> None:
    assert changed(engine, journal, write, statement) == keys


def test_a_deletion_that_cascades_over_two_levels_logs_all(engine: sa.Engine, journal: Journal, write: Write) -> None:
    assert changed(engine, journal, write, "DELETE FROM person WHERE id = 2") == {
        "person": ("2",),
        "visit": ("4", "5"),
        "finding": ("4", "5"),
    }


def test_a_key_that_changes_in_a_cascade_logs_both_parents(engine: sa.Engine, journal: Journal, write: Write) -> None:
    keys = changed(engine, journal, write, "UPDATE person SET id = 200 WHERE id = 2")
    assert keys == {"person": ("2", "200"), "visit": ("4", "5")}


def test_what_is_rolled_back_is_in_no_cut(engine: sa.Engine, journal: Journal) -> None:
    start = take(engine, journal)
    with engine.connect() as connection:
        connection.exec_driver_sql("DELETE FROM person WHERE id = 2")
        connection.rollback()
    assert take(engine, journal, start.position).keys == {}


def test_a_late_commit_is_in_the_cut_after_it(engine: sa.Engine, journal: Journal, write: Write) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("one writer at a time")
    start = take(engine, journal)
    with engine.connect() as early:
        early.exec_driver_sql("UPDATE remark SET text = 'early' WHERE id = 1")
        write("UPDATE remark SET text = 'late' WHERE id = 2")
        between = take(engine, journal, start.position)
        early.commit()
    assert between.keys == {"remark": ("2",)}
    assert take(engine, journal, between.position).keys == {"remark": ("1",)}


def test_a_record_that_is_written_while_what_it_reads_changes_is_in_a_cut(
    engine: sa.Engine, journal: Journal, write: Write
) -> None:
    """No trigger of either transaction sees what the other is writing."""
    if engine.dialect.name == "sqlite":
        pytest.skip("one writer at a time")
    start = take(engine, journal)
    with engine.connect() as renames:
        renames.exec_driver_sql("UPDATE person SET name = 'x' WHERE id = 2")
        if engine.dialect.name == "postgresql":  # MariaDB's foreign key makes the second wait for the first
            write("INSERT INTO visit VALUES (99, 'v', 2)")
        between = take(engine, journal, start.position)
        renames.commit()
    last = take(engine, journal, between.position)
    assert "99" in last.keys["visit"] or engine.dialect.name != "postgresql"
    assert {"4", "5"} <= set(last.keys["visit"])


def test_a_cut_can_be_replayed_and_two_readers_do_not_disturb_each_other(
    engine: sa.Engine, journal: Journal, write: Write
) -> None:
    start = take(engine, journal)
    write("UPDATE remark SET text = 'x' WHERE id = 1")
    one = take(engine, journal, start.position)
    write("UPDATE remark SET text = 'x' WHERE id = 2")
    other = take(engine, journal, start.position)  # somebody else's cut, or one after a crash before `one` was kept
    assert other.keys == {"remark": ("1", "2")}
    with engine.connect() as connection:
        assert journal.replay(connection, start.position, one.position) == one
        assert journal.replay(connection, one.position, other.position).keys == {"remark": ("2",)}


def test_truncate_means_everything_of_the_entity(engine: sa.Engine, journal: Journal, write: Write) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("no trigger sees it: the sweep does")
    start = take(engine, journal)
    write("TRUNCATE visit CASCADE")
    assert take(engine, journal, start.position).whole == {"visit", "finding"}


def test_a_replica_s_session_is_captured_too(engine: sa.Engine, journal: Journal, write: Write) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("PostgreSQL has such sessions")
    statements = ("SET LOCAL session_replication_role = replica", "UPDATE remark SET text = 'x' WHERE id = 1")
    assert changed(engine, journal, write, *statements) == {"remark": ("1",)}


# -- installing, checking, removing ----------------------------------------------------------------


def test_installing_again_changes_nothing(engine: sa.Engine, journal: Journal) -> None:
    start = take(engine, journal)
    assert install(engine, journal) == []
    assert take(engine, journal, start.position).keys == {}


def test_removing_leaves_nothing(engine: sa.Engine, journal: Journal, write: Write) -> None:
    assert remove(engine, journal)
    assert set(sa.inspect(engine).get_table_names()) == set(clinic.TABLES)
    write("UPDATE person SET name = 'x' WHERE id = 2")
    assert remove(engine, journal) == []
    with pytest.raises(CaptureBroken):
        take(engine, journal)


def test_an_entity_that_is_no_longer_captured_loses_its_triggers(engine: sa.Engine, journal: Journal) -> None:
    fewer = journal_of(engine, watched({"remark": clinic.CAPTURED["remark"]}))
    with pytest.raises(CaptureBroken, match="no longer needed"):
        take(engine, fewer)
    install(engine, fewer)
    assert take(engine, fewer).keys == {}


def test_a_table_that_is_not_there_is_named(engine: sa.Engine, journal: Journal) -> None:
    other = journal_of(engine, {**journal.watched, **watched({"x": {"nowhere": "id"}})})
    with pytest.raises(CaptureBroken, match="there is no table nowhere"):
        install(engine, other)


def drop_of(engine: sa.Engine, journal: Journal) -> str:
    with engine.connect() as connection:
        return next(t.drop[0] for t in journal.found(connection) if t.table == "remark")


def test_a_dropped_trigger_sets_its_entity_aside_and_a_new_one_reads_all_of_it(
    engine: sa.Engine, journal: Journal, write: Write
) -> None:
    start = take(engine, journal)
    write(drop_of(engine, journal))
    cut = take(engine, journal, start.position)
    assert cut.whole == cut.refused.keys() == {"remark"} and cut.logged == {("remark", "", None)}
    assert "remark is missing" in cut.refused["remark"].problem
    write("UPDATE remark SET text = 'unseen' WHERE id = 1")
    still = take(engine, journal, cut.position)
    assert still.refused.keys() == {"remark"}
    install(engine, journal)
    mended = take(engine, journal, still.position)
    assert (mended.whole, mended.refused) == ({"remark"}, {})
    assert take(engine, journal, mended.position).whole == set()
    at_once = take(engine, journal, start.position)
    assert at_once.whole == {"remark"}, "dropped and made anew between two cuts, it is known by its generation"


def test_a_dropped_table_sets_its_entities_aside_and_one_that_is_back_is_read_as_a_whole(
    engine: sa.Engine, journal: Journal, write: Write
) -> None:
    start = take(engine, journal)
    write("UPDATE finding SET text = 'x' WHERE id = 4", "CREATE TABLE kept AS SELECT * FROM finding")
    write("DROP TABLE finding", "UPDATE remark SET text = 'x' WHERE id = 1")
    cut = take(engine, journal, start.position)
    assert "no table finding" in cut.refused["finding"].problem and cut.keys["remark"] == ("1",)
    assert ("finding", "", "4") in cut.logged and "finding" in cut.whole
    install_what_can_be(engine, journal)
    write("UPDATE person SET id = 200 WHERE id = 2", "UPDATE remark SET text = 'x' WHERE id = 2")
    still = take(engine, journal, cut.position)
    assert still.refused.keys() == {"finding"} and still.keys["remark"] == ("2",)
    write("CREATE TABLE finding AS SELECT * FROM kept", "DROP TABLE kept")
    back = take(engine, journal, still.position)
    assert "missing" in back.refused["finding"].problem
    assert install(engine, journal)
    mended = take(engine, journal, back.position)
    assert mended.refused == {} and "finding" in mended.whole
    assert take(engine, journal, mended.position).whole == set()


def install_what_can_be(engine: sa.Engine, journal: Journal) -> None:
    """On MariaDB the parents' triggers read the table, and keep their rows from being deleted until that is mended."""
    if engine.dialect.name in ("mysql", "mariadb"):
        with engine.begin() as connection, pytest.raises(DBAPIError, match=r"1146.*doesn't exist"):
            connection.exec_driver_sql("DELETE FROM visit WHERE id = 5")
    try:
        install(engine, journal)
    except CaptureBroken as told:
        assert "there is no table finding" in told.problem


def test_a_table_that_was_put_in_the_place_of_another_is_read_as_a_whole(
    engine: sa.Engine, journal: Journal, write: Write
) -> None:
    start = take(engine, journal)
    write("ALTER TABLE remark RENAME TO remark_old", "UPDATE visit SET note = 'x' WHERE id = 4")
    away = take(engine, journal, start.position)
    assert away.refused.keys() == {"remark"} and away.keys == {"visit": ("4",)}
    write("CREATE TABLE remark AS SELECT * FROM remark_old", "UPDATE visit SET note = 'x' WHERE id = 5")
    swapped = take(engine, journal, away.position)
    assert swapped.refused.keys() == {"remark"} and swapped.keys == {"visit": ("5",)}
    install(engine, journal)
    write("DROP TABLE remark_old", "UPDATE remark SET text = 'x' WHERE id = 1")
    mended = take(engine, journal, swapped.position)
    assert (mended.refused, mended.whole, mended.keys) == ({}, {"remark"}, {"remark": ("1",)})


def test_a_view_in_the_place_of_a_table_is_none(engine: sa.Engine, journal: Journal, write: Write) -> None:
    start = take(engine, journal)
    write("ALTER TABLE remark RENAME TO remark_old", "CREATE VIEW remark AS SELECT * FROM remark_old")
    cut = take(engine, journal, start.position)
    assert "no table remark" in cut.refused["remark"].problem
    write("DROP VIEW remark", "DROP TABLE remark_old")


def test_a_trigger_that_was_off_is_found_while_it_is_and_afterwards(
    engine: sa.Engine, journal: Journal, write: Write
) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("PostgreSQL can switch triggers off")
    start = take(engine, journal)
    write("ALTER TABLE remark DISABLE TRIGGER ALL", "UPDATE remark SET text = 'unseen' WHERE id = 1")
    assert "remark is switched off" in take(engine, journal, start.position).refused["remark"].problem
    write("ALTER TABLE remark ENABLE ALWAYS TRIGGER medferry_log")
    write("ALTER TABLE remark ENABLE ALWAYS TRIGGER medferry_log_truncate")
    assert take(engine, journal, start.position).whole == {"remark"}


def test_another_journal_is_another_history(engine: sa.Engine, journal: Journal, write: Write) -> None:
    start = take(engine, journal)
    write("UPDATE medferry_heartbeat SET journal = 'restored'")
    with pytest.raises(PositionLost, match="another server or journal"):
        take(engine, journal, start.position)


def test_a_trigger_that_somebody_rewrote_is_found_and_mended(engine: sa.Engine, journal: Journal, write: Write) -> None:
    other = journal_of(engine, clinic.WATCHED | watched({"remark": {"remark": "{row}.id + 1"}}))
    assert "not what the definition says" in take(engine, other).refused["remark"].problem
    with engine.connect() as connection, pytest.raises(CaptureBroken, match="not what the definition says"):
        other.check(connection)
    install(engine, other)
    assert changed(engine, other, write, "UPDATE remark SET text = 'x' WHERE id = 1") == {"remark": ("2",)}


def test_the_census_names_who_writes(engine: sa.Engine, journal: Journal, write: Write) -> None:
    write("UPDATE remark SET text = 'x'")
    with engine.connect() as connection:
        (line,) = written_by(connection)
    assert (line.entity, line.changes) == ("remark", 20)
    assert engine.dialect.name == "sqlite" or line.who.startswith("legacy")


def test_an_account_without_rights_is_told_so_without_a_row(engine: sa.Engine, journal: Journal, write: Write) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("one engine is enough")
    write("DROP ROLE IF EXISTS visitor", "CREATE ROLE visitor LOGIN PASSWORD 'v'")
    visitor = connect_engine(engine.url.set(username="visitor", password="v").render_as_string(False))
    with pytest.raises(CaptureBroken, match="InsufficientPrivilege 42501"), next_cut(journal, visitor, visitor, None):
        pass
    visitor.dispose()


def test_the_application_needs_no_right_on_the_journal(engine: sa.Engine, journal: Journal, write: Write) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("one engine is enough")
    write("DROP OWNED BY application" if _role_exists(engine) else "CREATE ROLE application LOGIN PASSWORD 'a'")
    write("GRANT ALL ON remark TO application")
    start = take(engine, journal)
    application = connect_engine(engine.url.set(username="application", password="a").render_as_string(False))
    with application.begin() as connection:
        connection.exec_driver_sql("UPDATE remark SET text = 'x' WHERE id = 1")
    application.dispose()
    assert take(engine, journal, start.position).keys == {"remark": ("1",)}
    with engine.connect() as connection:
        assert [line.who for line in written_by(connection)] == ["application"]


def _role_exists(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        return bool(connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = 'application'")))


def test_a_fence_has_passed_with_all_that_was_committed_before_it(
    engine: sa.Engine, journal: Journal, write: Write
) -> None:
    with next_cut(journal, engine, engine, None) as (_, first):
        pass
    write("UPDATE remark SET text = 'x' WHERE id = 1")
    with writing(engine, journal) as connection:
        add_fence(journal, connection, "t1")
    with engine.connect() as connection:
        assert not has_passed(journal, connection, first.position, "t1")
        with pytest.raises(PositionLost):
            has_passed(journal, connection, first.position, "another")
        census = written_by(connection)
    assert FENCE not in {line.entity for line in census}
    with next_cut(journal, engine, engine, first.position) as (connection, cut):
        assert has_passed(journal, connection, cut.position, "t1")
    assert cut.keys["remark"] == ("1",)
