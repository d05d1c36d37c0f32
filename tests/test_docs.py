"""What the documentation repeats from the code is the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from medferry import errors
from medferry.cli.main import app
from medferry.definition.migration import load_migration

ROOT = Path(__file__).resolve().parents[1]


_COMMANDS = ((), ("plan", "check"), ("source", "profile"), ("try",), ("run",), ("verify",), ("report",), ("runs",))
_COMMANDS += (("dead-letters",), ("history",), ("replay",), ("pause",), ("resume",), ("abort",))
_COMMANDS += (("exceptions",), ("exceptions", "list"), ("exceptions", "decide"))
_COMMANDS += (("charts",), ("charts", "draw"), ("charts", "record"))


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


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{p.relative_to(ROOT / 'docs')}" for p in (ROOT / "docs").rglob("*.md"))]
)
def test_links_lead_somewhere(page: str) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text())
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []


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


if __name__ == "__main__":
    (ROOT / "docs/command-line.md").write_text(command_line())
