"""What a migration's DAGs are drawn from: the plan, the titles of the entities, the order of the load.

Airflow reads every DAG file again each half minute, and once more before each task: to judge all that an engineer wrote
would cost half a second of a processor each time. What is not judged here (SQL, code tables, checks, capture, gates,
whether a type can be kept) is judged by whatever begins to work with the migration, before it writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from medferry.definition.importing import mappings_package
from medferry.definition.mapping_files import check_strays, load_spec
from medferry.errors import DefinitionError, SettingsError, gathered
from medferry.mapping.declare import MappingSpec
from medferry.mapping.levels import ReferenceCycle, load_levels
from medferry.plan.load import load_plan, load_yaml
from medferry.plan.model import Plan
from medferry.source.headers import entity_files, headers_of, text_of

MIGRATIONS_FOLDER = Path(__file__).resolve().parents[2] / "migrations"
"""Where ``<name>/plan.yaml`` is looked for when a migration is given by name."""

_NAME = "Name one of {}, or a folder with a plan.yaml (--migration, MEDFERRY_MIGRATION)."


@dataclass(frozen=True)
class Outline:
    """The shape of a migration; nobody has judged what is in it."""

    plan: Plan
    titles: Mapping[str, str]
    """Entity → what people call it."""
    levels: list[list[str]]
    """Entities in the order of the load, as of `Migration`."""
    moves_units: bool
    """Whether gates are declared for both systems, so that waves can be cut over."""


def migration_folder(name_or_folder: str | Path) -> Path:
    """The folder of a migration, given by itself or by a name under ``include/migrations``.

    Raises DefinitionError, SettingsError for several.
    """
    given = Path(name_or_folder)
    listed = [part.strip() for part in str(name_or_folder).split(",") if part.strip()]
    if len(listed) > 1 and not given.is_dir():
        raise SettingsError(
            f"MEDFERRY_MIGRATION lists several migrations: {name_or_folder}.", "Say which one is meant: --migration."
        )
    if len(listed) == 1 and not given.is_dir():
        given = Path(listed[0])
    folder = given if given.is_dir() else MIGRATIONS_FOLDER / given
    if not folder.is_dir():
        known = ", ".join(sorted(p.parent.name for p in MIGRATIONS_FOLDER.glob("*/plan.yaml"))) or "none"
        raise DefinitionError(folder, None, "there is no such migration.", _NAME.format(known))
    return folder


def load_outline(name_or_folder: str | Path) -> Outline:
    """Read the outline of a migration, by name or by folder. Touches no database.

    Raises DefinitionError (file, line, remedy) for all faults of what it reads that do not hide each other.
    """
    folder = migration_folder(name_or_folder)
    plans: list[Plan] = []
    titles: dict[str, str] = {}
    gathered([lambda: plans.append(load_plan(folder / "plan.yaml")), lambda: titles.update(_titles(folder))])
    [plan] = plans
    mappings = folder / "mappings"
    package = mappings_package(plan.name, mappings)
    specs: dict[str, MappingSpec] = {}

    def load(name: str) -> None:
        specs[name], _ = load_spec(package, mappings / f"{name}.py")

    gathered([*(partial(load, name) for name in titles), partial(check_strays, mappings, set(titles))])
    return Outline(plan, titles, check_order(folder, specs), _moves_units(folder))


def check_order(folder: Path, specs: Mapping[str, MappingSpec]) -> list[list[str]]:
    """The levels in which `specs` can be loaded. Raises DefinitionError for an unknown reference, and for a ring."""
    for name, spec in specs.items():
        path = folder / "mappings" / f"{name}.py"
        if unknown := sorted(set(spec.references) - set(specs)):
            raise DefinitionError(path, 1, f"it refers to the unknown entity {unknown[0]}.", "Correct `references`.")
        if not spec.produces:
            raise DefinitionError(path, 1, "it produces nothing.", "Name a slot and its resource type in `produces`.")
    try:
        return load_levels(specs)
    except ReferenceCycle as cycle:
        raise DefinitionError(
            folder / "mappings", None, f"these refer to each other in a ring: {cycle}.", "Leave one reference out."
        ) from cycle


def _titles(folder: Path) -> dict[str, str]:
    files = entity_files(folder / "entities")
    read = gathered(partial(lambda path: headers_of(path, text_of(path)).title, path) for path in files.values())
    return dict(zip(files, read, strict=True))


def _moves_units(folder: Path) -> bool:
    path = folder / "gate.yaml"
    rules = load_yaml(path) if path.is_file() else None
    return isinstance(rules, dict) and rules.get("medplum") is not None
