"""What people planned is about the migration that there is."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path

from medferry.errors import DefinitionError, gathered
from medferry.plan.load import line_of
from medferry.plan.model import Plan


def check_planned(folder: Path, plan: Plan, entities: Collection[str]) -> None:
    """Raises DefinitionError for each domain of the data required that names no entity."""

    def check(domain: str, members: Collection[str]) -> None:
        if unknown := sorted({*members} - {*entities}):
            path = folder / "plan.yaml"
            problem = f"the domain {domain} of data_required names {unknown[0]}, which is no entity."
            raise DefinitionError(path, line_of(path, ("data_required", "domains", domain)), problem, "Correct it.")

    domains = plan.data_required.domains if plan.data_required else {}
    gathered([partial(check, domain, members) for domain, members in domains.items()])
