"""Each direct dependency earns its place: the code imports it, or its line says what it is for."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINES = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")]
MODULES = {"pyyaml": "yaml"}
"""Packages whose module has another name."""


@cache
def imported() -> frozenset[str]:
    """Every module that the code which runs imports, by its full name."""
    found: set[str] = set()
    files = [path for folder in ("include", "dags", "docker") for path in (ROOT / folder).rglob("*.py")]
    for path in (path for path in files if "node_modules" not in path.parts):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module)
    return frozenset(found)


def module_of(package: str) -> str:
    """The module that a package is imported by: of a provider its part of ``airflow.providers``."""
    if package.startswith("apache-airflow"):
        return package.replace("apache-airflow-providers-", "airflow.providers.").replace("apache-airflow", "airflow")
    return MODULES.get(package, package.replace("-", "_"))


@pytest.mark.parametrize("line", LINES)
def test_a_dependency_is_imported_or_says_why_it_is_here(line: str) -> None:
    module = module_of(re.split(r"[\[<>=]", line)[0])
    used = any(name == module or name.startswith(f"{module}.") for name in imported())
    assert used or "  # " in line


def test_providers_are_looked_for_by_their_own_module() -> None:
    assert not any(name.startswith("airflow.providers.redis") for name in imported())
    assert module_of("apache-airflow-providers-http") == "airflow.providers.http"
    assert any(name.startswith("airflow.providers.http.") for name in imported())
