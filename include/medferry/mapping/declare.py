"""How a mapping is declared: a decorated pure function from one source row to FHIR resources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from inspect import isasyncgenfunction, iscoroutinefunction, signature
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from medferry.mapping.context import Context

Row: TypeAlias = Mapping[str, Any]
"""One staged source row: column name → null, bool, int, float or str."""

Resource: TypeAlias = dict[str, Any]
"""One FHIR resource as parsed JSON."""

MappingFunction: TypeAlias = "Callable[[Row, Context], Iterable[Resource]]"

MAIN = "main"
"""The slot of an entity's chief resource; its identifier system has no suffix."""


class MappingStatus(StrEnum):
    """Whether somebody has approved a mapping."""

    DRAFT = "draft"
    APPROVED = "approved"


@dataclass(frozen=True, slots=True)
class MappingSpec:
    """A mapping as declared: who answers for it, what it produces (slot → resource type), what it refers to."""

    entity: str
    version: str
    owner: str
    status: MappingStatus
    produces: Mapping[str, str]
    references: tuple[str, ...]
    function: MappingFunction

    def __call__(self, row: Row, context: Context) -> Iterable[Resource]:
        return self.function(row, context)


def mapping(
    *,
    entity: str,
    version: str,
    owner: str,
    produces: Mapping[str, str],
    references: Iterable[str] = (),
    status: str = "draft",
) -> Callable[[MappingFunction], MappingSpec]:
    """Declare the mapping of a source entity.

    `produces` names each slot the function may fill and its resource type; `references` every entity that its
    resources may refer to. The order of the load is computed from these, and a mapping that goes beyond them
    is stopped. Raises ValueError.
    """
    if not isinstance(produces, Mapping):
        raise ValueError('produces names each slot and its type, such as {"main": "Patient"}')
    if isinstance(references, str):
        raise ValueError(f'references is a tuple, of one entity with a comma behind it: ("{references}",)')
    if status not in {*MappingStatus}:
        raise ValueError(f"the status {status!r} is unknown; there are {' and '.join(MappingStatus)}")
    judged = MappingStatus(status)

    def declare(function: MappingFunction) -> MappingSpec:
        _refuse_other_arguments(function)
        return MappingSpec(entity, version, owner, judged, dict(produces), tuple(references), function)

    return declare


def _refuse_other_arguments(function: MappingFunction) -> None:
    """Raises ValueError for what cannot be called with a row and a context, or yields to nobody who waits."""
    if iscoroutinefunction(function) or isasyncgenfunction(function):
        raise ValueError("a mapping is a plain function: leave async away")
    names = list(signature(function).parameters)
    try:
        signature(function).bind(None, None)
    except TypeError:
        raise ValueError("a mapping takes two arguments, row and ctx") from None
    if names[:2] == ["ctx", "row"]:
        raise ValueError("a mapping takes row first, then ctx")
