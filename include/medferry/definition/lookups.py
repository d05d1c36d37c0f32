"""The code tables that mappings look up, and the lines of them that no row can ever reach."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from pathlib import Path

from medferry.errors import DefinitionError, gathered
from medferry.mapping.terminology import CodeStatus, CodeTable

_LOOKUPS = frozenset({"code", "coding", "local_coding", "optional_code", "required_code"})
"""Methods of a mapping's context, and of its ``ctx.row``, whose first argument names a code table."""


def check_tables_named(folder: Path, tables: Collection[str]) -> None:
    """Raises DefinitionError for each look-up in a table that there is not, where the code says its name."""
    gathered(partial(_check_file, path, tables) for path in sorted((folder / "mappings").glob("*.py")))


def _check_file(path: Path, tables: Collection[str]) -> None:
    for line, name in _named(ast.parse(path.read_bytes())):
        if name not in tables:
            known = f"terminology/{name}.csv"
            raise DefinitionError(path, line, f"there is no code table {name}.", f"Write {known}, or correct the name.")


def _named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, name) of the tables in ``ctx.code("name", …)`` and its kin."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=of, attr=attribute), args=[ast.Constant(name), *_]):
                if attribute in _LOOKUPS and isinstance(name, str) and ast.unparse(of) in ("ctx", "ctx.row"):
                    yield node.lineno, name


def unreachable(tables: Mapping[str, CodeTable], null_tokens: Collection[str]) -> list[str]:
    """What to be told of tables of which nothing maps, and of lines whose code is no value before it is looked up."""
    told = [
        f"the code table {name} has no {'approved ' if table.rows else ''}line: none of its codes maps"
        for name, table in tables.items()
        if not any(row.status == CodeStatus.APPROVED for row in table.rows.values())
    ]
    return told + [
        f"the code table {name} has the code {row.local_code!r}, which the plan's null_tokens call no value: it never "
        "maps. Take it out of source.null_tokens, and name its columns under source.column_null_tokens instead"
        for name, table in tables.items()
        for row in table.rows.values()
        if row.local_code.strip() in null_tokens
    ]
