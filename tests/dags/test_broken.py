"""A mistake in a migration's files: the DAG files still parse, and the DAG's page says what is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from airflow.sdk import DAG

from medferry.errors import DefinitionError
from tests.dags.conftest import parse
from tests.tiny_platform import MIGRATION


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MIGRATION, tmp_path / "tiny", ignore=shutil.ignore_patterns("__pycache__")))


def dags_of(folder: Path) -> dict[str, DAG]:
    bag = parse(folder)
    assert bag.import_errors == {}
    return bag.dags


def test_an_unbroken_copy_has_the_usual_dags(copy: Path) -> None:
    assert sorted(dags_of(copy)) == ["big_bang", "control", "panic", "replay", "verify", "wave_pilot", "wave_rest"]


def test_a_broken_mapping_is_shown_on_every_page_with_file_line_and_remedy(copy: Path) -> None:
    mapping = copy / "mappings" / "patient.py"
    mapping.write_text("import nothing_of_that_name\n", encoding="utf-8")
    dags = dags_of(copy)
    assert sorted(dags) == ["big_bang", "control", "panic", "replay", "verify", "wave_pilot", "wave_rest"]
    for dag in dags.values():
        assert f"`{mapping}`, line 1" in str(dag.doc_md)
        assert "ModuleNotFoundError" in str(dag.doc_md) and "What to do" in str(dag.doc_md)
        assert "broken" in dag.tags


def test_a_broken_plan_leaves_one_dag_for_the_waves(copy: Path) -> None:
    plan = copy / "plan.yaml"
    plan.write_text(
        plan.read_text(encoding="utf-8").replace("strategy: phased", "strategy: sideways"), encoding="utf-8"
    )
    dags = dags_of(copy)
    assert sorted(dags) == ["big_bang", "control", "panic", "replay", "verify", "waves"]
    assert f"`{plan}`, line 3" in str(dags["waves"].doc_md)


def test_a_migration_that_does_not_exist_is_told(tmp_path: Path) -> None:
    dags = dags_of(tmp_path / "nowhere")
    assert "there is no such migration" in str(dags["big_bang"].doc_md)


def test_the_only_task_fails_with_the_error(copy: Path) -> None:
    (copy / "entities" / "patient.sql").write_text("SELECT 1", encoding="utf-8")
    (task,) = dags_of(copy)["wave_pilot"].tasks
    with pytest.raises(DefinitionError, match=r"patient\.sql"):
        task.python_callable()  # type: ignore[attr-defined]


def test_what_no_dag_is_drawn_from_is_judged_by_the_first_task(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DAG file is read too often to judge all that an engineer wrote; a run that begins does so before it writes."""
    (copy / "checks" / "patient.yaml").write_text("from: [", encoding="utf-8")
    dags = dags_of(copy)
    assert "broken" not in dags["wave_pilot"].tags
    monkeypatch.setenv("MEDFERRY_MIGRATION", str(copy))
    monkeypatch.setenv("MEDFERRY_MANIFEST_URL", f"sqlite:///{copy}/manifest.db")
    prepare = dags["wave_pilot"].get_task("prepare").python_callable  # type: ignore[attr-defined]
    with pytest.raises(DefinitionError, match=r"checks/patient\.yaml"):
        prepare("wave_pilot.broken", "wave", ["north"], {}, None)
    assert not (copy / "manifest.db").exists()
