"""What MariaDB warns of is an error wherever it is read: nothing of such a slice counts as extracted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from medferry.definition.checks import EntityChecks
from medferry.definition.migration import load_migration
from medferry.errors import SourceError
from medferry.manifest import runs
from medferry.manifest.runs import SliceStage
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.runtime.settings import Settings
from medferry.source.count import count_by_unit
from medferry.source.database import connect_engine, snapshot
from medferry.source.entity import SourceEntity
from medferry.source.lookup import row_of_key, stream_keys, units_of_keys
from medferry.source.slices import cut
from medferry.stages.extract import extract_slice
from medferry.stages.prepare import prepare_run, scope_of
from medferry.verification.legacy import LegacyReader
from tests import tiny_platform

KEYS = ["1", "2"]


@pytest.fixture(scope="module")
def mariadb() -> Iterator[str]:
    try:
        with servers.mariadb() as server:
            tiny_platform.fill(server.url)
            yield server.url
    except servers.BinariesMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def environment(mariadb: str, tmp_path: Path) -> Environment:
    """The tiny migration, whose weights are read by a SELECT that MariaDB warns of at the last of many rows."""
    copy = tmp_path / "tiny"
    shutil.copytree(tiny_platform.MIGRATION, copy)
    file = copy / "entities" / "weight.sql"
    numbered = "CASE WHEN id = 39 THEN kg / 0 ELSE kg END AS kg"
    file.write_text(file.read_text(encoding="utf-8").replace(" kg,", f" {numbered},"), encoding="utf-8")
    manifest, staging = f"sqlite:///{tmp_path}/manifest.db", f"{tmp_path}/staging"
    settings = Settings(source_url=mariadb, manifest_url=manifest, staging_url=staging)
    return Environment(load_migration(copy), settings)


def test_no_slice_with_a_warning_is_extracted(environment: Environment) -> None:
    scope = scope_of(environment.migration, None, ["weight"])
    slices = prepare_run(environment, "r", "run", scope, RunOptions(slice_rows=15))
    assert len(slices) > 2
    done = []
    for slice_ in slices:
        with suppress(SourceError):
            extract_slice(environment, "r", slice_.id)
            done.append(slice_.id)
    assert [slice_.units for slice_ in slices if slice_.id not in done] == [["shared"]]
    with pytest.raises(SourceError, match="warning 1365: something was divided by 0"):
        extract_slice(environment, "r", next(slice_.id for slice_ in slices if slice_.id not in done))
    with environment.manifest.begin() as connection:
        found = runs.slices_of(connection, "r")
    assert [slice_.id for slice_ in found if runs.reached(slice_, SliceStage.EXTRACTED)] == done


def entity(key: str = "id", unit: str = "'u'") -> SourceEntity:
    sql = f"SELECT {key} AS id, {unit} AS unit FROM clinic"
    return SourceEntity("clinic", Path("clinic.sql"), ("id",), "unit", None, "Clinic", sql, {})


CUT = "LEFT(CONCAT(id, 1 / (id - 2)), 1)"
"""A key that reads well, and of which the database warns all the same."""

Look = Callable[[sa.Connection], object]


@pytest.mark.parametrize(
    "look",
    [
        lambda connection: count_by_unit(connection, entity(unit=f"IF({CUT} > '', 'u', 'u')"), ["u"]),
        lambda connection: count_by_unit(connection, entity(key=f"IFNULL({CUT}, 2)"), ["u"]),
        lambda connection: cut(connection, entity(key=f"IFNULL({CUT}, 2)"), {"u": 4}, 2),
        lambda connection: row_of_key(connection, entity(key=f"IFNULL({CUT}, 2)"), "1"),
        lambda connection: list(stream_keys(connection, entity(key=f"IFNULL({CUT}, 2)"), ["u"], KEYS)),
        lambda connection: units_of_keys(connection, entity(key=f"IFNULL({CUT}, 2)"), KEYS),
    ],
)
def test_what_is_counted_cut_and_looked_up(mariadb: str, look: Look) -> None:
    engine = connect_engine(mariadb)
    with pytest.raises(SourceError, match="warning 1365"), snapshot(engine) as connection:
        look(connection)
    engine.dispose()


def test_what_the_checks_read(mariadb: str) -> None:
    engine = connect_engine(mariadb)
    main = {"checks": [{"name": "ratio", "sql": "1 / (c.id - 2)", "path": "name", "compare": "text"}]}
    many = {"name": "names", "from": "clinic c", "key": "c.id", "sql": "1 / (c.id - 2)", "path": "name"}
    checks = EntityChecks.model_validate(
        {
            "from": "clinic c",
            "key": "c.id",
            "unit": "IF(1 / (c.id - 2) > 0, 'u', 'u')",
            "resources": {"main": main | {"many": [many | {"compare": "text"}]}},
        }
    )
    reader = LegacyReader(engine, entity(), checks)
    asked: list[Callable[[], object]] = [
        reader.count_by_unit,
        lambda: list(reader.all_rows()),
        lambda: list(reader.rows_by_key(KEYS)),
        lambda: reader.values(KEYS),
        lambda: reader.lists(checks.many("main")[0], KEYS),
        lambda: reader.most_referred("1 / (c.id - 2)", 3),
        lambda: reader.referred("1 / (c.id - 2)", KEYS),
    ]
    for ask in asked:
        with pytest.raises(SourceError, match="warning 1365"):
            ask()
    engine.dispose()
