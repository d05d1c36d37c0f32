"""The files of a migration's mappings, imported: what goes wrong is told by the line that its engineer wrote."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from medferry.errors import DefinitionError
from medferry.mapping.declare import MappingSpec


def load_spec(package: str, path: Path) -> tuple[MappingSpec, ModuleType]:
    """The mapping that the file `path` of an entity declares, and the module that it is. Raises DefinitionError."""
    entity = path.stem
    if not path.is_file():
        raise DefinitionError(
            path, None, f"the entity {entity} has no mapping.", "Write this file, or remove the entity."
        )
    try:
        module = importlib.import_module(f"{package}.{entity}")
    except SyntaxError as error:
        at, _ = _own_line(path, [(error.filename or "", error.lineno)])
        raise DefinitionError(at, error.lineno, "this is not valid Python.", f"{error.msg}.") from error
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        at, line = _own_line(path, [(frame.filename, frame.lineno) for frame in frames])
        raise DefinitionError(
            at, line, f"importing it raises {type(error).__name__}: {error}.", "Correct it."
        ) from error
    found = [value for value in vars(module).values() if isinstance(value, MappingSpec)]
    if len(found) != 1 or found[0].entity != entity:
        raise DefinitionError(
            path,
            1,
            f"it must declare one mapping of {entity}.",
            f"Decorate one function with @mapping(entity={entity!r}, …).",
        )
    return found[0], module


def _own_line(path: Path, places: Sequence[tuple[str, int | None]]) -> tuple[Path, int | None]:
    """The last of `places` (file, line) that is beside the mapping `path`: what its author wrote, here or shared."""
    folder = path.parent.resolve()
    own = [(Path(file), line) for file, line in places if Path(file).resolve().is_relative_to(folder)]
    if not own:
        return path, None
    file, line = own[-1]
    return path.parent / file.resolve().relative_to(folder), line


def check_strays(folder: Path, entities: set[str]) -> None:
    """Raises DefinitionError for a file that maps no entity."""
    for path in sorted(folder.glob("*.py")):
        if path.stem not in entities and not path.stem.startswith(("_", ".")):
            raise DefinitionError(path, 1, "it maps no entity.", f"Write entities/{path.stem}.sql, or remove the file.")
