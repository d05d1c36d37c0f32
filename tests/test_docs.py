"""What the documentation repeats from the code is the code's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner

from medferry import errors
from medferry.cli.main import app
from medferry.definition.checks import Comparator
from medferry.definition.migration import load_migration
from medferry.plan.schema import plan_schema
from medferry.runtime.variables import VARIABLES
from medferry.source.headers import HEADERS
from medferry.source.types import mssql, mysql, postgresql, sqlite
from tests import reference
from tests.contract import changes

ROOT = Path(__file__).resolve().parents[1]

PREFIXES = {"MEDFERRY_STORE_KEY", "MEDFERRY_EVIDENCE_KEY", "MEDFERRY_PEPPER"}
"""Beginnings of variables; one is put together from such: the key of the certificate."""


_COMMANDS = (
    (),
    ("plan", "check"),
    ("source", "profile"),
    ("inventory",),
    ("try",),
    ("test",),
    ("run",),
    ("verify",),
    ("report",),
    ("runs",),
)
_COMMANDS += (
    ("dead-letters",),
    ("history",),
    ("replay",),
    ("pause",),
    ("resume",),
    ("abort",),
    ("systems",),
    ("heal",),
    ("leftovers",),
    ("purge",),
)
_COMMANDS += (("medplum",), ("medplum", "policy"), ("medplum", "serve"))
_COMMANDS += (("exceptions",), ("exceptions", "list"), ("exceptions", "decide"))
_COMMANDS += (("new",),)
_COMMANDS += (("charts",), ("charts", "draw"), ("charts", "record"))
_COMMANDS += (("capture",), ("capture", "install"), ("capture", "check"), ("capture", "remove"), ("capture", "prune"))
_COMMANDS += (("gate",), *(("gate", name) for name in ("install", "check", "remove", "show", "close", "open")))
_COMMANDS += (("routing",), *(("routing", name) for name in ("show", "check", "publish")))
_COMMANDS += (("cutover",), *(("cutover", name) for name in ("wave", "prepare", "status")), ("rollback",), ("panic",))
_COMMANDS += (("key",), ("pepper",), *(("pepper", name) for name in ("show", "protect", "forget")))
_COMMANDS += (("retire",), ("evidence",), ("evidence", "verify"))
_COMMANDS += (("sync",), ("sync", "wave"), ("sync", "status"), ("sweep",))
_COMMANDS += (("readiness",), ("readiness", "show"), ("readiness", "accept"), ("safety",), ("side-effects",))
_COMMANDS += (("announce",),)
_COMMANDS += (("audit",), ("audit", "verify"), ("audit", "show"))
_COMMANDS += (("four-eyes",), ("four-eyes", "list"), ("four-eyes", "refuse"))
_COMMANDS += (("manifest",), ("manifest", "grants"))
_COMMANDS += (("conflicts",), ("conflicts", "list"), ("conflicts", "show"), ("conflicts", "decide"))


def test_every_command_has_its_place_on_the_page() -> None:
    names = {path[0] for path in _COMMANDS if path}
    assert names == set(typer.main.get_command(app).commands)


def command_line() -> str:
    """docs/command-line.md as it must be: the help of every command."""
    text = ["# The command line", "", "Written by `make docs` from the commands' own help.", ""]
    for path in _COMMANDS:
        shown = CliRunner().invoke(app, [*path, "--help"], prog_name="medferry", env={"COLUMNS": "100", "TERM": "dumb"})
        plain = "\n".join(line.rstrip() for line in shown.output.splitlines()).strip()
        text += [f"## {' '.join(('medferry', *path))}", "", "```text", plain, "```", ""]
    return "\n".join(text)


def test_the_command_line_s_page_is_its_help() -> None:
    assert (ROOT / "docs/command-line.md").read_text() == command_line(), "run `make docs`"


_PAPERS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")


@pytest.mark.parametrize(
    "page", [*_PAPERS, *(f"docs/{p.relative_to(ROOT / 'docs')}" for p in (ROOT / "docs").rglob("*.md"))]
)
def test_links_lead_somewhere(page: str) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text())
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []


def test_contributing_names_real_commands_and_places() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", text)) <= targets
    named = set(re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", text))
    assert len(named) > 10
    homes = (ROOT, ROOT / "include", ROOT / "include/medferry")
    migration_files = {"terminology/"}
    assert {n for n in named - migration_files if not any((home / n).exists() for home in homes)} == set()


def test_the_red_run_page_names_real_errors() -> None:
    named = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", (ROOT / "docs/runbooks/red_run.md").read_text(), re.MULTILINE)
    names = {name.strip("` ") for cell in named for name in cell.split(",")}
    assert names
    sources = "".join(path.read_text() for path in (ROOT / "include").rglob("*.py"))
    assert {name for name in names if f"class {name}(" not in sources} == set()
    assert errors.MedferryError.__name__ not in names


def test_the_readme_s_numbers_are_the_demo_s_plan() -> None:
    waves = [wave.id for wave in load_migration("clinics").plan.waves]
    assert "wave_pilot" in (ROOT / "README.md").read_text()
    assert "pilot" in waves


MEDPLUM_PAGE = ROOT / "docs/medplum.md"
_TABLE = re.compile(r"(<!-- written by `make docs`[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)


def medplum_page() -> str:
    """docs/medplum.md as it must be: its table of versions is that of the contract tests."""
    table = "\n".join(["", *changes.table(), "", ""])
    return _TABLE.sub(lambda found: found[1] + table + found[2], MEDPLUM_PAGE.read_text())


def test_the_page_of_medplum_s_behaviour_has_the_contract_tests_table() -> None:
    assert MEDPLUM_PAGE.read_text() == medplum_page(), "run `make docs`"


def test_the_page_of_medplum_s_behaviour_names_real_tests_and_modules() -> None:
    page = MEDPLUM_PAGE.read_text()
    sources = "".join(path.read_text() for path in (ROOT / "tests/contract").glob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named
    assert {name for name in named if f"def {name}(" not in sources} == set()
    relied_on = "".join(line.split(" | ")[2] for line in page.splitlines() if line.count(" | ") == 3)
    modules = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)+|apply)`", relied_on))
    assert len(modules) > 10
    places = {name: ROOT / "include/medferry" / name.replace(".", "/") for name in modules}
    assert {name for name, path in places.items() if not (path.is_dir() or path.with_suffix(".py").exists())} == set()


TYPES_PAGE = ROOT / "docs/types.md"


def types_page() -> str:
    """docs/types.md as it must be: a table for each engine, from the code's own."""
    tables = {
        "PostgreSQL": [*postgresql.TYPES.values(), *postgresql.EXTENSIONS.values(), *postgresql.MADE.values()],
        "MySQL and MariaDB": [*mysql.TYPES.values(), mysql.BINARY_STRINGS],
        "SQLite": list(sqlite.TYPES.values()),
        "SQL Server (not run against a server here)": list(mssql.TYPES.values()),
    }
    lines = [""]
    for engine, known in tables.items():
        lines += [f"## {engine}", "", "| SQL type | What arrives | Note |", "|---|---|---|"]
        lines += [f"| {row.name} | {row.canonical} | {row.note} |" for row in known] + [""]
    return _TABLE.sub(lambda found: found[1] + "\n".join([*lines, ""]) + found[2], TYPES_PAGE.read_text())


def test_the_page_of_types_is_the_boundary_s_tables() -> None:
    assert TYPES_PAGE.read_text() == types_page(), "run `make docs`"


def test_the_reference_has_the_code_s_own_names() -> None:
    assert reference.PAGE.read_text() == reference.page(), "run `make docs`"


def test_the_variables_of_the_reference_are_those_that_the_program_reads() -> None:
    read = reference.variables() - PREFIXES
    assert read <= VARIABLES.keys(), "name what it says in runtime/variables.py"
    assert {name for name in VARIABLES if name not in read and "<" not in name} == {"MEDFERRY_MEDPLUM_CERTIFICATE_KEY"}


def test_the_reference_has_all_headers() -> None:
    text = reference.PAGE.read_text()
    headers = re.findall(r"^\| `(\w+)` \|", text.split("## Headers")[1].split("\n## ")[0], re.MULTILINE)
    assert set(headers) == HEADERS


def test_the_runbook_of_the_verification_has_all_comparators() -> None:
    table = (ROOT / "docs/runbooks/verify.md").read_text().split("| `compare` | Equal means |")[1].split("\n\n")[0]
    told = " ".join(re.findall(r"^\| ([^|-]+) \|", table, re.MULTILINE))
    assert set(re.findall(r"\w+", told)) == set(get_args(Comparator))


PLAN_SCHEMA = ROOT / "docs/plan.schema.json"


def test_the_plan_s_schema_is_its_model() -> None:
    assert PLAN_SCHEMA.read_text() == plan_schema(), "run `make docs`"


if __name__ == "__main__":
    PLAN_SCHEMA.write_text(plan_schema())
    reference.PAGE.write_text(reference.page())
    TYPES_PAGE.write_text(types_page())
    MEDPLUM_PAGE.write_text(medplum_page())
    (ROOT / "docs/command-line.md").write_text(command_line())
