"""Make Medplum's project and a ClientApplication for Medferry in it, and print its id and secret as lines for .env.

Signs in as the super admin's client, which Medplum makes on its first start, and uses Medplum's documented requests
`Project/$init` (docs: api/fhir/operations/project-init) and `admin/projects/:id/client` (docs:
api/project-admin/client). A project of that name is used again; the client is a new one each time. `--quota` raises
its points a minute by a `UserConfiguration` (docs: access/user-configuration; docs/quota.md); `--policy` lets it do no
more than a file of `medferry medplum policy` says (docs: access/access-policies).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

_FHIR = {"Content-Type": "application/fhir+json"}


class SetupError(RuntimeError):
    """Medplum refused a step. The text holds no credential."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print MEDPLUM_CLIENT_ID and MEDPLUM_CLIENT_SECRET; ends with code 1 and a message when Medplum refuses."""
    options = _parser().parse_args(arguments)
    given = os.environ
    try:
        with httpx.Client(base_url=given["MEDPLUM_BASE_URL"], timeout=60) as http:
            sign_in(http, given["MEDPLUM_SUPER_ADMIN_CLIENT_ID"], given["MEDPLUM_SUPER_ADMIN_CLIENT_SECRET"])
            project = project_id(http, given["MEDPLUM_PROJECT"], given["MEDPLUM_SUPER_ADMIN_EMAIL"])
            client = make_client(http, project)
            bounds = {}
            if options.policy is not None:
                bounds |= bound_by_policy(http, project, options.policy)
            if options.quota is not None:
                bounds |= bound_by_quota(http, project, options.quota)
            if bounds:
                set_bounds(http, project, client["id"], bounds)
    except (SetupError, httpx.HTTPError, OSError, ValueError) as error:
        sys.exit(f"No client was made: {error}")
    sys.stdout.write(f"MEDPLUM_CLIENT_ID={client['id']}\nMEDPLUM_CLIENT_SECRET={client['secret']}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quota",
        type=_points,
        metavar="POINTS",
        help="points a minute for the client; Medplum gives at most the project's total, 500000 by default",
    )
    parser.add_argument(
        "--policy", type=Path, metavar="FILE", help="an AccessPolicy as JSON: the client may do that, and nothing else"
    )
    return parser


def _points(text: str) -> int:
    """A number of points. Raises ArgumentTypeError below 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of points")
    return int(text)


def sign_in(http: httpx.Client, client_id: str, client_secret: str) -> None:
    """Fetch a token and send it with every request from now on. Raises SetupError."""
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
    token = _answer("sign in as the super admin's client", http.post("oauth2/token", data=form))["access_token"]
    http.headers["Authorization"] = f"Bearer {token}"


def project_id(http: httpx.Client, name: str, owner: str) -> str:
    """The id of the project of exactly that name, made when there is none; `owner` is its administrator's e-mail."""
    found = _answer("look for the project", http.get("fhir/R4/Project", params={"name:exact": name}))
    ids = [entry["resource"]["id"] for entry in found.get("entry", []) if entry["resource"].get("name") == name]
    if len(ids) > 1:
        raise SetupError(f"{len(ids)} projects are called {name!r}.")
    if ids:
        return str(ids[0])
    given = {"name": name, "ownerEmail": owner}
    parameters = [{"name": key, "valueString": value} for key, value in given.items()]
    body = {"resourceType": "Parameters", "parameter": parameters}
    made = _answer("make the project", http.post("fhir/R4/Project/$init", json=body, headers=_FHIR))
    return str(made["id"])


def make_client(http: httpx.Client, project: str) -> dict[str, Any]:
    """A new ClientApplication of the project, with its `id` and `secret`."""
    body = {"name": "Medferry", "description": "Writes the migrated records."}
    return _answer("make the client", http.post(f"admin/projects/{project}/client", json=body))


def bound_by_policy(http: httpx.Client, project: str, file: Path) -> dict[str, Any]:
    """What a membership needs for an AccessPolicy, stored from a file. Raises SetupError, OSError, ValueError."""
    policy = json.loads(file.read_text(encoding="utf-8"))
    body = {**policy, "meta": {"project": project}}
    made = _answer("store the access policy", http.post("fhir/R4/AccessPolicy", json=body, headers=_FHIR))
    return {"accessPolicy": {"reference": f"AccessPolicy/{made['id']}"}}


def bound_by_quota(http: httpx.Client, project: str, points: int) -> dict[str, Any]:
    """What a membership needs for so many points a minute, from the client's next token on. Raises SetupError."""
    configuration = {
        "resourceType": "UserConfiguration",
        "meta": {"project": project},
        "name": "Medferry",
        "option": [{"id": "fhirQuota", "valueInteger": points}],
    }
    posted = http.post("fhir/R4/UserConfiguration", json=configuration, headers=_FHIR)
    made = _answer("make the client's configuration", posted)
    return {"userConfiguration": {"reference": f"UserConfiguration/{made['id']}"}}


def set_bounds(http: httpx.Client, project: str, client: str, bounds: dict[str, Any]) -> None:
    """Put `bounds` into a client's membership, in one write. Raises SetupError."""
    profile = f"ClientApplication/{client}"
    found = _answer(
        "look for the client's membership",
        http.get("fhir/R4/ProjectMembership", params={"project": f"Project/{project}", "profile": profile}),
    )
    memberships = [entry["resource"] for entry in found.get("entry", [])]
    if len(memberships) != 1:
        raise SetupError(f"The new client has {len(memberships)} memberships in the project.")
    place = f"fhir/R4/ProjectMembership/{memberships[0]['id']}"
    _answer("set what the client may do", http.put(place, json={**memberships[0], **bounds}, headers=_FHIR))


def _answer(step: str, response: httpx.Response) -> dict[str, Any]:
    """The JSON of a good answer; the body of a bad one may repeat what was sent, so only its status is told."""
    if response.is_error:
        raise SetupError(f"Medplum answered {response.status_code} to the step: {step}.")
    answer: dict[str, Any] = response.json()
    return answer


if __name__ == "__main__":
    main()
