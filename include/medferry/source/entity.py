"""A source entity: one SELECT of the legacy database with a key, a unit, a change column and a date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlglot
from sqlglot.errors import TokenError
from sqlglot.tokenizer_core import Token, TokenType

from medferry.errors import DefinitionError, gathered
from medferry.source.dialects import VARIANTS
from medferry.source.headers import entity_files, headers_of, text_of
from medferry.source.keys import key_text, ledger_key, unit_text
from medferry.source.refused import placed


@dataclass(frozen=True, slots=True)
class SourceEntity:
    """What one entity file says; `variants` holds the queries for particular dialects."""

    name: str
    path: Path
    key: tuple[str, ...]
    """The columns of the key, as a rule one; their names are as the SELECT gives them."""
    unit: str
    changed: str | None
    title: str
    sql: str
    variants: Mapping[str, str]
    """Of each query, its file and line stand before it in a comment, so that what a database refuses has a place."""
    dated: str | None = None
    """The column of the date by which a history is loaded: a date or time, or text that begins as YYYY-MM-DD."""

    def query(self, dialect: str) -> str:
        """The SELECT to run on `dialect` ("mariadb" counts as "mysql")."""
        return self.variants.get("mysql" if dialect == "mariadb" else dialect, self.sql)

    def key_of(self, row: Mapping[str, Any]) -> str | None:
        """The canonical key of a row; None where it is null."""
        return key_text([row[name] for name in self.key])

    def ledger_key_of(self, row: Mapping[str, Any]) -> str:
        """The text under which the manifest keeps a row."""
        if len(self.key) == 1 and type(value := row[self.key[0]]) is int:
            return str(value)  # what most keys are, and nothing that a key may not be: asked of every row
        return ledger_key(self.key_of(row))

    def unit_of(self, row: Mapping[str, Any]) -> str:
        return unit_text(row[self.unit])


def load_entities(folder: Path) -> dict[str, SourceEntity]:
    """Read every ``*.sql`` of `folder`. Raises DefinitionError naming file, line and remedy."""
    portable = entity_files(folder)
    variants: dict[str, dict[str, str]] = {name: {} for name in portable}
    for path in sorted(folder.glob("*.*.sql")):
        name, _, dialect = path.stem.partition(".")
        if dialect not in VARIANTS or name not in portable:
            raise DefinitionError(
                path,
                None,
                "this file belongs to no entity and dialect.",
                f"Name it <entity>.<{'|'.join(VARIANTS)}>.sql.",
            )
        variants[name][dialect] = _statement(path, text_of(path), [VARIANTS[dialect]])
    loads = [partial(_entity, path, variants[name]) for name, path in portable.items()]
    return dict(zip(portable, gathered(loads), strict=True))


def _entity(path: Path, variants: Mapping[str, str]) -> SourceEntity:
    text = text_of(path)
    said = headers_of(path, text)
    return SourceEntity(
        name=path.stem,
        path=path,
        key=said.key,
        unit=said.unit,
        changed=said.changed,
        title=said.title,
        sql=_statement(path, text),
        variants=variants,
        dated=said.dated,
    )


def _statement(path: Path, sql: str, dialects: Sequence[str] = tuple(VARIANTS.values())) -> str:
    """The one SELECT of a file, without comments around it and a closing semicolon, as any of `dialects` reads it.

    Raises DefinitionError.
    """
    faults = []
    for dialect in dialects:
        try:
            return _only_select(path, sql, sqlglot.tokenize(sql, read=dialect))
        except TokenError:
            problem = "a quote or comment has no end."
            faults.append(DefinitionError(path, None, problem, "Close it; double a quote inside a literal."))
        except DefinitionError as fault:
            faults.append(fault)
    raise faults[0]


def _only_select(path: Path, sql: str, tokens: Sequence[Token]) -> str:
    semicolons = [token for token in tokens if token.token_type is TokenType.SEMICOLON]
    said = [token for token in tokens if token.token_type is not TokenType.SEMICOLON]
    if not said or said[0].token_type not in (TokenType.SELECT, TokenType.WITH):
        line = said[0].line if said else 1
        raise DefinitionError(path, line, "there is no SELECT.", "Write one SELECT (or WITH … SELECT).")
    if semicolons and semicolons[0].start < said[-1].start:
        problem = "there is a semicolon, and more after it."
        raise DefinitionError(path, semicolons[0].line, problem, "Write one statement.")
    return f"{placed(path, said[0].line)}{sql[said[0].start : said[-1].end + 1]}"
