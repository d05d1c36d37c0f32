"""Whether checks and entities mean the same keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medferry.definition.checks import Declared
from medferry.errors import DefinitionError
from medferry.source.entity import SourceEntity


def check_keys(folder: Path, entities: Mapping[str, SourceEntity], checks: Declared) -> None:
    """Raises DefinitionError unless the checks name as many columns of a key as the entity has."""
    for name, declared in checks.entities.items():
        path = folder / "checks" / f"{name}.yaml"
        for entity, number in [
            (name, len(declared.keys)),
            *(
                (check.entity or "", 1 + len(check.further_sql))
                for slot in declared.resources
                for check in declared.checks(slot)
                if check.compare == "reference"
            ),
        ]:
            wanted = len(entities[entity].key)
            if number != wanted:
                problem = f"the key of {entity} has {wanted} column(s), not {number}."
                raise DefinitionError(path, None, problem, "List as many SQL expressions, in the entity's order.")
