"""docs/tutorial.md does what it says: its files are written, its commands run, and what it shows appears."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from medferry.definition.foreign_keys import check_references
from medferry.definition.migration import load_migration
from medferry.source.database import connect_engine, snapshot
from medferry.source.foreign_keys import foreign_keys

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r'^```(?P<kind>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)
_SERVER = "medferry medplum serve"


def steps(console: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block, with the lines that must appear."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, *shown = part.splitlines()
        yield command, [line for line in shown if line.strip()]


def missing(shown: list[str], output: str) -> list[str]:
    """The lines that do not appear; blanks count for nothing."""
    told = " ".join(output.split())
    return [line for line in shown if " ".join(line.split()) not in told]


@dataclass
class Reader:
    """Somebody who follows the tutorial in an empty folder."""

    folder: Path
    server: subprocess.Popen[str] | None = None
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDFERRY_")}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.variables = {**kept, "PATH": path, "COLUMNS": "140", "TERM": "dumb"}

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def do(self, command: str) -> str:
        if command.startswith(_SERVER):
            return self._serve(command)
        if command.startswith("export "):
            self._export(command)
            return ""
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=self.variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def _serve(self, command: str) -> str:
        """As in the second terminal, on any free port; what it prints is pasted into the first."""
        self.server = subprocess.Popen(
            [*shlex.split(command), "--port", "0"],
            cwd=self.folder,
            env=self.variables,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.server.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Serving"):
            line = self.server.stdout.readline()
            assert line, "the server ended"
            lines.append(line)
            if line.startswith("export "):
                self._export(line)
        return "".join(lines)

    def _export(self, command: str) -> None:
        self.variables |= dict(pair.split("=", 1) for pair in shlex.split(command)[1:])


@contextmanager
def reader(folder: Path) -> Iterator[Reader]:
    person = Reader(folder)
    try:
        yield person
    finally:
        if person.server:
            person.server.send_signal(signal.SIGTERM)
            person.server.wait(30)


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    done = 0
    with reader(tmp_path) as person:
        for block in _BLOCK.finditer((ROOT / "docs/tutorial.md").read_text(encoding="utf-8")):
            if block["title"]:
                person.write(block["title"], block["text"])
            elif block["kind"] == "console":
                for command, shown in steps(block["text"]):
                    output = person.do(command)
                    assert missing(shown, output) == [], f"{command}\n{output}"
                    done += 1
    assert done > 10


def test_the_foreign_keys_of_its_legacy_system_have_nothing_against_its_references(tmp_path: Path) -> None:
    with reader(tmp_path) as person:
        for block in _BLOCK.finditer((ROOT / "docs/tutorial.md").read_text(encoding="utf-8")):
            if block["title"]:
                person.write(block["title"], block["text"])
    legacy = sqlite3.connect(tmp_path / "legacy.db")
    legacy.executescript((tmp_path / "legacy.sql").read_text(encoding="utf-8"))
    legacy.close()
    migration, engine = load_migration(tmp_path / "practice"), connect_engine(f"sqlite:///{tmp_path}/legacy.db")
    with snapshot(engine) as connection:
        _, refers = foreign_keys(connection, [entity.sql for entity in migration.entities.values()])
        assert len(refers) == 2
        assert check_references(connection, migration, [*migration.entities]) == []
    engine.dispose()


def test_a_line_that_does_not_appear_is_found() -> None:
    assert list(steps("$ a b\nshown │ 1 │\n\n$ c\n")) == [("a b", ["shown │ 1 │"]), ("c", [])]
    assert missing(["shown │ 1 │", "shown │ 2 │"], "x\nshown   │ 1 │ y") == ["shown │ 2 │"]
