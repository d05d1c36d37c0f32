"""Which rights the statements of the manifest need, read from their code: table → INSERT, UPDATE, DELETE.

Every statement on a manifest's table is in `medferry.manifest`. What is read there is what a role could use at most.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from types import ModuleType

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from medferry import manifest
from medferry.manifest import bulk
from medferry.manifest.hashes import ContentHash, LinesWithHashes
from medferry.manifest.tables import metadata

Rights = dict[str, set[str]]

_BY_SQLALCHEMY = {sa.insert: "INSERT", postgresql.insert: "INSERT", sa.update: "UPDATE", sa.delete: "DELETE"}
_BY_US = {bulk.upsert: "INSERT", bulk.append: "INSERT", bulk.change: "UPDATE", bulk.forget: "DELETE"}
_ELSEWHERE = {"bulk", "rewrap"}
"""Modules whose tables are handed in: `bulk`'s are named by its callers, `rewrap` goes through all hashes."""


def needed_rights() -> Rights:
    """Of all statements of the package."""
    needed: Rights = defaultdict(set)
    for module in _modules():
        for call, loops in _calls(ast.parse(inspect.getsource(module)), {}):
            for name, verbs in _of_call(module, call, loops):
                needed[name] |= verbs
    for table in metadata.sorted_tables:
        if any(isinstance(column.type, ContentHash | LinesWithHashes) for column in table.columns):
            needed[table.name].add("UPDATE")
    return needed


def _modules() -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(manifest.__path__):
        if not found.ispkg and found.name not in _ELSEWHERE:
            yield importlib.import_module(f"{manifest.__name__}.{found.name}")


def _calls(node: ast.AST, loops: dict[str, ast.expr]) -> Iterator[tuple[ast.Call, dict[str, ast.expr]]]:
    """Each call, and what the loops around it go through, by the name of their first variable."""
    if isinstance(node, ast.For):
        first = node.target.elts[0] if isinstance(node.target, ast.Tuple) else node.target
        loops = {**loops, first.id: node.iter} if isinstance(first, ast.Name) else loops
    if isinstance(node, ast.Call):
        yield node, loops
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, loops)


def _of_call(module: ModuleType, call: ast.Call, loops: dict[str, ast.expr]) -> Iterator[tuple[str, set[str]]]:
    function = _function(module, call.func)
    if function in _BY_SQLALCHEMY:
        for name in _tables(module, call.args[0], loops):
            yield name, {_BY_SQLALCHEMY[function]}
    elif function in _BY_US:
        keeps = any(one.arg == "update" and ast.unparse(one.value) == "()" for one in call.keywords)
        verbs = {_BY_US[function]} | ({"UPDATE"} if function is bulk.upsert and not keeps else set())
        for name in _tables(module, call.args[1], loops):
            yield name, verbs


def _function(module: ModuleType, called: ast.expr) -> object:
    """What is called, of the functions that count; `(a if … else b).insert` is PostgreSQL's."""
    if isinstance(called, ast.Name):
        return vars(module).get(called.id, postgresql.insert if called.id == "insert" else None)
    if isinstance(called, ast.Attribute):
        owner = vars(module).get(called.value.id) if isinstance(called.value, ast.Name) else None
        if owner in (sa, bulk):
            return getattr(owner, called.attr)
        return postgresql.insert if called.attr == "insert" and isinstance(called.value, ast.IfExp) else None
    return None


def _tables(module: ModuleType, given: ast.expr, loops: dict[str, ast.expr]) -> Iterable[str]:
    """The names of the tables that an expression stands for. Fails for what it does not know how to read."""
    if isinstance(given, ast.Name) and isinstance(table := vars(module).get(given.id), sa.Table):
        return [table.name]
    assert isinstance(given, ast.Name) and given.id in loops, f"{module.__name__}: {ast.unparse(given)}"
    through = loops[given.id]
    if isinstance(through, ast.Name):
        return [table.name for table in vars(module)[through.id]]
    assert isinstance(through, ast.Tuple)
    firsts = [one.elts[0] if isinstance(one, ast.Tuple) else one for one in through.elts]
    return [name for one in firsts for name in _tables(module, one, {})]
