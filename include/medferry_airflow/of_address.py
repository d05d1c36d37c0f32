"""Which migration an address of the API server is of: that of the DAG in it, or the one that it names."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from medferry_airflow.definition import Served, served_as, served_by

BELOW = "/of/{migration}"
"""Where the addresses of each of several migrations are."""


def of_address(request: Request) -> Served:
    """Raises NotServed where several are served, and the address is of none."""
    parts = request.path_params
    return served_by(parts["dag_id"]) if "dag_id" in parts else served_as(parts.get("migration", ""))


def root_of(request: Request, served: Served) -> str:
    """Below which the addresses of a migration are."""
    root = str(request.scope.get("root_path", ""))
    return root if served.alone else root + BELOW.format(migration=served.name)


OfAddress = Annotated[Served, Depends(of_address)]
