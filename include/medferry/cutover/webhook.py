"""A signed nudge that the routing has changed. Nothing depends on it: who gets none finds out by the file, or late."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable

import httpx

from medferry.cutover.routing import Routing

SIGNATURE = "X-Medferry-Signature"
TRIES = 3
PAUSE_SECONDS = 1.0
TIMEOUT_SECONDS = 3.0
"""Of one try: the flip is done, but its task waits."""


def message(routing: Routing) -> bytes:
    """What changed, without the routes: the receiver fetches them where it trusts them."""
    return json.dumps({"migration": routing.migration, "version": routing.version, "digest": routing.digest}).encode()


def signature(secret: str, body: bytes, at: int) -> str:
    """``t=<seconds since the epoch>,v1=<HMAC-SHA256 of "t.body" in hexadecimal>``: an old one cannot be sent again."""
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


def nudge(url: str, secret: str, routing: Routing, pause: Callable[[float], None] = time.sleep) -> bool:
    """Whether a receiver took it. What may be over in a moment is tried again, a few times; nothing is raised."""
    body = message(routing)
    with httpx.Client(timeout=TIMEOUT_SECONDS) as client:
        for tries_left in reversed(range(TRIES)):
            headers = {"Content-Type": "application/json", SIGNATURE: signature(secret, body, int(time.time()))}
            try:
                answer = client.post(url, content=body, headers=headers)
            except (httpx.HTTPError, httpx.InvalidURL):
                answer = None
            if answer is not None and answer.is_success:
                return True
            if not tries_left or (answer is not None and answer.is_client_error and answer.status_code != 429):
                return False
            pause(PAUSE_SECONDS)
    return False
