"""What was compared is counted, and what was not is not called proven: its verdict has another word and exit code."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from medferry.cli.main import app
from medferry.definition.migration import load_migration
from medferry.errors import DefinitionError, HashesOnly, VerificationFailed
from medferry.governance.verdict import verdict_of
from medferry.manifest.checks import verification_of
from medferry.manifest.coverage import LeafCount, coverage_of
from medferry.manifest.runs import get_run
from medferry.report.coverage import coverage_text
from medferry.report.reconciliation import reconcile
from medferry.report.write import render_html
from medferry.runtime.environment import Environment
from tests.tiny_platform import MIGRATION, variables
from tests.verification.conftest import RUN
from tests.workflows.test_migrate import migrate


def altered(tiny: Environment, folder: Path, without: tuple[str, ...] = (), **acceptance: Any) -> Environment:
    """The tiny platform `without` the checks of some entities, and with more in its plan's acceptance."""
    copy = Path(shutil.copytree(MIGRATION, folder / "tiny", ignore=shutil.ignore_patterns("__pycache__")))
    for entity in without:
        (copy / "checks" / f"{entity}.yaml").unlink()
    plan = yaml.safe_load((copy / "plan.yaml").read_text())
    plan["acceptance"] |= acceptance
    (copy / "plan.yaml").write_text(yaml.safe_dump(plan))
    return Environment(load_migration(copy), tiny.settings)


def verdict(environment: Environment) -> str:
    with environment.manifest.begin() as connection:
        return verdict_of(connection, RUN).text()


def test_what_was_not_compared_is_not_proven_but_hashes_only(
    tiny: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = altered(tiny, tmp_path, ("weight", "staff"))
    with pytest.raises(HashesOnly, match="nothing of staff, weight was compared"):
        migrate(bare, RUN)
    assert verdict(bare) == "hashes only"
    with bare.manifest.begin() as connection:
        assert get_run(connection, RUN).status == "failed"
        page = render_html(reconcile(connection, bare.migration, RUN))
    assert "HASHES ONLY" in page
    for name, value in variables(bare.settings).items():
        monkeypatch.setenv(name, value)
    for command in (["verify", RUN, "--report-folder", str(tmp_path)], ["verify", "--entity", "weight"]):
        result = CliRunner().invoke(app, [*command, "--migration", str(bare.migration.folder)])
        assert result.exit_code == 3, result.output
        assert "hashes only" in result.stdout and "by hash alone" in result.stdout


def test_the_plan_may_accept_it_by_name_and_reason(tiny: Environment, tmp_path: Path) -> None:
    accepted = altered(tiny, tmp_path, ("staff",), hashes_only={"staff": "Two people, compared by hand."})
    migrate(accepted, RUN)
    assert verdict(accepted) == "proven"
    with accepted.manifest.begin() as connection:
        results = verdict_of(connection, RUN).results
    [note] = [
        result.note for result in results if result.name == "values: declared checks" and result.entity == "staff"
    ]
    assert note.endswith("Two people, compared by hand.")


def test_the_plan_accepts_no_entity_that_is_not_there(tiny: Environment, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="unknown entity beds"):
        altered(tiny, tmp_path, hashes_only={"beds": "There are none, really."})


def test_a_plan_may_demand_a_share(tiny: Environment, tmp_path: Path) -> None:
    """Of a weight are compared, by value or rule: value, patient, time; type, id, source, tag, identifier, type of the
    reference. By hash alone: status, three of the code, three of the unit."""
    with pytest.raises(VerificationFailed, match=r"acceptance: compared share of weight \(different\)"):
        migrate(altered(tiny, tmp_path, min_compared_share=0.9), RUN)


def test_the_coverage_is_kept_with_the_verification(tiny: Environment) -> None:
    migrate(tiny, RUN)
    with tiny.manifest.begin() as connection:
        done = verification_of(connection, RUN)
        assert done is not None
        counts = {(each.entity, each.slot): each for each in coverage_of(connection, done.id)}
        page = render_html(reconcile(connection, tiny.migration, RUN))
    assert counts.keys() == {(n, s) for n, spec in tiny.migration.specs.items() for s in spec.produces}
    assert counts["weight", "main"] == LeafCount("weight", "main", 30, 30 * 3, 30 * 8, 30 * 7)
    assert coverage_text(list(counts.values())) in page
    assert coverage_text([]) == ""
