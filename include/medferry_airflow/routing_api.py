"""`GET /medferry/routing`: the routing document as JSON, for whoever may sign in to this Airflow.

Of several migrations: `GET /medferry/of/<migration>/routing`.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Response, status

from medferry.cutover.routing import Routing
from medferry.cutover.routing_file import read_routing
from medferry.errors import MedferryError
from medferry.runtime.settings import settings_from_environment
from medferry.runtime.several import variables_of
from medferry.workflows.routing import routing_path
from medferry_airflow.definition import Served
from medferry_airflow.of_address import OfAddress

router = APIRouter()


@router.get("/routing")
def routing(served: OfAddress, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """What is published; 304 where the caller has it, 404 where nothing is, 503 where it cannot be read."""
    found = _published(served)
    headers = {"ETag": f'"{found.digest}"', "Cache-Control": "no-cache"}
    if if_none_match is not None and has_it(if_none_match, found.digest):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    return Response(found.model_dump_json(), media_type="application/json", headers=headers)


def has_it(if_none_match: str, digest: str) -> bool:
    """Whether a list of entity tags, weak ones too, has the digest's (RFC 9110, 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or f'"{digest}"' in tags


def _published(served: Served) -> Routing:
    try:
        found = read_routing(routing_path(settings_from_environment(variables_of(served.plan.name))))
    except MedferryError as error:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, str(error)) from None
    if found is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "Nothing has been published: `medferry routing publish`.")
    return found
