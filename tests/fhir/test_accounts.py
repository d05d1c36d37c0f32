"""Accounts put into a resource's JSON: everything else stays to the byte."""

from __future__ import annotations

import orjson
import pytest

from medferry.fhir.accounts import accounts_in, accounts_of, with_accounts

ACCOUNTS = {"account": {"reference": "Organization/1"}, "accounts": [{"display": 'é \\ "', "reference": "o/1"}]}


@pytest.mark.parametrize(
    "body",
    [
        rb'{"resourceType":"Patient"}',
        rb'{"meta":{"source":"a"},"resourceType":"Patient"}',
        rb'{"contained":[{"meta":{"source":"inner"}}],"meta":{"tag":[{"code":"\"meta\":{"}]},"resourceType":"Patient"}',
        rb'{"extension":[{"valueDecimal":1.50000000000000000001}],"meta":{"versionId":"1"},"text":"\u00e9 \\"}',
    ],
)
def test_nothing_else_changes(body: bytes) -> None:
    made = with_accounts(body, ACCOUNTS)
    assert accounts_of(orjson.loads(made)) == accounts_in(made) == ACCOUNTS
    for name in ("account", "accounts"):
        made = made.replace(b',"%b":' % name.encode() + orjson.dumps(ACCOUNTS[name]), b"", 1)
        made = made.replace(b'"%b":' % name.encode() + orjson.dumps(ACCOUNTS[name]), b"", 1)
    assert made.replace(b',"meta":{}', b"") == body


def test_without_any_the_body_is_the_same_object() -> None:
    body = b'{ "resourceType" : "Patient" }'
    assert with_accounts(body, {}) is body
    assert accounts_in(body) == accounts_of(orjson.loads(body)) == {}
