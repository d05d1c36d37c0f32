"""Rooms stay small: no file of the core over 300 lines, no function over 50."""

from __future__ import annotations

import ast
from pathlib import Path

CORE = Path(__file__).resolve().parent.parent / "include" / "medferry"
FILE_LINES, FUNCTION_LINES = 300, 50


def too_long(path: Path) -> list[str]:
    """The file, and each of its functions, that is over its bound, by name and lines."""
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    found = [f"{path.relative_to(CORE)}: {lines} lines"] if lines > FILE_LINES else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                found.append(f"{path.relative_to(CORE)}: {node.name} has {length} lines")
    return found


def test_no_file_and_no_function_is_too_long() -> None:
    released = CORE / "manifest" / "revisions" / "versions"  # a released revision never changes
    files = [path for path in sorted(CORE.rglob("*.py")) if not path.is_relative_to(released)]
    assert len(files) > 100
    assert [fault for path in files for fault in too_long(path)] == []


def test_what_is_too_long_is_found(tmp_path: Path) -> None:
    path = CORE / "manifest" / "revisions" / "versions" / "v0001_first.py"
    assert len(too_long(path)) == 2  # the file, and its upgrade
