"""Hashes of content, as columns: in Python the SHA-256 itself, in the database protected by the pepper if there is one.

The same hash may stand in several forms, plain and by each pepper: what was stored before says so by itself and is read
all the same. Therefore no statement compares hashes; who compares reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from medferry.errors import MedferryError

HASH_LENGTH = 64
_PLAIN = re.compile(r"[0-9a-f]{64}")
_PROTECTED = re.compile(r"[0-9a-f]{9}:[A-Za-z0-9_-]{54}")


class HashProtection(Protocol):
    """What the manifest's engine is opened with (``store.pepper``)."""

    def __hash__(self) -> int: ...

    @property
    def newest(self) -> str: ...
    @property
    def ids(self) -> frozenset[str]: ...
    def mark(self, hash_: str, /) -> str: ...
    def wrap(self, hash_: str, /) -> str: ...
    def unwrap(self, stored: str, /) -> str: ...


class PepperMissing(MedferryError):
    """The manifest has hashes that are protected by a pepper which is not given."""


def missing(ids: Iterable[str]) -> PepperMissing:
    """For peppers that the manifest needs, by their ids."""
    return PepperMissing(
        f"The manifest has hashes that are protected by the pepper {', '.join(ids)}, which is not given.",
        "Give it, in front of any newer one; if it is lost for good: docs/runbooks/pepper.md.",
    )


def protect(engine: sa.Engine, protection: HashProtection | None) -> None:
    """Have the hashes of an engine protected: of an engine, a column's type sees the dialect and nothing else."""
    engine.dialect.medferry_pepper = protection  # type: ignore[attr-defined]


def protection_of(dialect: sa.Dialect) -> HashProtection | None:
    """What an engine's hashes are protected by."""
    found: HashProtection | None = getattr(dialect, "medferry_pepper", None)
    return found


def stored(value: Any, protection: HashProtection | None) -> Any:
    """A hash as it is to be stored; what is none (empty: not known) stays as it is."""
    return protection.wrap(value) if protection and isinstance(value, str) and _PLAIN.fullmatch(value) else value


def read(value: Any, protection: HashProtection | None) -> Any:
    """What was stored, as a hash. Raises PepperMissing, and HashDamaged of the protection."""
    if not (isinstance(value, str) and _PROTECTED.fullmatch(value)):
        return value
    if protection is None:
        raise missing([value.partition(":")[0]])
    return protection.unwrap(value)


def mark(hash_: str, protection: HashProtection | None) -> str:
    """What stands for a hash where it is told or decided about, in 64 digits: the same for as long as a pepper is."""
    return protection.mark(hash_) if protection else hash_


def is_stored(value: str, hash_: str, protection: HashProtection | None) -> bool:
    """Whether a value that nothing may rewrite was stored of a hash; no, where its pepper is not given any more."""
    try:
        return bool(read(value, protection) == hash_)
    except PepperMissing:
        return False


class ContentHash(sa.types.TypeDecorator[str]):
    """A hash of content in a column of its own."""

    impl = sa.String(HASH_LENGTH)
    cache_ok = True

    class Comparator(sa.types.TypeDecorator.Comparator[str]):
        """Refuses to compare with a hash, which may stand there in another form."""

        def operate(self, op: Any, *other: Any, **options: Any) -> Any:
            if any(_is_compared(one) for one in other):
                raise TypeError("hashes are compared in Python: the same one has several forms in the database")
            return super().operate(op, *other, **options)

    comparator_factory = Comparator

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        return stored(value, protection_of(dialect))

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        return read(value, protection_of(dialect))


def _is_compared(other: Any) -> bool:
    """Whether that is a hash, hashes, or a column of them; nothing (empty) stands in one form only."""
    if isinstance(other, str | list | tuple | set | frozenset):
        return bool(other)
    return isinstance(getattr(other, "type", None), ContentHash)


class LinesWithHashes(sa.types.TypeDecorator[Any]):
    """Lists in JSON, each with hashes at some places."""

    impl = sa.JSON
    cache_ok = True

    def __init__(self, *places: int) -> None:
        super().__init__()
        self.places = places

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        return self.changed(value, lambda one: stored(one, protection_of(dialect)))

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:
        return self.changed(value, lambda one: read(one, protection_of(dialect)))

    def changed(self, lines: Any, change: Any) -> Any:
        """The lines with `change` done to each hash."""
        return [[change(one) if place in self.places else one for place, one in enumerate(line)] for line in lines]


def stored_rows(
    dialect: sa.Dialect, columns: Sequence[sa.Column[Any]], rows: Sequence[tuple[Any, ...]]
) -> Sequence[tuple[Any, ...]]:
    """Rows for a statement in SQL, which knows no types: their hashes as they are to be stored."""
    places = {place for place, column in enumerate(columns) if isinstance(column.type, ContentHash)}
    protection = protection_of(dialect)
    if not places or protection is None:
        return rows
    return [tuple(stored(one, protection) if i in places else one for i, one in enumerate(row)) for row in rows]
