"""People of the embedded Medplum: clients with an access policy of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medferry.medplum.client import MedplumClient

Resource = dict[str, Any]
OPEN: Resource = {
    "resourceType": "Patient",
    "interaction": ["create", "read", "update", "delete", "search", "history", "vread"],
}
SECRET = "a-secret-of-a-member"


@dataclass
class Users:
    """Makes them, by the client that may do everything."""

    admin: MedplumClient
    base_url: str

    def policy(self, entries: list[Resource]) -> Resource:
        """A new AccessPolicy with some entries, as it is stored."""
        return self._made({"resourceType": "AccessPolicy", "name": "users", "resource": entries})

    def member(self, policy_id: str) -> str:
        """The id of a new client under a policy; its secret is `SECRET`."""
        client = self._made({"resourceType": "ClientApplication", "name": "a user", "secret": SECRET})
        self._made(
            {
                "resourceType": "ProjectMembership",
                "project": {"reference": f"Project/{self.admin.project()}"},
                "user": {"reference": f"ClientApplication/{client['id']}"},
                "profile": {"reference": f"ClientApplication/{client['id']}"},
                "accessPolicy": {"reference": f"AccessPolicy/{policy_id}"},
            }
        )
        return str(client["id"])

    def client(self, client_id: str, secret: str = SECRET) -> MedplumClient:
        return MedplumClient(self.base_url, client_id, secret)

    def put(self, resource: Resource) -> None:
        place = f"{resource['resourceType']}/{resource['id']}"
        [outcome] = self.admin.batch([{"resource": resource, "request": {"method": "PUT", "url": place}}], 100)
        assert outcome.status == 200, outcome

    def read(self, resource_type: str, id_: str) -> Resource:
        return self.admin.by_id(resource_type, [id_])[id_]

    def _made(self, resource: Resource) -> Resource:
        entry = {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}
        [outcome] = self.admin.batch([entry], 100)
        assert outcome.status == 201, outcome
        return self.read(resource["resourceType"], outcome.id)
