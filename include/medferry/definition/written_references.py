"""The references that the code of a mapping makes, and the columns of the row that it makes them of."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class WrittenReference:
    """One ``ctx.reference(…)``; `columns` is None where the code says them only when it runs."""

    line: int
    entity: str
    columns: tuple[str, ...] | None


def written_references(mapping: Path, key: Sequence[str]) -> list[WrittenReference]:
    """Those whose entity stands in the mapping's own file; `key` are the columns of its entity, for ``ctx.key``."""
    return list(_written(ast.parse(mapping.read_bytes()), tuple(key)))


def _written(tree: ast.AST, key: tuple[str, ...]) -> Iterator[WrittenReference]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=of, attr="reference"), args=[ast.Constant(str(entity)), *given], keywords=named
            ):
                of_row = ast.unparse(of).endswith(".row")
                given = given or [one.value for one in named if one.arg == ("column" if of_row else "key")]
                columns = _names(given) if of_row else _columns(given[:1], key)
                yield WrittenReference(node.lineno, entity, columns)


def _names(given: Sequence[ast.expr]) -> tuple[str, ...] | None:
    """Of ``ctx.row.reference``: a name an argument."""
    names = tuple(one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str))
    return names if names and len(names) == len(given) else None


def _columns(given: Sequence[ast.expr], key: tuple[str, ...]) -> tuple[str, ...] | None:
    """Of ``ctx.reference``: a value of the row, or a tuple of some."""
    match list(given):
        case [ast.Attribute(value=ast.Name("ctx"), attr="key")]:
            return key
        case [ast.Tuple(elts=parts)]:
            return _subscripts(parts)
        case parts:
            return _subscripts(parts)


def _subscripts(parts: Sequence[ast.expr]) -> tuple[str, ...] | None:
    """Of ``row["patient_id"]``."""
    names = []
    for part in parts:
        match part:
            case ast.Subscript(value=of, slice=ast.Constant(str(name))) if ast.unparse(of) in ("row", "ctx.columns"):
                names.append(name)
    return tuple(names) if names and len(names) == len(parts) else None
