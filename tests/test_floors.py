"""The house has floors: imports go down, never up and never in a circle (docs/architecture.md has the plan)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

CORE = Path(__file__).resolve().parent.parent / "include" / "medferry"

FLOORS = (
    "errors",
    "fhir",
    "plan",
    "source",
    "mapping",
    "medplum",
    "definition",
    "manifest",
    "governance",
    "store",
    "runtime",
    "apply",
    "stages",
    "sync",
    "verification",
    "cutover",
    "report",
    "charts",
    "workflows",
    "cli",
)
"""From the ground up."""


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import of the core in a file, those inside functions too; not those for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    passed_over = {id(node) for block in for_types for node in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in passed_over:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("medferry"):
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}" if node.module == "medferry" else node.module
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.startswith("medferry."))


def upward(path: Path, floors: tuple[str, ...] = FLOORS) -> list[str]:
    """The imports of a file that lead to a floor above its own."""
    own = floors.index(path.relative_to(CORE).with_suffix("").parts[0])
    found = []
    for line, module in imports(path):
        floor = module.split(".")[1]
        if floor in floors and floors.index(floor) > own:
            found.append(f"{path.relative_to(CORE)}:{line} imports {module}")
    return found


def files() -> list[Path]:
    return [path for path in sorted(CORE.rglob("*.py")) if path.parent != CORE or path.stem == "errors"]


def test_every_package_is_a_floor() -> None:
    packages = {path.parent.name for path in CORE.glob("*/__init__.py")}
    assert packages == set(FLOORS) - {"errors"}


def test_imports_go_down() -> None:
    assert [fault for path in files() for fault in upward(path)] == []


def test_an_import_upwards_is_found() -> None:
    """The test itself can fail: with the floors turned over, there are faults."""
    assert any(upward(path, FLOORS[::-1]) for path in files())


def test_no_circles_within_a_floor() -> None:
    """Two modules of the core never import each other, by whatever way round."""
    names = {".".join(("medferry", *path.relative_to(CORE).with_suffix("").parts)): path for path in files()}
    below = {name: {module for _, module in imports(path)} & set(names) for name, path in names.items()}
    while leaves := {name for name, found in below.items() if not found & set(below)}:
        below = {name: found for name, found in below.items() if name not in leaves}
    assert sorted(below) == []


def test_verification_shares_no_code_with_what_it_judges() -> None:
    seen = {module.split(".")[1] for path in (CORE / "verification").glob("*.py") for _, module in imports(path)}
    assert not seen & {"stages", "apply"}


def test_every_statement_on_the_manifest_is_in_manifest() -> None:
    """Nobody else knows its tables; the DAGs' tasks neither."""
    tasks = (CORE.parent / "medferry_airflow").rglob("*.py")
    others = [path for path in (*CORE.rglob("*.py"), *tasks) if not path.is_relative_to(CORE / "manifest")]
    assert len(others) > 100
    tables = {"medferry.manifest.tables", "medferry.manifest.tables_of_place", "medferry.manifest.tables_of_sending"}
    assert [path.name for path in others if tables & {name for _, name in imports(path)}] == []
    assert any("medferry.manifest.tables" in {name for _, name in imports(p)} for p in CORE.glob("manifest/*.py"))


def unpackaged(tests: Path) -> list[str]:
    """The folders of tests without `__init__.py`: there pytest takes two files of one name for the same module."""
    folders = {path.parent for path in tests.rglob("test_*.py")}
    return sorted(str(folder.relative_to(tests)) for folder in folders if not (folder / "__init__.py").exists())


def test_every_folder_of_tests_is_a_package() -> None:
    assert unpackaged(Path(__file__).resolve().parent) == []


def test_a_folder_of_tests_that_is_no_package_is_found(tmp_path: Path) -> None:
    (tmp_path / "loose").mkdir()
    (tmp_path / "loose" / "test_changes.py").touch()
    assert unpackaged(tmp_path) == ["loose"]
