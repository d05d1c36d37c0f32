"""`meta.account` and `meta.accounts`: who may see a resource (an AccessPolicy or ``$set-accounts`` says so).

An update by an admin of the project replaces them with whatever its `meta` has, nothing included; a writer that means
to leave them alone has to send them along (docs/medplum.md, "Names and single writes"). They are no content of the
writer's: no hash and no comparison knows them.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

ACCOUNTS = ("account", "accounts")


def accounts_of(resource: dict[str, Any]) -> dict[str, Any]:
    """Those of a resource that was read in Medplum's extended mode; no other reading shows them."""
    meta = resource.get("meta", {})
    return {name: meta[name] for name in ACCOUNTS if meta.get(name)}


def accounts_in(text: bytes) -> dict[str, Any]:
    """The same of a resource's JSON, of which nothing else is parsed."""
    return accounts_of({"meta": _head.decode(text).meta})


def with_accounts(body: bytes, accounts: dict[str, Any]) -> bytes:
    """A resource's JSON with accounts put into its `meta`; everything else stays to the byte."""
    if not accounts:
        return body
    members = _members.decode(body)
    meta = _members.decode(members.get("meta", b"{}")) | {name: orjson.dumps(accounts[name]) for name in accounts}
    return _joined(members | {"meta": _joined(meta)})


class _Head(msgspec.Struct):
    meta: dict[str, Any] = {}


_head = msgspec.json.Decoder(_Head)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _joined(members: dict[str, bytes | msgspec.Raw]) -> bytes:
    return b"{%b}" % b",".join([b"%b:%b" % (orjson.dumps(name), text) for name, text in members.items()])
